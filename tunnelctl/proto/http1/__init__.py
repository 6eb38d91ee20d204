"""HTTP/1.1: heads, the CONNECT state machines of both ends, error bodies."""

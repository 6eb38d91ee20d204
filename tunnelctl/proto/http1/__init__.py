"""HTTP/1.1: heads, the CONNECT machines of both ends, bodies of errors."""

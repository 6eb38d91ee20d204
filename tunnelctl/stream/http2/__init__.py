"""HTTP/2 over any stream: one connection, and the tunnels on it as streams of their own."""

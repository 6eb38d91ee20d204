"""HTTP/2 (RFC 9113) as far as tunnels need it, for both ends, without I/O."""

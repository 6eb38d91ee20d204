"""SOCKS4, SOCKS4a and SOCKS5, both ends."""

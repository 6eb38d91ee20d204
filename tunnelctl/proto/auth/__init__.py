"""HTTP authentication schemes (RFC 7235 and later), and netrc."""

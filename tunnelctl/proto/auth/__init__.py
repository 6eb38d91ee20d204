"""HTTP authentication schemes, RFC 7235 and after; netrc."""

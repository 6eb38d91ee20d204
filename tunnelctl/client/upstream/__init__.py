"""The conversation with one proxy: the handshake, its error responses, a probe for TLS."""

"""TLS seen from outside: ClientHello, certificates, pins."""

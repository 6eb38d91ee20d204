"""Sans-IO protocol code: bytes and a clock in, events and bytes out. Nothing here can block."""

"""The server side: accept, decide, dial, relay, record."""

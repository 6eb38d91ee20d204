"""The answering end: accept, decide, dial, relay, account."""

"""What a person reads: events, help, completion scripts."""

"""Output for people: events, help, completion scripts."""

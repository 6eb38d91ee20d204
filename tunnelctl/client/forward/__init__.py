"""Local listeners, and the sessions of their connections."""

"""Text files: reading them with one form of error, and the lines of TOML."""

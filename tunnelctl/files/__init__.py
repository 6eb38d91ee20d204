"""Text files: reading with uniform errors, and TOML with line numbers."""

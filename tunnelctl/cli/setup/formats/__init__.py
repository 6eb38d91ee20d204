"""The formats of configuration files: each renders settings, with its own quoting, and reads them back."""

"""A byte stream through an HTTP proxy. Importing this costs nothing: the version, no more."""

__version__ = "0.1.0"

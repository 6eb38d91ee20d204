"""Tunnels through HTTP and SOCKS proxies. Importing the package costs nothing: it has only the version."""

__version__ = "0.1.0"

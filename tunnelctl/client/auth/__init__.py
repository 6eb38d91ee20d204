"""Proxy authentication: where a password comes from, and the exchange with the proxy."""

"""The proxies that lead to a target, and their order."""

"""Which proxies lead to a target, in which order."""

"""The asking end: which proxies, how to reach them, and the tunnel through all of them."""

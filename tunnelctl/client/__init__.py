"""The client side: which proxies to use, how to reach them, and the tunnel through all of them."""

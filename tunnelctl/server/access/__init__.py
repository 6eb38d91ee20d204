"""Access to the proxy: logins, limits, trusted load balancers."""

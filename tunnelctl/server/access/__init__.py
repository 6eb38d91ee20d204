"""Who may use the proxy, and how much: logins, limits, trusted load balancers."""

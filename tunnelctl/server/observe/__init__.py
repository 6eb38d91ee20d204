"""What the proxy reports: access log, metrics, admin pages."""

"""Reports of the proxy: access log, metrics, admin pages."""

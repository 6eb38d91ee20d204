"""The private HTTP endpoint that `forward`, `run` and `serve` have in common, and its clients `status`, `top` and `stop`."""

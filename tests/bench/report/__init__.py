"""From samples to what is read."""

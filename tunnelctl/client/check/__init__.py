"""The `check` command: one tunnel attempt, measured and explained."""

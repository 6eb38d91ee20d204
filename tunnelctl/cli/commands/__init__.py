"""What each subcommand runs."""

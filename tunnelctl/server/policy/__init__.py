"""The policy on targets: rules, policy files, TLS inspection."""

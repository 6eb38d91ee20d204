"""Which targets may be reached: rules, policy files, TLS inspection."""

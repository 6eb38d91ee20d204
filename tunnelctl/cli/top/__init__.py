"""`tunnelctl top`: a live view of the running processes. The model is pure; only `terminal` and `poll` do I/O."""

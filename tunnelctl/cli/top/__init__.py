"""`tunnelctl top`: the live view of what runs. The model is pure; only `terminal` and `poll` touch the world."""

"""The settings of this machine that name a proxy: where they are, and how they are read."""

"""Settings that send other tools through a proxy: one record per tool, and the formats of the configuration files."""

"""How other tools are sent through a proxy: one record a tool, and the formats of the files that the lines go into."""

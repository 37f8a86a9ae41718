"""``workflows dev``: everything in one terminal, with a server of its own."""

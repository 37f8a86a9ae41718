"""The ground that ``run`` stands on: no clock, no chance, no world."""

"""What every process does when it starts, and owes to whoever started it."""

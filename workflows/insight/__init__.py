"""What there is to say about one instance, made of what was read of it; pure."""

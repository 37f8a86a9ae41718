"""One small program for each subject, in an environment of its own; ``driver.py`` is what they have in common."""

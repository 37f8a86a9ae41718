"""One runnable file for each pattern of the guide; ``python -m examples.demo`` runs them all."""

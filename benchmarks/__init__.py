"""Speed of the whole system, measured against the limits of the machine it runs on: ``python -m benchmarks``."""

"""Figures and log lines of the processes, for machines that watch them."""

"""``python -m workflows.cli``."""

from workflows.cli.main import main

main()

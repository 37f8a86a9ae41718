"""A hundred thousand events for one instance, workers killed at random: ``python -m tests.torture.entity [EVENTS]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.acceptance.entity import play_entity
from tests.acceptance.processes import Cluster

EVENTS = 100_000
KILLS = 10
SECONDS = 1_200.0


def main() -> None:
    """Say how long a tenth of the events and all of them took."""
    events = int(sys.argv[1]) if sys.argv[1:] else EVENTS
    for count in (events // 10, events):
        with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
            took = play_entity(cluster, count, KILLS, SECONDS)
            print(f"{count:,} events: {took:.1f} s, {took / count * 1000:.2f} ms each", flush=True)


if __name__ == "__main__":
    main()

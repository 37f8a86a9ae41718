"""A hundred thousand events for one instance, workers killed at random: ``python -m tests.torture.entity [EVENTS]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.acceptance.entity import play_entity
from tests.acceptance.processes import Cluster

EVENTS = 100_000
SHORT_EVENTS = 2_000
KILLS = 10
SECONDS = 1_200.0


def main(events: int, kills: int = KILLS) -> None:
    """Say how long all of them took.

    Raises:
        AssertionError: an event is missing, came twice or too early, or something grows.
    """
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        played = play_entity(cluster, events, kills, SECONDS)
    took = f"{played.seconds:.1f} s, {played.seconds / events * 1000:.2f} ms each"
    held = f"Redis held {played.least:,} to {played.most:,} bytes"
    print(f"{events:,} events of one instance, {kills} workers killed: {took}; {held}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else EVENTS)

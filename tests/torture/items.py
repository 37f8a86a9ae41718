"""Ten thousand items in one instance, a worker killed in the midst: ``python -m tests.torture.items [ITEMS]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.acceptance.items import play_items
from tests.acceptance.processes import Cluster

ITEMS = 10_000
SHORT_ITEMS = 500
SECONDS = 600.0


def main(items: int) -> None:
    """Say how long they took.

    Raises:
        AssertionError: an outcome is wrong.
    """
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        took = play_items(cluster, items, SECONDS)
    each = f"{took:.1f} s, {took / items * 1000:.2f} ms each"
    print(f"{items:,} items of one instance, a worker killed: {each}", flush=True)


if __name__ == "__main__":
    most = int(sys.argv[1]) if sys.argv[1:] else ITEMS
    for count in (most // 10, most):
        main(count)

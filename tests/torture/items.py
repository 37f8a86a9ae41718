"""Ten thousand items in one instance, a worker killed in the midst: ``python -m tests.torture.items [ITEMS]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.acceptance.items import play_items
from tests.acceptance.processes import Cluster

ITEMS = 10_000
SECONDS = 600.0


def main() -> None:
    """Say how long a tenth of the items and all of them took."""
    items = int(sys.argv[1]) if sys.argv[1:] else ITEMS
    for count in (items // 10, items):
        with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
            took = play_items(cluster, count, SECONDS)
            print(f"{count:,} items: {took:.1f} s, {took / count * 1000:.2f} ms each", flush=True)


if __name__ == "__main__":
    main()

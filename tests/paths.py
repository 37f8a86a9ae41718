"""Where processes that a test starts find the packages: there, and nothing else of the clone.

With the clone itself on their path, an ``app.py`` that somebody has saved in it would be taken for the test's own.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("workflows", "orchestrator", "worker")


class _Folder:
    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="packages-")
        for name in PACKAGES:
            (Path(self.path) / name).symlink_to(ROOT / name)
        weakref.finalize(self, shutil.rmtree, self.path, True)


@cache
def _folder() -> _Folder:
    return _Folder()


def packages() -> str:
    """For PYTHONPATH."""
    return _folder().path

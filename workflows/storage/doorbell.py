"""The RQ jobs that call a worker to an unclaimed attempt or turn.

A doorbell carries ids, never user data: an intent's text in RQ's JSON form, naming one fixed entry point. Whatever else
stands in an RQ job, the function name included, is never imported or run (security: forged jobs).
"""

from __future__ import annotations

import json
from typing import Final

from workflows.storage.keys import Intent

ENTRY_POINT: Final = "worker.entry.ring"
JOB_TTL_SECONDS: Final = 24 * 3600


def envelope(namespace: str) -> tuple[str, str]:
    """How the data of a namespace's doorbells begins and ends; the intent stands between."""
    head = json.dumps([ENTRY_POINT, None, [namespace]])[:-2]
    return f'{head}, "', '"], {}]'


def data(namespace: str, member: str) -> str:
    """The data of one doorbell: names and ids have no character that JSON would escape."""
    head, tail = envelope(namespace)
    return head + member + tail


def job_id(shard: int, intent: Intent) -> str:
    """RQ allows letters, digits, ``-`` and ``_``; the same intent always has the same job."""
    return f"{shard:02d}-{intent.nonce}"

"""The RQ jobs that call a worker to an unclaimed attempt or turn.

A doorbell carries ids, never user data: an intent's text in RQ's JSON form, naming one fixed entry point. Whatever else
stands in an RQ job, the function name included, is never imported or run (security: forged jobs).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from workflows.storage import keys
from workflows.storage.keys import Intent
from workflows.storage.store import packb

ENTRY_POINT: Final = "worker.entry.ring"


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


def permit(namespace: str, limited: Iterable[str]) -> bytes:
    """What whoever makes an intent needs to ring by itself, for the script that does (``waking.lua``).

    Args:
        limited: workflows whose intents it is to leave to the shard's owner.
    """
    head, tail = envelope(namespace)
    return packb(
        {
            "job": keys.rq_job_prefix(),
            "waiting": keys.rq_queue(""),
            "queues": keys.rq_queues(),
            "name": f"{namespace}.",
            "head": head,
            "tail": tail,
            "limited": dict.fromkeys(sorted(limited), True),
        }
    )

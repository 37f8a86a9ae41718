"""The one function a doorbell names.

Workers of this library never call it: they read the intent out of the job. It is here so that a plain ``rq worker`` on
one of our queues fails with a sentence instead of an import error; the intent stays and is rung again.
"""

from __future__ import annotations


def ring(namespace: str, member: str) -> None:
    """Explain why nothing was done.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        f"this job calls a workflow worker of namespace {namespace!r}; a plain rq worker cannot run it. "
        f"Start one with: workflows worker <module:app>"
    )

"""What a pattern needs to show itself, and what it promises: the vocabulary between the patterns and the demo.

Each pattern module has a function ``demonstrate(place)`` which creates its instances and says how they should end.
``examples.demo`` starts the processes, plays the replies and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from examples.bindings import Bucket, Database, MailSink
from workflows import Client, WorkflowInstance


@dataclass(frozen=True)
class Place:
    """What surrounds the instances, seen from outside.

    Attributes:
        client: creates instances.
        bucket: the bucket that the steps use.
        database: the database that the steps use.
        mail: where the steps' mail arrives.
        until_the_end: helpers entered here live until every instance has ended.
    """

    client: Client
    bucket: Bucket
    database: Database
    mail: MailSink
    until_the_end: ExitStack


@dataclass(frozen=True)
class Reply:
    """An event to send when an instance waits for it.

    Attributes:
        type: the event's type.
        payload: what it carries.
    """

    type: str
    payload: Any = None


@dataclass(frozen=True)
class Promise:
    """One instance and how it should end.

    Attributes:
        instance: the instance.
        output: what its ``run`` should return.
        error: how the message begins with which it should fail instead; None: it should not.
        replies: what to send once the instance waits in the step of that name.
        holds: a look at the outside world, taken after the end.
    """

    instance: WorkflowInstance
    output: Any
    replies: Mapping[str, Reply] = field(default_factory=dict)
    error: str | None = None
    holds: Callable[[], bool] = lambda: True

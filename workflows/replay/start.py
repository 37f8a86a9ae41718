"""From the first entry of a journal to a replay: what ``run`` is given is put together here and nowhere else."""

from __future__ import annotations

from typing import Any, TypeVar

from workflows.authoring.app import App
from workflows.authoring.env import LazyEnv
from workflows.authoring.event import Schedule, ScheduledTime, WorkflowEvent, moment
from workflows.replay.recorded import ReadChunk
from workflows.replay.replay import Replay
from workflows.storage.journal import Start
from workflows.storage.keys import Instance
from workflows.storage.records import Firing
from workflows.values import codec

_Made = TypeVar("_Made", bound=Replay)


def event_of(app: App, instance: Instance, start: Start) -> WorkflowEvent[Any]:
    """What ``run`` is given: params as the workflow's model has them, the moment of creation, the firing if a cron
    line made the instance.

    Raises:
        UnknownWorkflow: the app does not have it.
        CorruptPayload: params or schedule cannot be read.
        BadParams: the params do not fit the model as it is now.
    """
    firing = Firing.of(start.schedule) if start.schedule else None
    schedule = None if firing is None else Schedule(firing.cron, ScheduledTime.from_ms(firing.at_ms), firing.zone)
    return WorkflowEvent(
        app.definition(instance.workflow).load_params(codec.decode(start.params)),
        timestamp=moment(start.at_ms),
        instance_id=instance.id,
        workflow_name=instance.workflow,
        schedule=schedule,
    )


def replay_of(
    make: type[_Made],
    app: App,
    instance: Instance,
    generation: str,
    start: Start,
    *,
    env: object | None = None,
    read: ReadChunk | None = None,
) -> _Made:
    """A replay that nothing has been fed to, not even the entry it is made of.

    Args:
        make: ``Replay``, or a class derived from it.
        generation: of the life whose journal it is.
        env: what the workflow's constructor is given; None: an empty one.
        read: reads streams for ``run``; None: it cannot read any.

    Raises: see ``event_of``.
    """
    definition = app.definition(instance.workflow)
    return make(
        definition.workflow_class,
        event_of(app, instance, start),
        env=LazyEnv() if env is None else env,
        generation=generation,
        cuts=start.cuts,
        defaults=app.defaults,
        step_limit=definition.step_limit,
        app=app,
        read=read,
    )

"""Runs a workflow by hand: asks a replay what it wants, and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from workflows.authoring.env import LazyEnv
from workflows.authoring.event import WorkflowEvent
from workflows.authoring.workflow import WorkflowEntrypoint
from workflows.replay.replay import Delta, Raised, Replay, Returned, Snapshot, delta
from workflows.storage.journal import ChildEnded, EventReceived, Settled, Slept, Start, TimedOut, Withdrawn
from workflows.values import codec, failure

CREATED_MS = 1_790_000_000_000


def workflow_of(run: Any) -> type[WorkflowEntrypoint]:
    """A workflow class around ``async def run(self, event, step)``."""
    return type("Flow", (WorkflowEntrypoint,), {"run": run, "__module__": run.__module__})


class Driver:
    """One instance whose journal the test writes."""

    def __init__(self, run: Any, params: Any = None, *, env: Any = None, **options: Any) -> None:
        self.workflow_class = run if isinstance(run, type) else workflow_of(run)
        self.params = {} if params is None else params
        self.env = LazyEnv({} if env is None else env)
        self.options = {"generation": "g1", **options}
        self.journal: list[Any] = []
        self.at_ms = CREATED_MS
        self.decided: Snapshot | None = None
        self.replay = self.new_replay()

    def new_replay(self) -> Replay:
        event = WorkflowEvent(
            self.params,
            timestamp=datetime.fromtimestamp(CREATED_MS / 1000, tz=UTC),
            instance_id="one",
            workflow_name="flow",
        )
        return Replay(self.workflow_class, event, env=self.env, **self.options)

    def feed(self, *entries: Any) -> Driver:
        self.journal += entries
        self.replay.feed(entries)
        return self

    def start(self) -> Driver:
        return self.feed(Start(self.at_ms))

    def turn(self) -> Delta:
        """What changed since the last turn."""
        after = self.replay.snapshot()
        change = delta(self.decided, after)
        self.decided = after
        return change

    @property
    def pending(self) -> list[str]:
        """The open commands as ``"do fetch"``."""
        commands = [self.replay.command(seq) for seq in self.replay.snapshot().pending]
        return [f"{command.kind} {command.name}" for command in commands]

    def named(self, name: str) -> Any:
        """The open or cancelled command of that name asked last."""
        snapshot = self.replay.snapshot()
        commands = [self.replay.command(seq) for seq in (*snapshot.pending, *sorted(snapshot.gone))]
        return [command for command in commands if command.name == name][-1]

    def answer(self, name: str, value: Any = None, *, error: BaseException | None = None) -> Any:
        """The entry that answers the command of that name."""
        command = self.named(name)
        self.at_ms += 1000
        key = (command.seq, command.name, command.count, self.at_ms)
        blob = codec.encode(value, what="a value") if error is None else None
        failed = failure.capture(error) if error is not None else None
        match command.kind:
            case "do":
                return Settled(*key, value=blob, error=failed)
            case "sleep":
                return Slept(*key)
            case "wait":
                return EventReceived(
                    *key, type=command.types[0], payload=blob or b"", sent_at_ms=self.at_ms, event_id="e"
                )
        return ChildEnded(*key, workflow=command.workflow, id=command.id or "child", value=blob, error=failed)

    def timeout(self, name: str) -> TimedOut:
        command = self.named(name)
        self.at_ms += 1000
        return TimedOut(command.seq, command.name, command.count, self.at_ms, timeout_ms=command.timeout_ms)

    def withdrawn(self, name: str, due_ms: int | None = None) -> Withdrawn:
        command = self.named(name)
        return Withdrawn(command.seq, command.name, command.count, self.at_ms, command=command.kind, due_ms=due_ms)

    def settle(self, name: str, value: Any = None, *, error: BaseException | None = None) -> Driver:
        return self.feed(self.answer(name, value, error=error))

    def perform(self, name: str) -> Driver:
        """Run the callback of the step here, and settle it with what it returns."""
        callback = self.replay.callback(self.named(name).seq)
        assert callback is not None
        return self.settle(name, callback.call(None))

    def finish(self) -> Any:
        """Perform steps and let sleeps end, oldest first, until run() ends; its result."""
        while self.replay.end is None:
            command = self.replay.command(self.replay.snapshot().pending[0])
            if command.kind == "do":
                self.perform(command.name)
            else:
                self.settle(command.name)
        return self.result

    @property
    def result(self) -> Any:
        end = self.replay.end
        if isinstance(end, Raised):
            raise end.exception
        assert isinstance(end, Returned), f"still waiting for {self.pending}"
        return end.value

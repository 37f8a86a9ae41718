"""What a step asks for and of whom: the future it gets, and what it needs of the replay and the app it belongs to."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol, TypeVar

from workflows.authoring.callback import Callback
from workflows.authoring.commands import Command, Do, Wait
from workflows.authoring.retries import StepConfig
from workflows.errors import ConfigError
from workflows.sandbox.loop import ReplayFuture, ReplayLoop
from workflows.values.listening import AnswerToken

T = TypeVar("T")


class StepFuture(ReplayFuture[T]):
    """What a step method returns: await it, hand it to ``asyncio``, or cancel it, which withdraws the step."""

    def __init__(self, replay: OwnReplay, command: Command) -> None:
        self.replay = replay
        self.command = command
        super().__init__(loop=replay.loop)

    def __hash__(self) -> int:
        return self.ordinal

    def __eq__(self, other: object) -> bool:
        return self is other

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.replay.cancelled(self.command)
        return cancelled

    @property
    def token(self) -> str:
        """With which one answer can be sent to this wait: ``client.send_event(token=…)``. The same in every replay.

        Raises: ConfigError: it is no wait that was asked for with ``token=True``.
        """
        if not isinstance(self.command, Wait) or not self.command.by_token:
            raise ConfigError(f"{self!r} has no token: ask for it with wait_for_event(…, token=True).")
        return self.replay.token_of(self.command).text

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f'<{self.command.kind} "{self.command.name}" {state}>'


class OwnApp(Protocol):
    """What a step needs to know about the app it belongs to."""

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that a step may name."""
        ...

    def workflow_name(self, target: object) -> str:
        """The name of the workflow that a class, a name or a binding's name stands for."""
        ...

    def encode_params(self, workflow: str, params: Any, *, what: str) -> bytes:
        """Check params against the workflow's model, and encode them."""
        ...

    def load_event(self, workflow: str, type: str, payload: Any) -> Any:
        """The payload of an event as the workflow's model has it. Raises: BadEvent."""
        ...


class OwnReplay(Protocol):
    """What a step needs of the replay it belongs to."""

    loop: ReplayLoop
    workflow_class: type
    defaults: StepConfig
    app: OwnApp | None

    @property
    def now_ms(self) -> int:
        """The moment of the last entry that ``run`` has seen."""
        ...

    def enter(self, name: object) -> None:
        """Refuse a call that does not come from ``run``, or comes after its end."""
        ...

    def reserve(self, kind: str, name: str) -> tuple[int, int]:
        """The next ``seq``, and the next ``count`` of this kind and name."""
        ...

    def is_answered_next(self) -> bool:
        """Whether the entries being fed hold an answer to the command that is asked next."""
        ...

    def ask(self, command: Command, callback: Callback | None) -> StepFuture[Any]:
        """Open a command."""
        ...

    def token_of(self, command: Wait) -> AnswerToken:
        """With what an answer to this wait is sent."""
        ...

    def on_rollback(self, command: Do, callback: Callback, handler: Callback) -> None:
        """Remember what undoes this step."""
        ...

    def publish(self, name: str, value: Any) -> None:
        """Show a value to whoever looks at the instance."""
        ...

    def continue_as(self, params: Any) -> NoReturn:
        """End this life, and begin the next with these params."""
        ...

    def cancelled(self, command: Command) -> None:
        """The future of this command was cancelled."""
        ...

    def seed(self) -> bytes:
        """Bytes that are random, new at every call, and the same in every replay."""
        ...

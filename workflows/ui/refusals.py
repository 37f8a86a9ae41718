"""What is answered instead: an HTTP status, a word for programs, a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import redis

from workflows.errors import (
    InstanceError,
    InstanceNotFound,
    ServerError,
    UnknownWorkflow,
    WorkflowError,
)

_STATUSES: Final[tuple[tuple[type[WorkflowError], int], ...]] = (
    (InstanceNotFound, 404),
    (UnknownWorkflow, 404),
    (InstanceError, 409),
    (ServerError, 503),
    (WorkflowError, 422),
)
TITLES: Final = {
    400: "That request cannot be read",
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Not possible now",
    413: "Too large",
    422: "Something in it is wrong",
    429: "Too much at once",
    500: "An error of this page",
    503: "Redis does not answer",
}


class RequestRefused(Exception):
    """A request that this application does not carry out.

    Attributes:
        status: of HTTP.
        code: a word for programs.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to answer."""

    status: int
    code: str
    message: str

    @property
    def title(self) -> str:
        return TITLES.get(self.status, "Refused")

    @classmethod
    def of(cls, error: Exception) -> Refusal | None:
        """None: nothing that was meant to be told; an error of ours or of the code around."""
        if isinstance(error, RequestRefused):
            return cls(error.status, error.code, str(error))
        if isinstance(error, redis.ResponseError):
            message = f"A key of Redis holds something else than it should, which `workflows doctor` names: {error}"
            return cls(409, "UnreadableKey", message)
        for kind, status in _STATUSES:
            if isinstance(error, kind):
                return cls(status, type(error).__name__, str(error))
        return None

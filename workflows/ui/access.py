"""What somebody may do here. Who that is, the application around this one decides, or a token where there is none."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, TypeAlias

from workflows.errors import ConfigError

ACTIONS: Final = (
    "create",
    "send_event",
    "pause",
    "resume",
    "cancel",
    "terminate",
    "restart",
    "delete",
    "pause_schedule",
    "resume_schedule",
    "trigger_schedule",
)
"""What can be allowed one by one; doing it to many at once needs nothing more."""


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do.

    Attributes:
        reads: see everything.
        actions: do these things; see ``ACTIONS``.
        user: who it is, for the log; '' where nobody said.
    """

    reads: bool
    actions: frozenset[str] = frozenset()
    user: str = ""

    NONE: ClassVar[Access]
    READ: ClassVar[Access]
    OPERATE: ClassVar[Access]

    def by(self, user: str) -> Access:
        """The same, for somebody."""
        return replace(self, user=user)

    def allows(self, action: str) -> bool:
        return action in self.actions

    @classmethod
    def of(cls, given: object) -> Access:
        """What a function of the user's has answered. Raises ConfigError: nothing that could be meant."""
        if isinstance(given, Access):
            return given
        if isinstance(given, Collection) and not isinstance(given, str | bytes):
            unknown = sorted(str(one) for one in given if one not in ACTIONS)
            if not unknown:
                return cls(True, frozenset(str(one) for one in given))
            raise ConfigError(f"there is no action {', '.join(unknown)}; there are: {', '.join(ACTIONS)}")
        raise ConfigError(f"access is {given!r:.100}; it must be an Access or a set of actions")


Access.NONE = Access(False)
Access.READ = Access(True)
Access.OPERATE = Access(True, frozenset(ACTIONS))

Decide: TypeAlias = Callable[[Any], Access | Collection[str] | Awaitable[Access | Collection[str]]]
"""What says what the sender of a request (Starlette's) may do."""


def nobody_writes(request: Any) -> Access:
    """What holds while nobody has said who may do what."""
    del request
    return Access.READ


class TokenAccess:
    """Whoever knows the token may do ``level``, others nothing: as a bearer token, or as the password of HTTP basic,
    whose user name goes into the log."""

    def __init__(self, token: str, level: Access) -> None:
        self._token = token.encode()
        self._level = level

    def __call__(self, request: Any) -> Access:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        user = ""
        if scheme.lower() == "basic":
            try:
                user, _, given = base64.b64decode(given.strip(), validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                return Access.NONE
        elif scheme.lower() != "bearer":
            return Access.NONE
        if not hmac.compare_digest(given.strip().encode(), self._token):
            return Access.NONE
        return self._level.by(user)

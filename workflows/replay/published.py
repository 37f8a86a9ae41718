"""What ``run`` has published so far: of each name the latest value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows import limits
from workflows.errors import ConfigError
from workflows.storage.records import Value
from workflows.values import codec, names


class Published:
    """Of one replay. It publishes again what was published before, so it counts, and a decision names what is new."""

    def __init__(self) -> None:
        self.number = 0
        self._values: dict[str, Value] = {}

    def put(self, name: str, value: Any, at_ms: int) -> None:
        """Publish a value. Raises: see ``WorkflowStep.publish``."""
        names.check_value_name(name)
        if name not in self._values and len(self._values) >= limits.VALUES:
            raise ConfigError(
                f"run() has published {limits.VALUES} different values, the most there may be, and cannot publish "
                f'"{name}" as well. Publish under one name what changes, or one mapping of what belongs together.'
            )
        blob = codec.encode(value, what=f'the value "{name}"', limit=limits.VALUE_BYTES)
        self.number += 1
        self._values[name] = Value(self.number, at_ms, blob)

    def since(self, number: int) -> Mapping[str, Value]:
        """What is newer than the first so many."""
        return {name: value for name, value in self._values.items() if value.n > number}

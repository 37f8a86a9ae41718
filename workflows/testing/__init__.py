"""Testing workflows: fixtures for pytest, and Cloudflare's introspection API.

The fixtures come from ``workflows.testing.plugin``, which pytest finds by itself once the package is installed. Loaded
lazily, because pytest imports this package in every project that has it installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflows.testing.clock import TestClock
    from workflows.testing.engine import WorkflowEngine
    from workflows.testing.introspection import (
        InstanceIntrospector,
        InstanceModifier,
        WorkflowIntrospector,
        introspect_workflow,
        introspect_workflow_instance,
    )
    from workflows.testing.mocks import IntrospectionError, MockTooLate

__all__ = [
    "InstanceIntrospector",
    "InstanceModifier",
    "IntrospectionError",
    "MockTooLate",
    "TestClock",
    "WorkflowEngine",
    "WorkflowIntrospector",
    "introspect_workflow",
    "introspect_workflow_instance",
]

_HOMES = {
    "TestClock": "clock",
    "WorkflowEngine": "engine",
    "IntrospectionError": "mocks",
    "MockTooLate": "mocks",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'introspection')}"), name)

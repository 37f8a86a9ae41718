"""What people see: a function per page, from a ``Context`` to a response."""

from __future__ import annotations

from workflows.ui.pages import bulk, event, instance, instances, overview, schedules, workflow
from workflows.ui.pages.doctor import doctor
from workflows.ui.pages.frame import find, theme
from workflows.ui.pages.workers import workers

__all__ = [
    "bulk",
    "doctor",
    "event",
    "find",
    "instance",
    "instances",
    "overview",
    "schedules",
    "theme",
    "workers",
    "workflow",
]

"""What people see: a function per page, from a ``Context`` to a response."""

from __future__ import annotations

from workflows.ui.pages.overview import overview

__all__ = ["overview"]

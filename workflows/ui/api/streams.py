"""What a browser listens to."""

from __future__ import annotations

from starlette.responses import StreamingResponse

from workflows.ui.context import Context
from workflows.ui.live import LOOK_SECONDS


async def stream(context: Context) -> StreamingResponse:
    """Watch what the query names. Raises: RequestRefused, BadName."""
    text = context.query.get("every", "")
    every = float(text) if text.isascii() and text.isdigit() and len(text) < 4 else LOOK_SECONDS
    return context.live.stream(context.query.get("watch", ""), every)

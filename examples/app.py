"""All ten patterns as one app, for one worker to serve: ``workflows worker examples.app:app``."""

from examples import (
    approval,
    data_pipeline,
    fan_out,
    image_pipeline,
    live_progress,
    parent_child,
    race,
    scheduled_chain,
    trip_booking,
    user_lifecycle,
)
from examples.environment import app

# In the order of the guide; the last two are not in it.
PATTERNS = (
    image_pipeline,
    user_lifecycle,
    data_pipeline,
    approval,
    fan_out,
    parent_child,
    race,
    scheduled_chain,
    live_progress,
    trip_booking,
)

__all__ = ["PATTERNS", "app"]

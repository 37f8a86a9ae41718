"""The app of ``apps.py``, for workers that wait for a second where they would wait for many."""

from __future__ import annotations

from tests.acceptance.apps import app as app
from worker import lease, suspects

suspects.HAND_OVER_SECONDS = 1.0
lease.RECONCILE_RENEWALS = 1

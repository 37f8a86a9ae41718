"""The app that all examples share, and what their workflows find under ``self.env``.

Settings come from the environment, so that the worker processes and whoever starts them agree:

- ``EXAMPLES_HOME``: the folder of the database and the objects; by default a private folder of the user's under the
  system's temporary folder.
- ``EXAMPLES_BUCKET``: where the objects are, as an fsspec URL; ``EXAMPLES_HOME``/bucket by default.
- ``EXAMPLES_SMTP_HOST``, ``EXAMPLES_SMTP_PORT``: the mail server; 127.0.0.1 and 1025 by default.

This module holds the app alone and ``examples.app`` adds the patterns to it, so that a single pattern can be loaded,
too: ``examples.approval:app`` is an app with one workflow.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from examples.bindings import Bucket, Database, Mailer, Vision
from examples.bindings.mail import DEFAULT_PORT
from workflows import App

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, email TEXT NOT NULL, subscription_status TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS approvals (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS bookings (trip TEXT, part TEXT, PRIMARY KEY (trip, part));
CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, normalized TEXT NOT NULL);
"""

app = App("examples")


def home() -> Path:
    """The folder that holds everything the examples write, created for its owner's eyes only.

    Raises:
        PermissionError: the folder in the shared temporary folder belongs to somebody else.
    """
    if chosen := os.environ.get("EXAMPLES_HOME"):
        folder = Path(chosen)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"workflow-examples-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Anybody may create a name in the temporary folder first.
    if hasattr(os, "getuid") and folder.stat(follow_symlinks=False).st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user: set EXAMPLES_HOME to a folder of yours")
    return folder


def open_bucket() -> Bucket:
    """The objects of the examples."""
    return Bucket(os.environ.get("EXAMPLES_BUCKET") or (home() / "bucket").as_uri())


def open_database() -> Database:
    """The tables of the examples; close it after use."""
    return Database(home() / "examples.sqlite", schema=SCHEMA)


@app.bindings
def env() -> Iterator[dict[str, object]]:
    """Made once in each worker process; what follows the ``yield`` runs when the process stops."""
    mail = Mailer(
        os.environ.get("EXAMPLES_SMTP_HOST", "127.0.0.1"), int(os.environ.get("EXAMPLES_SMTP_PORT", DEFAULT_PORT))
    )
    with open_database() as database:
        yield {"BUCKET": open_bucket(), "DB": database, "MAIL": mail, "AI": Vision()}

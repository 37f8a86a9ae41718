"""SQL on one SQLite file, in the shape of Cloudflare's D1: prepare, bind, then first, run, all or batch.

One connection per process behind one lock serves every thread; between processes the file's write-ahead log lets
readers go on while one writer works, and a writer waits its turn instead of failing. ``batch`` is one transaction:
all of its statements happen, or none.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

# How long a writer waits for another process's transaction. Far above any transaction of the examples.
BUSY_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Changes:
    """What a statement changed.

    Attributes:
        rows: how many rows were inserted, updated or deleted.
        last_row_id: the row id of the last insert on this connection, if there was one.
    """

    rows: int
    last_row_id: int | None


@dataclass(frozen=True)
class Statement:
    """SQL with its values, ready to be run; made by ``Database.prepare``."""

    database: Database
    sql: str
    values: tuple[Any, ...] = ()

    def bind(self, *values: Any) -> Statement:
        """The same statement with these values for its ``?`` marks, in order."""
        return replace(self, values=values)

    def first(self) -> dict[str, Any] | None:
        """The first row as a dict by column name, or ``None`` when there is none."""
        rows = self.all()
        return rows[0] if rows else None

    def all(self) -> list[dict[str, Any]]:
        """Every row, each a dict by column name."""
        return self.database._rows(self)

    def run(self) -> Changes:
        """Run it for its effect."""
        return self.database.batch([self])[0]


class Database:
    """One SQLite file, created together with its folder when it does not exist yet.

    Args:
        path: the file.
        schema: SQL that makes the tables; run at every start, so write ``CREATE TABLE IF NOT EXISTS``.
    """

    def __init__(self, path: Path | str, *, schema: str = "") -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        # isolation_level=None: transactions begin and end where this file says so, never implicitly.
        self._connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        # With a write-ahead log this survives a crash of the process; only a power cut may lose the last commits.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(f"BEGIN IMMEDIATE; {schema}; COMMIT;")

    def prepare(self, sql: str) -> Statement:
        """One statement of SQL; nothing is run yet."""
        return Statement(self, sql)

    def batch(self, statements: Sequence[Statement]) -> list[Changes]:
        """Run statements in order as one transaction.

        Returns: what each of them changed.
        Raises:
            sqlite3.Error: one of them failed, and none of them happened.
        """
        changes: list[Changes] = []
        with self._lock:
            # IMMEDIATE takes the write lock first: a transaction that reads and then writes cannot be refused halfway.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements:
                    cursor = self._connection.execute(statement.sql, statement.values)
                    changes.append(Changes(max(cursor.rowcount, 0), cursor.lastrowid))
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        return changes

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, statement: Statement) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._connection.execute(statement.sql, statement.values)]

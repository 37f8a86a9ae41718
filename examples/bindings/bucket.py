"""Objects by key, in a folder or in any store that fsspec knows.

``Bucket("file:///srv/media")`` keeps objects as files; ``Bucket("s3://media")`` keeps them in S3 once ``s3fs`` is
installed, with no other change. Keep here what is too large for a step result, and return the key from the step.

A put replaces the whole object or nothing: a reader, or a crash, never sees half of one. Putting the same object twice
is harmless, which is what a step that may be tried again needs.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # fsspec ships no types
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

# Unfinished local writes carry this ending until they are renamed; no listing shows them.
_UNFINISHED = ".unfinished"


class NoSuchObject(LookupError):
    """The bucket holds no object under this key.

    Attributes:
        key: the key that was asked for.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class BadKey(ValueError):
    """A key is empty, absolute, or would leave the bucket."""


@dataclass(frozen=True)
class ObjectSummary:
    """One line of a listing.

    Attributes:
        key: the object's key.
        size: its length, in bytes.
    """

    key: str
    size: int


@dataclass(frozen=True)
class StoredObject:
    """An object as it was read; its content can be taken in several forms.

    Attributes:
        key: the object's key.
        content: everything in it.
    """

    key: str
    content: builtins.bytes

    @property
    def size(self) -> int:
        """The length of the content, in bytes."""
        return len(self.content)

    def array_buffer(self) -> builtins.bytes:
        """The content as bytes, under the name Cloudflare uses."""
        return self.content

    def bytes(self) -> builtins.bytes:
        """The content as bytes."""
        return self.content

    def text(self) -> str:
        """The content read as UTF-8."""
        return self.content.decode("utf-8")

    def json(self) -> Any:
        """The content read as JSON."""
        return json.loads(self.content)


class Bucket:
    """A flat set of objects under one URL.

    Args:
        url: where the objects live, for example ``file:///srv/media`` or ``s3://media``; a plain path works too.
        **options: passed on to the fsspec file system, for example credentials for S3.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._files, self._root = url_to_fs(url, **options)
        self._is_local = isinstance(self._files, LocalFileSystem)

    def get(self, key: str) -> StoredObject:
        """Read one object.

        Raises:
            NoSuchObject: nothing is stored under ``key``.
            BadKey: ``key`` is not a usable key.
        """
        try:
            return StoredObject(key, self._files.cat_file(self._path(key)))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NoSuchObject(f'No object "{key}" in {self._files.unstrip_protocol(self._root)}', key) from error

    def put(self, key: str, content: bytes | str) -> ObjectSummary:
        """Store one object, replacing what was under ``key``; text is stored as UTF-8.

        Returns: what a listing would now say about it.
        Raises:
            BadKey: ``key`` is not a usable key.
        """
        path = self._path(key)
        data = content.encode("utf-8") if isinstance(content, str) else bytes(content)
        if self._is_local:
            # Object stores replace atomically by themselves; on a disk the rename is what makes it so.
            self._files.makedirs(self._files._parent(path), exist_ok=True)
            unfinished = f"{path}.{uuid.uuid4().hex}{_UNFINISHED}"
            self._files.pipe_file(unfinished, data)
            self._files.mv(unfinished, path)
        else:
            self._files.pipe_file(path, data)
        return ObjectSummary(key, len(data))

    def list(self, prefix: str = "") -> builtins.list[ObjectSummary]:
        """Every object whose key starts with ``prefix``, sorted by key."""
        try:
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return []
        start = len(self._root.rstrip("/")) + 1
        summaries = [ObjectSummary(path[start:], int(details["size"])) for path, details in found.items()]
        return sorted(
            (one for one in summaries if one.key.startswith(prefix) and not one.key.endswith(_UNFINISHED)),
            key=lambda one: one.key,
        )

    def delete(self, key: str) -> None:
        """Remove one object; removing what is not there is not an error, so that a step may do it twice.

        Raises:
            BadKey: ``key`` is not a usable key.
        """
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(key))

    def _path(self, key: str) -> str:
        # Keys often come from whoever created the instance, so they must not reach files outside the bucket.
        parts = key.split("/")
        if not key or "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in parts):
            raise BadKey(f'"{key}" is not a usable key: use names separated by single slashes, without "." or ".."')
        return f"{self._root.rstrip('/')}/{key}"

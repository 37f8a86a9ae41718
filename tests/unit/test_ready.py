"""What can be read or written is found, whatever number the system gives it."""

from __future__ import annotations

import fcntl
import resource
import socket
from collections.abc import Iterator

import pytest

from workflows.process.ready import ready


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_what_has_something_to_read_is_ready(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    assert list(ready([near, far], [], 0)) == []
    far.send(b"x")
    assert list(ready([near, far], [], 0)) == [near]


def test_what_has_room_is_ready_to_be_written_to(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    assert list(ready([], [near], 0)) == [near]


def test_an_end_can_be_read(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.close()
    assert list(ready([near], [], 0)) == [near]


def test_a_process_may_have_many_descriptors(pair: tuple[socket.socket, socket.socket]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 1024:
        pytest.skip("this machine gives a process no more than 1,024 descriptors")
    near, far = pair
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1025), hard))
    try:
        with socket.socket(fileno=fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, 1024)) as high:
            far.send(b"x")
            assert list(ready([high], [], 0)) == [high]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

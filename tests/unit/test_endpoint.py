"""The endpoint for metrics: whatever a client does, whoever serves it goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from workflows.process.ready import ready
from workflows.telemetry import endpoint as module
from workflows.telemetry.endpoint import CONNECTIONS_MAX, Endpoint


def of(text: str = "a 1\n") -> Endpoint:
    return Endpoint("127.0.0.1", 0, lambda: text)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = of()
    yield endpoint
    endpoint.close()


def port(endpoint: Endpoint) -> int:
    endpoint.reading()
    assert endpoint._listener is not None
    found: int = endpoint._listener.getsockname()[1]
    return found


def turn(endpoint: Endpoint, seconds: float = 0.2) -> None:
    """One round of a loop that serves it."""
    endpoint.serve(ready(endpoint.reading(), endpoint.writing(), seconds))


def asked(endpoint: Endpoint, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port(endpoint))) as client:
        client.setblocking(False)
        client.sendall(request)
        heard = b""
        for _ in range(500):
            turn(endpoint, 0.01)
            try:
                part = client.recv(65_536)
            except BlockingIOError:
                continue
            if not part:
                return heard
            heard += part
    raise AssertionError(heard)


def test_a_long_text_arrives_as_a_whole() -> None:
    text = "metric 1\n" * 200_000
    endpoint = of(text)
    assert asked(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")[2] == text.encode()
    endpoint.close()


def test_a_head_has_no_body(endpoint: Endpoint) -> None:
    head, _, body = asked(endpoint, b"HEAD /metrics HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert body == b""


def test_a_text_that_cannot_be_made_harms_nobody() -> None:
    def broken() -> str:
        raise ValueError

    endpoint = Endpoint("127.0.0.1", 0, broken)
    assert asked(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert asked(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    endpoint.close()


def test_clients_that_say_nothing_are_let_go_and_keep_nobody_out(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1_000.0]
    monkeypatch.setattr(module, "monotonic", lambda: moment[0])
    silent = [socket.create_connection(("127.0.0.1", port(endpoint))) for _ in range(CONNECTIONS_MAX)]
    for _ in range(CONNECTIONS_MAX):
        turn(endpoint)
    assert len(endpoint.reading()) == CONNECTIONS_MAX, "there is no room for another one"
    moment[0] += 11
    turn(endpoint, 0)
    assert b"200 OK" in asked(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n")
    for one in silent:
        one.close()


def test_a_port_that_is_taken_is_tried_again_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1_000.0]
    monkeypatch.setattr(module, "monotonic", lambda: moment[0])
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = Endpoint("127.0.0.1", other.getsockname()[1], lambda: "")
        for _ in range(3):
            assert endpoint.reading() == []
            moment[0] += 1.1
    assert caplog.messages == ["metrics not served"]
    assert len(endpoint.reading()) == 1
    endpoint.close()
    assert endpoint.reading() == []

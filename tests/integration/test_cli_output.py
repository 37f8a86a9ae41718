"""``workflows instances output``: what was returned, a stream as its bytes; and why it cannot be had, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import Run, run_in
from tests.driving import HandWorker, step
from workflows.client import Client
from workflows.storage.keys import Instance
from workflows.storage.records import End
from workflows.values.byte_stream import ByteStream
from workflows.values.codec import encode_stream

WHOLE = b"one, two"


@pytest.fixture
def run(client: Client, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return run_in(redis_url, "shop", "instances", "output", "order")


@pytest.fixture
def at(client: Client) -> Instance:
    return client.workflow("order").create("a1")._instance


@pytest.fixture
def worker(client: Client) -> HandWorker:
    return HandWorker(client.store)


def returns_a_stream(worker: HandWorker, at: Instance, *, is_there: bool = True) -> None:
    if is_there:
        worker.store.redis.rpush(worker.keys.chunks(at, "t1"), b"one, ", b"two")
    stream = ByteStream(at.workflow, at.id, "t1", len(WHOLE), 2)
    assert worker.turn(at, end=End("complete", encode_stream(stream), asked=[])) == 2


def test_a_value_is_written_as_json(run: Run, worker: HandWorker, at: Instance, tmp_path: Path) -> None:
    worker.complete(at, {"n": 1})
    assert json.loads(run("a1").output) == json.loads(run("--json").output) == {"n": 1}
    assert run("a1", "--to", "found").output == ""
    assert json.loads((tmp_path / "found").read_text()) == {"n": 1}


def test_a_stream_is_written_as_its_bytes(run: Run, worker: HandWorker, at: Instance, tmp_path: Path) -> None:
    returns_a_stream(worker, at)
    assert run("a1").output_bytes == WHOLE
    assert run("a1", "--to", "found").output == "found: stream of 8 bytes in 2 chunks\n"
    assert (tmp_path / "found").read_bytes() == WHOLE
    assert json.loads(run("a1", "--to", "found", "--json").output) == {"file": "found", "bytes": 8, "chunks": 2}
    assert json.loads(run("a1", "--json").output) == "stream of 8 bytes in 2 chunks"


def test_a_stream_that_is_gone_leaves_the_file_that_was_there(
    run: Run, worker: HandWorker, at: Instance, tmp_path: Path
) -> None:
    returns_a_stream(worker, at, is_there=False)
    (tmp_path / "found").write_text("kept")
    assert "The stream is not there any more" in run("a1", "--to", "found", code=1).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["found"]
    assert (tmp_path / "found").read_text() == "kept"


def test_the_result_of_a_step_is_had_by_its_name(run: Run, worker: HandWorker, at: Instance) -> None:
    worker.turn(at, opened=[step(1, "fetch")])
    worker.settle(at, 1, "fetch", worker.claim(at, "a", 1), value={"n": 1})
    assert json.loads(run("a1", "--step-name", "fetch").output) == {"n": 1}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["a1"], 1, "a1 has returned nothing: it is running"),
        (["a1", "--step-name", "fetch"], 1, 'step "fetch-1" has no result: it is pending'),
        (["a1", "--step-name", "fetch", "--step-count", "2"], 1, 'a1 has asked for no step "fetch-2"'),
        (["a1", "--step-name", "other"], 1, 'a1 has asked for no step "other-1"'),
        (["a1", "--step-count", "1"], 2, "--step-count belongs to --step-name"),
        (["a1", "--step-name", "fetch", "--step-count", "0"], 2, "0 is not in the range x>=1"),
        (["nobody"], 1, "nobody"),
        (["a1", "--to", "."], 2, "'.' is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_had_says_why(
    run: Run, worker: HandWorker, at: Instance, line: list[str], code: int, said: str
) -> None:
    worker.turn(at, opened=[step(1, "fetch")])
    refused = run(*line, code=code).stderr
    assert said in refused
    assert "Traceback" not in refused


def test_of_one_that_has_failed_it_says_so(run: Run, worker: HandWorker, at: Instance) -> None:
    worker.fail(at, ValueError("no luck"))
    assert "a1 has returned nothing: it is errored" in run("a1", code=1).stderr

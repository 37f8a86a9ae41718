"""Many instances on the command line: asked about, told line by line, and gone on with after an interruption."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Run, run_in
from tests.paths import packages
from workflows.client import Client


@pytest.fixture
def run(client: Client, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command, nobody being there to be asked."""
    monkeypatch.chdir(tmp_path)

    return run_in(redis_url, "shop")


def statuses(client: Client) -> dict[str, str]:
    return {one.id: str(one.status) for one in client.workflow("order").list(limit=1_000)}


@pytest.mark.parametrize(
    ("verb", "before", "status", "said", "after"),
    [
        ("pause", None, "queued", "paused", "paused"),
        ("resume", "pause", "paused", "resumed", "queued"),
        ("terminate", None, "queued", "terminated", "terminated"),
        ("restart", "terminate", "terminated", "restarted", "queued"),
        ("delete", "terminate", "terminated", "deleted", None),
    ],
)
def test_a_verb_reaches_all_in_a_status_and_finds_nothing_the_second_time(
    run: Run, client: Client, verb: str, before: str | None, status: str, said: str, after: str | None
) -> None:
    for one in client.workflow("order").create_batch({"count": 3}).created:
        if before is not None:
            getattr(one, before)()
    command = ("instances", verb, "order", "--status", status, "--yes")
    assert run(*command).stdout == f"order: 3 {said}\n"
    assert list(statuses(client).values()) == ([] if after is None else [after] * 3)
    # Nothing is there any more, so nobody is asked either; of a workflow without instances its name is checked.
    assert json.loads(run(*command, "--json").stdout) == {"workflow": "order", "done": 0, "skipped": 0, "errors": []}


def test_where_nobody_can_be_asked_nothing_is_done_without_yes(run: Run, client: Client) -> None:
    client.workflow("order").create_batch({"count": 3})
    said = run("instances", "terminate", "order", "--status", "queued", code=2).stderr
    assert "nobody can be asked here whether to terminate 3 of order (queued): add --yes" in said
    assert set(statuses(client).values()) == {"queued"}


def on_terminal(redis_url: str, folder: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """Runs the command on a terminal on which ``answer`` is typed. Returns: its exit code, and what stood there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "workflows.cli", "--redis-url", redis_url, "--namespace", "shop", *arguments]
    environment = {**os.environ, "PYTHONPATH": packages(), "TERM": "dumb"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.write(ours, answer.encode() + b"\n")
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:
        pass  # the other side is closed
    finally:
        os.close(ours)
    return process.wait(60), shown.decode()


def test_on_a_terminal_it_is_asked_and_shows_how_far_it_is(client: Client, redis_url: str, tmp_path: Path) -> None:
    client.workflow("order").create_batch({"count": 3})
    command = ("instances", "terminate", "order", "--status", "queued", "--status", "running")
    code, shown = on_terminal(redis_url, tmp_path, "n", *command)
    assert (code, set(statuses(client).values())) == (1, {"queued"})
    assert "Terminate 3 of order (queued, running)? [y/N]" in shown
    assert "nothing was done" in shown
    code, shown = on_terminal(redis_url, tmp_path, "y", *command)
    assert (code, set(statuses(client).values())) == (0, {"terminated"})
    assert "100%" in shown
    assert "order: 3 terminated" in shown


def test_those_that_refuse_are_named_and_the_others_are_done(run: Run, client: Client) -> None:
    client.workflow("order").create_batch([{"id": id} for id in "abc"])
    keys = client.store.keys
    client.store.redis.set(keys.header(keys.instance("order", "b")), "garbage")
    ended = run("instances", "terminate", "order", "--status", "queued", "--yes", code=1)
    assert ended.stdout == "order: 2 terminated\n"
    assert 'order/b: What Redis holds of instance "b"' in ended.stderr
    assert ended.stderr.endswith("workflows: 1 could not be terminated\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("pause", "order"), "Give an ID, or --status"),
        (("delete", "order"), "Give an ID, or --status"),
        (("pause", "order", "a", "--status", "queued"), "not both"),
        (("delete", "order", "a", "--status", "queued"), "not both"),
        (("terminate", "order", "a", "--yes"), "--yes belongs to --status"),
        (("terminate", "order", "a", "--date-end", "2026-01-01"), "not both"),
        (("delete", "order", "--ended-start", "yesterday", "--yes"), "'yesterday' is no moment; it must be ISO 8601"),
        (("terminate", "order", "--status", "complete"), "'complete' is not one of"),
        (("restart", "order", "--status", "running"), "'running' is not one of"),
    ],
)
def test_it_is_said_clearly_whom_a_verb_is_for(run: Run, client: Client, arguments: tuple[str, ...], text: str) -> None:
    client.workflow("order").create("a")
    assert text in run("instances", *arguments, code=2).stderr
    assert statuses(client) == {"a": "queued"}


def test_a_workflow_that_is_not_there_is_named(run: Run, client: Client) -> None:
    said = run("instances", "terminate", "odrer", "--status", "queued", "--yes", code=1).stderr
    assert "odrer" in said
    assert "order" in said


def test_a_verb_keeps_to_what_else_was_said(run: Run, client: Client) -> None:
    client.workflow("order").create_batch([{"id": id} for id in "ab"])
    client.workflow("order").get("a").terminate()
    command = ("instances", "delete", "order", "--yes")
    assert run(*command, "--ended-end", "2020-01-01").stdout == "order: 0 deleted\n"
    assert run(*command, "--date-start", "2099-01-01T00:00:00+01:00").stdout == "order: 0 deleted\n"
    said = run("instances", "delete", "order", "--ended-start", "2020-01-01", code=2).stderr
    assert "to delete up to 1 of order (complete, errored, terminated, ended from 2020-01-01T00:00:00+00:00)" in said
    assert run(*command, "--ended-start", "2020-01-01").stdout == "order: 1 deleted\n"
    assert statuses(client) == {"b": "queued"}


def lines(*entries: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def test_an_instance_is_created_for_each_line_and_only_once(run: Run, client: Client, tmp_path: Path) -> None:
    ids = [f"o-{n}" for n in range(250)]
    file = tmp_path / "orders.jsonl"
    file.write_text(lines(*({"id": id, "params": {"n": n}} for n, id in enumerate(ids[:120]))))
    assert run("trigger", "order", "--batch", str(file)).stdout.split() == ids[:120]
    file.write_text(lines(*({"id": id, "params": {"n": n}} for n, id in enumerate(ids))))
    again = run("trigger", "order", "--batch", str(file))
    assert again.stdout.split() == ids[120:]
    assert again.stderr == "order: 130 created, 120 there already, 0 bad lines\n"
    assert len(statuses(client)) == 250
    assert client.workflow("order").get("o-249").status().params == {"n": 249}


def test_a_killed_batch_does_the_rest_when_it_is_run_again(
    run: Run, client: Client, redis_url: str, tmp_path: Path
) -> None:
    """F3: it dies between two hundreds, having said what it created."""
    text = lines(*({"id": f"o-{n}"} for n in range(250)))
    command = [sys.executable, "-P", "-m", "workflows.cli", "--redis-url", redis_url, "--namespace", "shop"]
    process = subprocess.Popen(
        [*command, "trigger", "order", "--batch", "-"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": packages()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(text.splitlines(keepends=True)[:150]))
        process.stdin.flush()
        assert [process.stdout.readline().strip() for _ in range(100)] == [f"o-{n}" for n in range(100)]
        process.kill()
    assert len(statuses(client)) == 100
    assert "150 created, 100 there already" in run("trigger", "order", "--batch", "-", input=text).stderr


BAD = b'{"id": "a"}\n\n{"id": "b"\n{"id": "-"}\n\xff\n7\n{"id": "c", "retention": "1 day"}\n{"id": "a"}\n{"params": {}}'


def test_a_bad_line_is_named_by_its_number_and_stops_no_other(run: Run, client: Client) -> None:
    ended = run("trigger", "order", "--batch", "-", input=BAD, code=1)
    assert ended.stdout.split()[:2] == ["a", "c"]
    assert len(statuses(client)) == 3
    *told, counts = ended.stderr.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["line 3", "line 4", "line 5", "line 6"]
    assert "not JSON" in told[0]
    assert counts == "order: 3 created, 1 there already, 4 bad lines"


def test_programs_are_told_of_each_line_as_well(run: Run, client: Client) -> None:
    ended = run("trigger", "order", "--batch", "-", "--json", input=BAD, code=1)
    *told, counts = map(json.loads, ended.stdout.splitlines())
    assert [(one["line"], one["result"]) for one in told] == [
        (1, "created"),
        (3, "error"),
        (4, "error"),
        (5, "error"),
        (6, "error"),
        (7, "created"),
        (8, "existing"),
        (9, "created"),
    ]
    assert (told[0]["id"], told[2]["code"]) == ("a", "instance.invalid_id")
    assert counts == {"workflow": "order", "created": 3, "existing": 1, "failed": 4}
    assert ended.stderr == ""


@pytest.mark.parametrize("bad", ['{"id": "-"}\n', "{\n"])
def test_where_strictness_is_asked_for_nothing_comes_of_a_hundred_with_a_bad_line(
    run: Run, client: Client, bad: str
) -> None:
    good = [{"id": f"o-{n}"} for n in range(300)]
    text = lines(*good[:150]) + bad + lines(*good[150:])
    ended = run("trigger", "order", "--batch", "-", "--strict", input=text, code=1)
    assert ended.stdout.split() == [f"o-{n}" for n in range(100)]
    assert "line 151: " in ended.stderr
    assert len(statuses(client)) == 100
    # Without the line, the same command does the rest; what exists is no bad line.
    assert (
        "200 created, 100 there already"
        in run("trigger", "order", "--batch", "-", "--strict", input=lines(*good)).stderr
    )


@pytest.mark.parametrize(
    "arguments",
    [("{}", "--batch", "-"), ("--batch", "-", "--id", "a"), ("--batch", "-", "--wait"), ("--strict",)],
)
def test_a_batch_has_everything_in_its_lines(run: Run, client: Client, arguments: tuple[str, ...]) -> None:
    run("trigger", "order", *arguments, code=2, input="{}\n")
    assert statuses(client) == {}


def test_a_batch_of_a_workflow_that_is_not_there_says_so_before_anything_is_read(run: Run, client: Client) -> None:
    assert "odrer" in run("trigger", "odrer", "--batch", "-", code=1, input="{").stderr

"""Restarting from a step by both clients and on the command line. The worker's part is played by hand."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis as redis_py

from tests.commands import Run, run_in
from tests.driving import HandWorker, dump, step
from workflows.client import Client, WorkflowHandle, WorkflowInstance, reading, subscription
from workflows.client.aio import AsyncClient
from workflows.errors import InstanceError


@pytest.fixture
def orders(client: Client) -> WorkflowHandle:
    return client.workflow("order")


@pytest.fixture
def worker(client: Client) -> HandWorker:
    return HandWorker(client.store)


@pytest.fixture
def run(client: Client, redis_url: str) -> Run:
    return run_in(redis_url, "shop", "instances", "restart")


def failed(orders: WorkflowHandle, worker: HandWorker, id: str, *names: str) -> WorkflowInstance:
    """One that has done these steps and failed then."""
    made = orders.create(id)
    for seq, name in enumerate(names, 1):
        worker.turn(made._instance, opened=[step(seq, name)])
        assert worker.settle(made._instance, seq, name, worker.claim(made._instance, "a", seq), value=name) == 1
    worker.fail(made._instance, ValueError("bad"))
    return made


def steps_of(instance: WorkflowInstance) -> list[str]:
    return [step.name for step in instance.status().steps]


def test_the_history_shows_what_was_kept_and_nothing_of_what_is_to_be_done_again(
    orders: WorkflowHandle, worker: HandWorker
) -> None:
    made = failed(orders, worker, "a1", "pick", "charge", "ship")
    made.restart(from_="charge")
    status = made.status()
    assert (str(status.status), status.error, status.ended_at) == ("queued", None, None)
    assert [(step.name, step.output) for step in status.steps] == [("pick", "pick")]


def test_a_long_history_is_read_page_by_page(
    orders: WorkflowHandle, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_ENTRIES", 2)
    made = failed(orders, worker, "a1", *"abcdef")
    made.restart(from_="e")
    assert steps_of(made) == list("abcd")


def test_a_restart_by_somebody_else_in_between_is_noticed(
    orders: WorkflowHandle, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found in the former life may be another step in this one: it is looked for once more."""
    made = failed(orders, worker, "a1", "pick", "charge")
    read = reading.read

    def and_somebody_restarts(*arguments: object, **options: object) -> object:
        request = read(*arguments, **options)  # type: ignore[arg-type]
        monkeypatch.undo()
        answer = orders._store.call(request.call)
        made.restart()
        return type(request)(request.call, lambda _: request.parse(answer))

    monkeypatch.setattr(reading, "read", and_somebody_restarts)
    with pytest.raises(InstanceError, match="cannot_restart"):
        made.restart(from_="charge")


def test_the_other_client_does_the_same(orders: WorkflowHandle, worker: HandWorker, redis_url: str) -> None:
    made = failed(orders, worker, "a1", "pick", "charge", "ship")

    async def body() -> None:
        async with AsyncClient("shop", redis_url) as other:
            instance = await other.workflow("order").get("a1")
            await instance.restart(from_={"name": "ship", "type": "do", "count": 1})
            assert [step.name for step in await (await instance.status()).steps.all()] == ["pick", "charge"]
            with pytest.raises(InstanceError, match=r"\(instance.cannot_restart\) Step \"ship\" not found"):
                await instance.restart(from_="ship")
            assert (await other.workflow("order").restart_all(None, from_="pick")).done == 0

    asyncio.run(body())
    assert steps_of(made) == ["pick", "charge"]


def test_a_subscriber_is_told_what_was_kept_and_nothing_of_what_is_to_be_done_again(
    orders: WorkflowHandle, worker: HandWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the events it has dealt with, and however many entries of the journal are passed over."""
    monkeypatch.setattr(subscription, "PAGE_ENTRIES", 2)
    made = failed(orders, worker, "a1", *"abcdef")
    made.restart(from_="c")
    worker.turn(made._instance, opened=[step(3, "c")])
    made.terminate()
    told = list(made.subscribe())
    assert [event.step_name for event in told if event.type == "step_started"] == ["a", "b", "c"]
    assert [event.step_name for event in told if event.type == "step_completed"] == ["a", "b"]
    assert told[-1].type == "workflow_terminated"
    for place, event in enumerate(told):
        assert list(made.subscribe(cursor=event.event_id)) == told[place + 1 :]


def test_many_are_restarted_and_those_without_the_step_are_named(orders: WorkflowHandle, worker: HandWorker) -> None:
    made = [failed(orders, worker, "a1", "pick", "charge"), failed(orders, worker, "a2", "pick", "charge")]
    failed(orders, worker, "a3", "pick")
    result = orders.restart_all("errored", from_={"name": "charge"})
    assert (result.done, [error.id for error in result.errors]) == (2, ["a3"])
    assert [steps_of(one) for one in made] == [["pick"], ["pick"]]


def test_the_command_line_names_the_step(orders: WorkflowHandle, worker: HandWorker, run: Run) -> None:
    made = failed(orders, worker, "a1", "pick", "charge")
    assert run("order", "a1", "--from-step-name", "charge").output == "order/a1: queued\n"
    assert steps_of(made) == ["pick"]
    made = failed(orders, worker, "a2", "pick", "charge")
    chosen = ("--from-step-name", "pick", "--from-step-count", "1", "--from-step-type", "do")
    answer = json.loads(run("order", "latest", *chosen, "--json").output)
    assert answer == {"workflow": "order", "id": "a2", "status": "queued"}
    assert steps_of(made) == []


def test_the_command_line_restarts_many_from_a_step(orders: WorkflowHandle, worker: HandWorker, run: Run) -> None:
    made = failed(orders, worker, "a1", "pick", "charge")
    failed(orders, worker, "a2", "pick")
    result = run("order", "--status", "errored", "--from-step-name", "charge", "--yes", code=1)
    assert "order: 1 restarted" in result.output
    assert "order/a2: (instance.cannot_restart)" in result.stderr
    assert steps_of(made) == ["pick"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("order", "a1", "--from-step-name", "refund"),
            '(instance.cannot_restart) Step "refund" not found in execution',
        ),
        (("order", "a1", "--from-step-count", "2"), "belong to --from-step-name"),
        (("order", "a1", "--from-step-type", "sleep"), "belong to --from-step-name"),
        (("order", "a1", "--from-step-name", "pick", "--from-step-count", "0"), "x>=1"),
        (("order", "a1", "--from-step-name", "pick", "--from-step-type", "nap"), "'waitForEvent'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_and_changes_nothing(
    orders: WorkflowHandle, worker: HandWorker, redis: redis_py.Redis, run: Run, arguments: tuple[str, ...], said: str
) -> None:
    failed(orders, worker, "a1", "pick")
    before = dump(redis)
    result = run(*arguments, code=2 if "instance" not in said else 1)
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert dump(redis) == before

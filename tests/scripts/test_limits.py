"""I12: whatever the documented limits allow, no script touches more than a bounded number of elements per call.

Each limit is played in full. Elements are counted, not milliseconds: they are the same on every machine.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
import redis as redis_py

from orchestrator import relay, sweep, timers, unfinished
from tests.driving import HandClock, HandWorker, decided, keys_of, sleep, step, wait
from tests.scripts.touching import TouchingStore
from worker.claim import claim
from worker.replays import Replays
from worker.rounds import Round
from worker.warm import WarmCache
from workflows import limits
from workflows.authoring.app import App
from workflows.client import creation, listing, reading, requests
from workflows.client.batches import Plan
from workflows.client.reading import History
from workflows.client.requests import Request
from workflows.client.selection import Where, selection
from workflows.storage import journal
from workflows.storage.keys import Instance, Intent, Keyspace
from workflows.storage.manifest import KnownWorkflow
from workflows.storage.records import Decision, End, GivenUp, Settlement, open_record
from workflows.storage.store import Call, packb, unpackb
from workflows.values import codec
from workflows.values.metadata import tag

Answer = TypeVar("Answer")

FEW = 200
"""What a call touches that takes up one thing: the header twice, and a handful of commands for each element."""


SLICE = 25 * limits.SCRIPT_ELEMENTS + FEW
"""What a call touches that takes up a slice: each open record costs a few commands with a handful of words each."""

CROWD = limits.STEPS_MAX


@pytest.fixture
def store(redis: redis_py.Redis, clock: HandClock) -> TouchingStore:
    return TouchingStore(redis, Keyspace("shop", 1), clock)


@pytest.fixture
def worker(store: TouchingStore) -> HandWorker:
    return HandWorker(store)


@pytest.fixture
def instance(store: TouchingStore, worker: HandWorker) -> Instance:
    id, request = creation.create(store.keys, KnownWorkflow("order"), id="a1")
    store.call(request.call)
    return store.keys.instance("order", id)


def send(store: TouchingStore, instance: Instance, type: str, payload: object = None) -> str:
    request = requests.send_event(store.keys, instance, type, payload)
    return request.parse(store.call(request.call))


def test_a_full_mailbox_costs_no_event_more_than_an_empty_one(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    for _ in range(limits.MAILBOX_EVENTS):
        assert send(store, instance, "t") == "buffered"
    for seq in range(1, 4):
        worker.turn(instance, opened=[wait(seq, f"w{seq}", "t")])
    # Command ids are pruned by half when there are 256 of them.
    assert store.most["send_event"] < FEW + 4 * 256
    assert store.most["commit"] < FEW


def test_waits_of_one_type_cost_no_more_together_than_alone(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    worker.turn(instance, opened=[wait(seq, f"w{seq}", "t") for seq in range(1, 101)])
    each = store.most["commit"] / 100
    for seq in range(1, 101):
        assert send(store, instance, "t", seq) == "delivered"
    assert each < FEW
    assert store.most["send_event"] < FEW


def test_an_event_is_put_back_without_a_look_at_the_others(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    """A thousand events come while `run` gives up one of a thousand waits."""
    worker.turn(instance, opened=[step(1, "fast"), *(wait(seq, f"w{seq}", "t") for seq in range(2, 1002))])
    worker.settle(instance, 1, "fast", worker.claim(instance, "a", 1), value=1)
    token = worker.claim(instance)
    fed = len(worker.entries(instance))
    for seq in range(2, 1002):
        assert send(store, instance, "t", seq) == "delivered"
    store.most.clear()
    assert worker.commit(instance, token, fed=fed, withdrawn=[GivenUp(700, "wait")]) == 1
    assert store.most["commit"] < FEW


# Listings

LISTED = 20_000


def carry_out(store: TouchingStore, plan: Plan[Answer]) -> Answer:
    """A plan, on this store. Returns: what it came to."""
    try:
        asked = next(plan)
        while True:
            answers = store.execute([request.call for request in asked])
            asked = plan.send([request.outcome(answer) for request, answer in zip(asked, answers, strict=True)])
    except StopIteration as end:
        result: Answer = end.value
        return result


@pytest.fixture
def listed(store: TouchingStore) -> None:
    """A full index, for which listings need no instances; ended ones are asked for their headers."""
    index = store.keys.shard_key(0, "index")
    with store.redis.pipeline(transaction=False) as pipeline:
        for number in range(LISTED):
            line = f"complete|order|{1_772_000_000_000 + number}|a{number}"
            pipeline.zadd(index, {line: 0})
        pipeline.execute()


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("where", [{}, {"created_from": datetime(2026, 2, 25, tzinfo=UTC)}])
def test_a_page_of_a_listing_touches_as_much_as_it_shows(
    store: TouchingStore, oldest_first: bool, where: Where
) -> None:
    selected, cursor = selection(None, where), None
    for _ in range(3):
        plan = listing.list_instances(store.keys, "order", selected, cursor=cursor, oldest_first=oldest_first)
        page = carry_out(store, plan)
        assert len(page) == limits.LIST_PAGE
        cursor = page.cursor
    assert store.most["list"] < 8 * limits.LIST_PAGE + FEW
    assert store.calls["peek"] == 0


@pytest.mark.usefixtures("listed")
def test_a_page_that_looks_at_headers_looks_at_so_many_and_no_more(store: TouchingStore) -> None:
    selected = selection(None, {"ended_from": datetime(2026, 1, 1, tzinfo=UTC)})
    before = store.calls["peek"]
    page = carry_out(store, listing.list_instances(store.keys, "order", selected))
    assert (len(page), page.cursor is None) == (0, False)
    assert store.calls["peek"] - before == limits.LIST_LOOKED // limits.LIST_PAGE
    assert store.most["peek"] < 10 * limits.SCRIPT_ELEMENTS
    assert store.most["list"] < 8 * limits.LIST_PAGE + FEW


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("metadata", [{"k": "few"}, {"j": "all", "k": "few"}, {"k": "few", "j": "all"}])
def test_the_narrowest_condition_is_read(store: TouchingStore, metadata: dict[str, str]) -> None:
    """Three of twenty thousand, however the others are listed."""
    index = store.keys.shard_key(0, "index")
    with store.redis.pipeline(transaction=False) as pipeline:
        for number in range(LISTED):
            pipeline.zadd(index, {f"#|order|{tag('j', 'all')}|{1_772_000_000_000 + number}|a{number}|m": 0})
        pipeline.execute()
    about = {"k": "few", "j": "all"}
    for number in range(3):
        _, request = creation.create(
            store.keys, KnownWorkflow("order", metadata_keys=("j", "k")), id=f"b{number}", metadata=about
        )
        store.call(request.call)
    before = store.calls["list"]
    page = carry_out(store, listing.list_instances(store.keys, "order", selection(None, {"metadata": metadata})))
    assert sorted(one.id for one in page) == ["b0", "b1", "b2"]
    # A few that are queued lead there as well.
    page = carry_out(
        store, listing.list_instances(store.keys, "order", selection("queued", {"metadata": {"j": "all"}}))
    )
    assert sorted(one.id for one in page) == ["b0", "b1", "b2"]
    assert store.calls["list"] - before == 2
    assert store.most["list"] < 2 * FEW
    assert store.most["peek"] < FEW


def test_instances_with_all_the_metadata_there_may_be_are_created_by_the_slice(store: TouchingStore) -> None:
    keys = [f"{'k' * 38}{number}" for number in range(limits.METADATA_KEYS)]
    about = dict.fromkeys(keys, "v" * limits.METADATA_VALUE_CHARACTERS)
    entries = [creation.CreateOptions(f"a{number}", metadata=about) for number in range(limits.BATCH)]
    _, batch = creation.create_batch(store.keys, KnownWorkflow("order", metadata_keys=tuple(keys)), entries)
    for request in batch:
        store.call(request.call)
    for _ in sweep.pages(store, 0):
        pass
    assert store.redis.zcard(store.keys.shard_key(0, "index")) == limits.BATCH * (1 + limits.METADATA_KEYS)
    assert store.most["create"] < 150 * limits.BATCH
    assert store.most["sweep"] < SLICE


@pytest.mark.usefixtures("listed")
def test_counting_what_is_listed_touches_none_of_it(store: TouchingStore) -> None:
    assert carry_out(store, listing.count(store.keys, "order", selection("complete", {}))) == LISTED
    assert store.most["list"] < FEW


# Slices


def commit(store: TouchingStore, worker: HandWorker, instance: Instance, **decision: Any) -> int:
    """A decision as the engine sends it, however large it is."""
    blobs: Any = store.redis.lrange(store.keys.journal(instance), 0, -1)
    base = int(worker.header(instance, "pos") or 0)
    item = {
        "g": worker.header(instance, "gen"),
        "t": worker.claim(instance),
        "b": base,
        "f": len(blobs),
        "n": journal.nonce_of(blobs[-1]),
        "z": len(blobs[-1]),
    }
    made = Decision(**decision)
    decided(blobs, base, made)
    codes: list[int] = []
    round = Round()
    round.commit(worker.name, instance, item, lambda answer: codes.append(answer[0]), made)
    round.send(store)
    return codes[0]


def left_over(store: TouchingStore) -> list[bytes]:
    members: Any = store.redis.zrange(store.keys.shard_key(0, "unfinished"), 0, -1)
    return list(members)


def go_on(store: TouchingStore) -> int:
    """What an orchestrator does until nothing is left over. Returns: in how many looks."""
    looks = 0
    while members := left_over(store):
        unfinished.go_on(store, 0, members)
        looks += 1
    return looks


def crowd(store: TouchingStore, worker: HandWorker, instance: Instance, kind: str) -> None:
    made = {
        "step": lambda seq: step(seq, f"s{seq}"),
        "sleep": lambda seq: sleep(seq, f"s{seq}", 10_000),
        "wait": lambda seq: wait(seq, f"s{seq}", "t", 10_000),
    }[kind]
    assert commit(store, worker, instance, opened=[made(seq) for seq in range(1, CROWD + 1)]) == 1
    go_on(store)
    assert store.redis.hlen(own(store, instance, "o")) == CROWD


def own(store: TouchingStore, instance: Instance, name: str) -> str:
    (key,) = [key for key in store.keys.of_instance(instance) if key.endswith(f":{name}")]
    return key


def size(store: TouchingStore, name: str) -> int:
    return int(store.redis.zcard(store.keys.shard_key(0, name)))


def do(store: TouchingStore, instance: Instance, verb: str) -> None:
    request: Request[Any] = getattr(requests, verb)(store.keys, instance)
    request.parse(store.call(request.call))


def bounded(store: TouchingStore) -> None:
    assert {name: most for name, most in store.most.items() if most > SLICE} == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["step", "wait"])
def test_as_many_steps_as_there_may_be_are_opened_and_ended_slice_by_slice(
    store: TouchingStore, worker: HandWorker, instance: Instance, kind: str
) -> None:
    crowd(store, worker, instance, kind)
    assert size(store, "intents" if kind == "step" else "timers") == CROWD
    do(store, instance, "terminate")
    assert worker.header(instance, "st") == "terminated"
    assert go_on(store) > 1
    assert (size(store, "intents"), size(store, "timers"), keys_of(store.redis, store.keys, instance)) == (
        0,
        0,
        [own(store, instance, name) for name in "hjc"],
    )
    assert [type(entry).__name__ for entry in worker.entries(instance)] == ["Start", *["Withdrawn"] * CROWD]
    bounded(store)


def test_what_a_slice_opens_it_hands_out(store: TouchingStore, worker: HandWorker, instance: Instance) -> None:
    made = [step(seq, f"s{seq}") for seq in range(1, 2 * limits.SCRIPT_ELEMENTS + 1)]
    assert commit(store, worker, instance, opened=made) == 1
    unfinished.go_on(store, 0, left_over(store))
    assert size(store, "intents") == limits.SCRIPT_ELEMENTS
    unfinished.go_on(store, 0, left_over(store))
    assert size(store, "intents") == 2 * limits.SCRIPT_ELEMENTS
    bounded(store)


@pytest.mark.slow
def test_a_pause_of_any_size_and_its_end_go_slice_by_slice(
    store: TouchingStore, worker: HandWorker, instance: Instance, clock: HandClock
) -> None:
    crowd(store, worker, instance, "sleep")
    clock.ms += 4_000
    do(store, instance, "pause")
    assert worker.header(instance, "st") == "paused"
    assert size(store, "timers") > 0
    go_on(store)
    assert size(store, "timers") == 0
    clock.ms += 3_600_000
    do(store, instance, "resume")
    go_on(store)
    due: Any = store.redis.zrange(store.keys.shard_key(0, "timers"), 0, -1, withscores=True)
    assert (len(due), {score for _, score in due}) == (CROWD, {clock.ms + 6_000})
    bounded(store)


@pytest.mark.slow
def test_a_pause_that_ends_before_it_came_to_every_timer_moves_them_all(
    store: TouchingStore, worker: HandWorker, instance: Instance, clock: HandClock
) -> None:
    """Also those that fire in between: they are not early."""
    crowd(store, worker, instance, "sleep")
    do(store, instance, "pause")
    clock.ms += 60_000
    do(store, instance, "resume")
    members: Any = store.redis.zrange(store.keys.shard_key(0, "timers"), 0, -1)
    assert timers.fire(store, 0, [member.decode() for member in members[:500]]) == 0
    go_on(store)
    due: Any = store.redis.zrange(store.keys.shard_key(0, "timers"), 0, -1, withscores=True)
    assert (len(due), {score for _, score in due}) == (CROWD, {clock.ms + 10_000})


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["restart", "delete"])
@pytest.mark.parametrize("kind", ["step", "sleep"])
def test_a_life_of_which_nothing_is_kept_is_cleaned_up_slice_by_slice(
    store: TouchingStore, worker: HandWorker, instance: Instance, verb: str, kind: str
) -> None:
    crowd(store, worker, instance, kind)
    do(store, instance, verb)
    if verb == "restart":
        assert worker.header(instance, "st") == "queued"
        assert commit(store, worker, instance, opened=[sleep(1, "nap", 1_000)]) == 1
    assert go_on(store) > 1
    left = size(store, "intents") + size(store, "timers")
    assert left == (1 if verb == "restart" else 0)
    assert store.redis.keys("*:x:*") == []
    bounded(store)


@pytest.mark.slow
def test_an_instance_of_as_many_steps_as_there_may_be_is_retired_slice_by_slice(
    store: TouchingStore, worker: HandWorker, instance: Instance, clock: HandClock
) -> None:
    """Also when its retention is over before its records were taken back."""
    crowd(store, worker, instance, "step")
    do(store, instance, "terminate")
    clock.ms += 365 * limits.DAY_MS
    retiring: Any = store.redis.zrange(store.keys.shard_key(0, "retire"), 0, -1)
    store.most.clear()
    assert sweep.retire(store, 0, retiring) == 1
    assert keys_of(store.redis, store.keys, instance) == []
    assert go_on(store) > 1
    assert (size(store, "intents"), size(store, "retire"), store.redis.keys("*:x:*")) == (0, 0, [])
    bounded(store)


@pytest.mark.slow
def test_ten_thousand_timers_fire_at_once_in_slices(
    store: TouchingStore, worker: HandWorker, instance: Instance, clock: HandClock
) -> None:
    crowd(store, worker, instance, "wait")
    clock.ms += 10_000
    members: Any = store.redis.zrange(store.keys.shard_key(0, "timers"), 0, 9_999)
    assert timers.fire(store, 0, [member.decode() for member in members]) == 10_000
    bounded(store)


@pytest.mark.slow
def test_a_sweep_of_a_crowd_finds_what_is_missing_slice_by_slice(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    crowd(store, worker, instance, "sleep")
    assert sum(sweep.pages(store, 0)) == 0
    members: Any = store.redis.zrange(store.keys.shard_key(0, "timers"), 0, -1)
    store.redis.zrem(store.keys.shard_key(0, "timers"), *members[::1000])
    assert sum(sweep.pages(store, 0)) > 0
    assert size(store, "timers") == CROWD
    bounded(store)


def test_a_turn_is_decided_over_a_bounded_part_of_the_journal(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    waits = limits.TURN_ENTRIES + 10
    worker.turn(instance, opened=[wait(seq, f"w{seq}", "t") for seq in range(1, waits + 1)])
    for seq in range(waits):
        send(store, instance, "t", seq)
    intent = Intent.parse(worker.intents(instance)[0])
    (task,) = claim(store, worker.name, [intent], lambda _: None)
    assert (task.position, task.upto) == (1, 1 + limits.TURN_ENTRIES)


def test_what_a_call_touches_is_counted_also_where_a_script_changes_an_instance(
    store: TouchingStore, instance: Instance
) -> None:
    """The counter itself: everything else here depends on it."""
    assert store.most["create"] > 30
    assert store.heaviest["create"] > 500


# Bytes

BIG = b"x" * 1024 * 1024
HEAVY = 6 * limits.SCRIPT_BYTES
"""What a call is given and touches: a page, with one value too many, which it reads and perhaps writes."""


def big_journal(store: TouchingStore, instance: Instance, entries: int) -> None:
    blob = journal.encode_settled(
        nonce="n" * journal.NONCE_BYTES, seq=1, name="s", count=1, at_ms=1, started_at_ms=1, attempts=1, value=BIG
    )
    store.redis.rpush(store.keys.journal(instance), *[blob] * entries)


def test_a_cold_claim_brings_no_more_bytes_than_a_reply_may_hold_and_the_worker_reads_the_rest_in_pages(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    big_journal(store, instance, 30)
    (task,) = claim(store, worker.name, [Intent.parse(worker.intents(instance)[0])], lambda _: None)
    assert (task.upto, len(task.blobs)) == (31, 2)
    assert len(store.entries(instance, 2, 31)) == 1
    blobs = replays(store).blobs(task, 0, 31)
    assert blobs == store.redis.lrange(store.keys.journal(instance), 0, -1)


def replays(store: TouchingStore) -> Replays:
    """Never runs anything here."""
    nothing: Any = None
    return Replays(App("shop"), store, WarmCache(1, 1), nothing, dict, nothing, nothing)


def test_the_claims_of_one_call_share_what_a_reply_may_hold(store: TouchingStore, worker: HandWorker) -> None:
    made = [creation.create(store.keys, KnownWorkflow("order"), id=f"a{n}") for n in range(10)]
    store.call_all([request.call for _, request in made])
    instances = [store.keys.instance("order", id) for id, _ in made]
    for instance in instances:
        big_journal(store, instance, 3)
    intents = [Intent.parse(worker.intents(instance)[0]) for instance in instances]
    tasks = claim(store, worker.name, intents, lambda _: None)
    assert sorted(task.instance.id for task in tasks) == [f"a{n}" for n in range(10)]
    assert {len(task.blobs) for task in tasks} == {2}
    assert store.heaviest["claim"] < HEAVY


def test_outcomes_are_settled_in_calls_of_bounded_size(
    store: TouchingStore, worker: HandWorker, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.turn(instance, opened=[step(seq, f"s{seq}") for seq in range(1, 9)])
    round, codes = Round(), list[int]()
    for seq in range(1, 9):
        token = worker.claim(instance, "a", seq)
        entry = journal.encode_settled(
            nonce="12345678", seq=seq, name=f"s{seq}", count=1, at_ms=1, started_at_ms=1, attempts=1, value=BIG
        )
        item = Settlement(worker.header(instance, "gen"), seq, token, entry)
        round.settle(worker.name, instance, item, lambda answer: codes.append(answer[0]))
    calls: list[Call] = []
    execute = store.execute
    monkeypatch.setattr(store, "execute", lambda some: [*map(calls.append, some)] and execute(some))
    round.send(store)
    assert codes == [1] * 8
    assert [len(call.arguments["items"]) for call in calls] == [1] * 8


def test_a_batch_of_large_params_is_created_in_calls_of_bounded_size() -> None:
    keys = Keyspace("shop", 1)
    entries = [{"params": {"blob": "x" * 500_000}} for _ in range(10)]
    _, made = creation.create_batch(keys, KnownWorkflow("order"), entries)
    assert [len(request.call.arguments["items"]) for request in made] == [2] * 5


def test_messages_between_shards_are_delivered_in_calls_of_bounded_size(store: TouchingStore) -> None:
    message = {"op": "outcome", "wf": "order", "gen": "g", "seq": 1, "cwf": "order", "cid": "c", "v": BIG}
    relay_key = store.keys.shard_key(0, "relay")
    for n in range(20):
        store.redis.hset(relay_key, f"o|order|p{n}|g|1", packb({**message, "id": f"p{n}"}))
    assert 0 < relay.deliver(store, 0) <= 2
    while relay.deliver(store, 0):
        pass
    assert store.redis.hlen(relay_key) == 0
    assert {name: most for name, most in store.heaviest.items() if most > HEAVY} == {}


def watched(store: TouchingStore, instance: Instance, watchers: int) -> list[str]:
    """So many ask to be told of an instance's end. Returns: the ids of the answers that are under way."""
    relay_key = store.keys.shard_key(0, "relay")
    for n in range(watchers):
        message = {
            "op": "watch",
            "wf": "order",
            "id": instance.id,
            "pwf": "order",
            "pid": f"p{n}",
            "pgen": "g",
            "pseq": 1,
        }
        store.redis.hset(relay_key, f"c|order|p{n}|g|1", packb(message))
    for _ in range(watchers // relay.BATCH + 1):
        relay.deliver(store, 0)
    return sorted(id.decode() for id in store.redis.hkeys(relay_key) if id.startswith(b"o|"))


def test_as_many_as_may_wait_for_an_end_are_told_its_value_slice_by_slice(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    assert watched(store, instance, limits.WATCHERS) == []
    assert worker.turn(instance, end=End("complete", BIG[:250_000], asked=[])) == 2
    looks = go_on(store)
    told: Any = store.redis.hvals(store.keys.shard_key(0, "relay"))
    assert {len(unpackb(blob)[b"v"]) for blob in told} == {250_000}
    assert (len(told), looks) == (limits.WATCHERS, limits.WATCHERS // 2 - 1)
    assert {name: most for name, most in store.heaviest.items() if most > HEAVY} == {}
    bounded(store)


@pytest.mark.parametrize("verb", ["terminate", "delete"])
def test_as_many_as_may_wait_are_told_that_there_is_no_value(
    store: TouchingStore, worker: HandWorker, instance: Instance, verb: str
) -> None:
    watched(store, instance, limits.WATCHERS)
    do(store, instance, verb)
    go_on(store)
    told: Any = store.redis.hvals(store.keys.shard_key(0, "relay"))
    error = {"terminate": b"InstanceTerminated", "delete": b"InstanceNotFound"}[verb]
    assert (len(told), all(error in unpackb(blob)[b"x"] for blob in told)) == (limits.WATCHERS, True)
    bounded(store)


def test_those_who_were_not_told_yet_hear_of_a_deletion(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    watched(store, instance, 10)
    assert worker.turn(instance, end=End("complete", BIG, asked=[])) == 2
    do(store, instance, "delete")
    go_on(store)
    told = [unpackb(blob) for blob in store.redis.hvals(store.keys.shard_key(0, "relay"))]
    assert sorted(message[b"st"] for message in told) == [b"complete"] + [b"deleted"] * 9


def test_large_events_find_their_waits_slice_by_slice(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    for n in range(20):
        assert send(store, instance, "t", f"{n:02}" + "x" * 1_000_000) == "buffered"
    worker.turn(instance, opened=[wait(seq, f"w{seq}", "t") for seq in range(1, 21)])
    assert go_on(store) > 5
    given = [entry for entry in worker.entries(instance) if isinstance(entry, journal.EventReceived)]
    assert [codec.decode(entry.payload)[:2] for entry in given] == [f"{n:02}" for n in range(20)]
    assert {name: most for name, most in store.heaviest.items() if most > HEAVY} == {}


def test_large_events_are_put_back_slice_by_slice_before_anybody_gets_them(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    """They come while `run` gives up the waits for them, and asks for others."""
    worker.turn(instance, opened=[step(1, "fast"), *(wait(seq, f"w{seq}", "t") for seq in range(2, 22))])
    worker.settle(instance, 1, "fast", worker.claim(instance, "a", 1), value=1)
    token, fed = worker.claim(instance), len(worker.entries(instance))
    for n in range(20):
        assert send(store, instance, "t", f"{n:02}" + "x" * 1_000_000) == "delivered"
    given_up = [GivenUp(seq, "wait") for seq in range(2, 22)]
    again = [wait(seq, f"w{seq}", "t") for seq in range(22, 42)]
    assert worker.commit(instance, token, fed=fed, withdrawn=given_up, opened=again) == 1
    assert go_on(store) > 5
    given = [entry for entry in worker.entries(instance) if isinstance(entry, journal.EventReceived) and entry.seq > 21]
    assert [(entry.seq, codec.decode(entry.payload)[:2]) for entry in given] == [(22 + n, f"{n:02}") for n in range(20)]
    assert {name: most for name, most in store.heaviest.items() if most > HEAVY} == {}


def test_an_end_is_compared_by_the_worker_when_what_came_meanwhile_is_large(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    token = worker.claim(instance)
    big_journal(store, instance, 20)
    assert worker.commit(instance, token, fed=1, end=End("complete", b"", asked=[])) == 5
    assert store.heaviest["commit"] < HEAVY


def test_commits_whose_last_entry_is_large_are_sent_apart(
    store: TouchingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    round = Round()
    for n in range(4):
        item = {"g": "g", "t": "t", "b": 0, "f": 1, "n": "n", "z": len(BIG)}
        round.commit("hand", store.keys.instance("order", f"a{n}"), item, lambda _: None, Decision())
    calls: list[Call] = []
    execute = store.execute
    monkeypatch.setattr(store, "execute", lambda some: [*map(calls.append, some)] and execute(some))
    round.send(store)
    assert [len(call.arguments["items"]) for call in calls] == [1] * 4


def failing(store: TouchingStore, worker: HandWorker, instance: Instance, seq: int, times: int) -> None:
    """A step fails so many times, each time with the largest error that is kept."""
    for n in range(times):
        token = worker.claim(instance, "a", seq)
        blob = packb({"n": n, "x": "x" * (limits.FAILURE_BYTES - 100)})
        item = Settlement(worker.header(instance, "gen"), seq, token, retry=(0, [n, 1, 2, blob]))
        round = Round()
        round.settle(worker.name, instance, item, lambda _: None)
        round.send(store)


def test_failures_of_an_open_step_are_kept_up_to_so_many_bytes_and_the_last_in_any_case(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    worker.turn(instance, opened=[step(1, "s1")])
    failing(store, worker, instance, 1, limits.FAILURES_KEPT + 2)
    record = worker.record(instance, 1)
    assert (record.failed, [failed[0] for failed in record.failures]) == (12, [11])


def test_large_open_records_are_read_in_pages(store: TouchingStore, worker: HandWorker, instance: Instance) -> None:
    many = 100
    worker.turn(instance, opened=[step(seq, f"s{seq}") for seq in range(1, many + 1)])
    for seq in range(1, many + 1):
        failing(store, worker, instance, seq, 1)
    pages = History(reading.read(store.keys, instance).parse(store.call(reading.read(store.keys, instance).call)))
    assert pages.next_page is not None
    while (mark := pages.next_page) is not None:
        request = reading.read(store.keys, instance, page=mark)
        pages.add(request.parse(store.call(request.call)))
    assert {record.seq for record in store.open_records(instance)} == set(range(1, many + 1))
    assert {open_record(unpackb(blob)).seq for blob in pages._records} == set(range(1, many + 1))
    assert max(store.heaviest["read"], store.heaviest["records"]) < 2 * limits.SCRIPT_BYTES


@pytest.mark.slow
def test_open_records_are_read_in_pages(store: TouchingStore, worker: HandWorker, instance: Instance) -> None:
    crowd(store, worker, instance, "step")
    store.most.clear()
    first = store.call(reading.read(store.keys, instance).call)
    pages = History(reading.read(store.keys, instance).parse(first))
    while (mark := pages.next_page) is not None:
        request = reading.read(store.keys, instance, page=mark)
        pages.add(request.parse(store.call(request.call)))
    assert [one.seq for one in pages.steps()] == list(range(1, CROWD + 1))
    assert store.most["read"] < SLICE


def test_a_step_answered_between_two_pages_of_records_is_in_the_history(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    many = 3 * reading.PAGE_ENTRIES
    assert commit(store, worker, instance, opened=[step(seq, f"s{seq}") for seq in range(1, many + 1)]) == 1
    go_on(store)
    request = reading.read(store.keys, instance)
    pages = History(request.parse(store.call(request.call)))
    for seq in range(1, many + 1, 7):
        worker.settle(instance, seq, f"s{seq}", worker.claim(instance, "a", seq), value=seq)
    while (mark := pages.next_page) is not None:
        request = reading.read(store.keys, instance, page=mark)
        pages.add(request.parse(store.call(request.call)))
    steps = {one.seq: one.status for one in pages.steps()}
    assert sorted(steps) == list(range(1, many + 1))
    assert {seq for seq, status in steps.items() if status == "complete"} == set(range(1, many + 1, 7))

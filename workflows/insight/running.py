"""What of an instance is to be done by a process: a worker that has it, one that shall take it, an orchestrator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from workflows import limits
from workflows.insight.reason import Reason
from workflows.insight.standing import Standing
from workflows.insight.surroundings import Crowd, Queue, Surroundings
from workflows.insight.waiting import attempts_of, last_attempt, step_name
from workflows.insight.wording import begun, command, iso, moment, plain, span
from workflows.storage.records import Deadline, Open, OpenStep
from workflows.values.concurrency import shown_key

LATE_MS: Final = 10_000
"""What has been due for longer than this does not come by itself in a moment."""
OVERDUE_MS: Final = 60_000
"""What has waited for a busy worker for longer than this is in want of more of them."""
NAMES_SHOWN: Final = 3


class QueuedWork:
    """Attempts, and perhaps the turn, that wait on one queue for a worker to take them.

    Attributes:
        steps: the attempts.
        has_turn: whether the turn is among them.
    """

    def __init__(self, seen: Standing, queue: str) -> None:
        self._seen = seen
        self.queue = queue
        self.steps: list[OpenStep] = []
        self.has_turn = False

    @property
    def since_ms(self) -> int:
        """Since when the first of them waits."""
        moments: list[int] = [max([one.asked, *(failure[2] for failure in one.failures)]) for one in self.steps]
        return min([*moments, *[self._turn_ms] * self.has_turn])

    @property
    def _turn_ms(self) -> int:
        newest = 0 if self._seen.newest is None else self._seen.newest.at_ms
        return max(self._seen.number("created"), self._seen.number("started"), newest)

    @property
    def age_ms(self) -> int:
        return self._seen.now_ms - self.since_ms

    @property
    def members(self) -> list[str]:
        """Where they stand among what is to be handed out."""
        found = [self._seen.intent(one) for one in self.steps] + [self._seen.intent(None)] * self.has_turn
        return [member for member in found if member is not None]

    @property
    def what(self) -> str:
        names = [step_name(one) for one in self.steps[:NAMES_SHOWN]]
        if len(self.steps) > NAMES_SHOWN:
            names.append(f"{len(self.steps) - NAMES_SHOWN} more steps")
        if self.has_turn:
            names.insert(0, "what is next")
        return f"{', '.join(names)} of {self._seen.instance.id}"


def unclaimed(seen: Standing) -> list[QueuedWork]:
    """What waits for a worker, by queue."""
    found: dict[str, QueuedWork] = {}
    if seen.text("turn").startswith("r|"):
        found.setdefault(seen.queue, QueuedWork(seen, seen.queue)).has_turn = True
    for record in seen.records:
        if isinstance(record, OpenStep) and record.state == "ready":
            found.setdefault(record.queue, QueuedWork(seen, record.queue)).steps.append(record)
    return list(found.values())


def on_a_queue(seen: Standing, around: Surroundings | None, waits: QueuedWork, tended: bool) -> Reason:
    """Why nobody has taken it yet.

    Args:
        tended: whether an orchestrator looks after its shard.
    """
    queue, workflow = waits.queue, seen.instance.workflow
    age, count = span(waits.age_ms), len(waits.steps) + waits.has_turn
    facts: dict[str, Any] = {"queue": queue, "since": iso(waits.since_ms), "unclaimed": count}
    there = None if around is None else around.queues.get(queue)
    if there is not None and not there.workers:
        return Reason.of(
            "queue.no-worker",
            f"No worker serves queue {queue}, on which {waits.what} waits.",
            f"workflows worker APP -q {queue}",
            **facts,
        )
    if waits.age_ms <= LATE_MS or not tended:
        return Reason.of("run.settling", f"{begun(waits.what)} is about to be taken from queue {queue}.", **facts)
    declined = seen.number("declined")
    if declined:
        return Reason.of(
            "queue.declined",
            f"Workers have put {seen.instance.id} back {declined} times: they do not know the workflow {workflow}.",
            "start a worker that has its code, or stop those with older code",
            **facts,
            declined=declined,
            code=_code_of(around, workflow),
        )
    scores = [] if around is None else [at for member in waits.members if (at := around.places.get(member)) is not None]
    if around is not None and scores and around.now_ms - min(scores) > LATE_MS:
        return Reason.of(
            "queue.unreachable",
            f"Nobody has told the workers of queue {queue} for {span(around.now_ms - min(scores))} that "
            f"{waits.what} waits: its doorbells cannot be rung.",
            "workflows doctor, which says what is wrong with that queue",
            **facts,
        )
    there = there or Queue()
    are_busy = (
        f"The workers of queue {queue} say that {there.slots_free} of {there.slots} slots are free, and yet"
        if there.slots_free
        else f"All workers of queue {queue} are busy:"
    )
    return Reason.of(
        "queue.overdue" if waits.age_ms > OVERDUE_MS else "queue.busy",
        f"{are_busy} {waits.what} waits since {moment(waits.since_ms)} ({age}); {there.doorbells or 0} doorbells ring "
        "there.",
        f"more workers, or more slots for each: workflows worker APP -q {queue}",
        **facts,
        doorbells=there.doorbells,
        slots=there.slots,
        slots_free=there.slots_free,
    )


def _code_of(around: Surroundings | None, workflow: str) -> str | None:
    known = None if around is None else around.manifest.workflows.get(workflow)
    if around is None or known is None:
        return None
    return str(around.manifest.apps.get(known.app, {}).get("code", "")) or None


def held(seen: Standing, around: Surroundings | None) -> Iterator[Reason]:
    """What workers have."""
    id = seen.instance.id
    if (worker := seen.holder) is not None:
        if _is_gone(seen, around, worker):
            yield _lost(worker, f"decided what {id} does next")
        else:
            yield Reason.of("run.turn", f"Worker {worker} decides what {id} does next.", worker=worker)
    for record in seen.records:
        if not isinstance(record, OpenStep):
            continue
        named = step_name(record)
        if record.deaths or record.losses > 1:
            deaths = record.deaths + record.losses
            yield Reason.of(
                "step.suspect",
                f"{begun(named)} of {id} may be what ended {deaths} workers: it is run in a process of "
                f"its own, and fails for good with the death of {limits.DEATHS}.",
                step=record.name,
                deaths=record.deaths,
                losses=record.losses,
            )
        if record.state == "held":
            yield _lost(record.by, f"ran {named} of {id}") if _is_gone(seen, around, record.by) else _runs(seen, record)


def _is_gone(seen: Standing, around: Surroundings | None, worker: str) -> bool:
    return around is not None and (seen.instance.shard, worker) not in around.leases


def _lost(worker: str, did: str) -> Reason:
    return Reason.of(
        "lease.lost",
        f"Worker {worker}, which {did}, is gone: it is handed out again in a moment.",
        None,
        worker=worker,
    )


def _runs(seen: Standing, record: OpenStep) -> Reason:
    named, most = step_name(record), attempts_of(record)
    which = f"attempt {record.attempts}" + (f" of {most}" if most is not None else "")
    over = record.begun + record.timeout
    heard = record.heard if record.heard >= record.begun else 0  # else an attempt before it was
    beat = f"; its last heartbeat was {span(seen.now_ms - heard)} ago" if heard else ""
    return Reason.of(
        "run.step",
        f"{begun(named)} of {seen.instance.id} runs on worker {record.by} since "
        f"{moment(record.begun)} ({span(seen.now_ms - record.begun)}; {which}), and times out at {moment(over)}"
        f"{beat}.",
        None,
        *last_attempt(record),
        step=record.name,
        count=record.count,
        worker=record.by,
        attempt=record.attempts,
        attempts=most,
        since=iso(record.begun),
        until=iso(over),
        **({"heard_at": iso(heard)} if heard else {}),
    )


def stalled(seen: Standing) -> Iterator[Reason]:
    """``run`` has held up its worker before."""
    strikes = seen.number("strikes")
    if strikes:
        said = plain(seen.text("reason")).rstrip(".")
        yield Reason.of(
            "stall",
            f"The run of {seen.instance.id} stalled {strikes} of {limits.STRIKES} times{': ' * bool(said)}{said}.",
            "move what takes long out of run() and into a step",
            strikes=strikes,
        )


def limited(seen: Standing, around: Surroundings | None) -> Iterator[Reason]:
    """It waits for others of its workflow."""
    slot = seen.slot
    if slot is None or slot.state != "a":
        return
    workflow, id, key = seen.instance.workflow, seen.instance.id, shown_key(slot.key)
    among = f"workflow {workflow}" + (f" with the key {key!r}" if key is not None else "")
    if around is None:
        sentence = f"{id} waits for a slot: as many instances of {among} run as may at a time."
        yield Reason.of("limit.concurrency", sentence, key=key)
        return
    if workflow not in around.limits.limits:
        yield Reason.of(
            "limit.unpublished",
            f"{id} waits for a slot, and none is given: nobody has published how many of {among} may run at a time.",
            "start a worker that has its code, or: workflows register APP",
            key=key,
        )
        return
    limit = around.limits.limits[workflow]
    crowd = around.taken.get((workflow, slot.key), Crowd(0, 0))
    yield Reason.of(
        "limit.concurrency",
        f"{id} waits for a slot: {crowd.running} of {'any number' if limit is None else limit.limit} instances of "
        f"{among} run, and {crowd.queued} wait.",
        f"workflows limits set {workflow} LIMIT",
        running=crowd.running,
        queued=crowd.queued,
        limit=None if limit is None else limit.limit,
        key=key,
    )


def nobody_tends(seen: Standing, around: Surroundings | None) -> Reason | None:
    """Why no orchestrator looks after it; None when one does, or nobody can say."""
    if around is None:
        return None
    id, shard = seen.instance.id, seen.instance.shard
    if not around.orchestrators:
        sentence = f"No orchestrator is running, so nothing moves {id}."
        return Reason.of("orchestrator.none", sentence, "workflows orchestrator")
    if shard not in around.owners:
        return None
    end = around.owners[shard]
    lapsed = seen.now_ms - seen.moved_ms if end is None else around.now_ms - end
    if lapsed <= LATE_MS:
        return None
    return Reason.of(
        "shard.unowned",
        f"No orchestrator looks after shard {shard}, in which {id} is, for {span(lapsed)}.",
        "workflows doctor, and the log of the orchestrators that run",
        shard=shard,
        orchestrators=len(around.orchestrators),
    )


def cancelled(seen: Standing) -> Iterator[Reason]:
    """It was asked to end."""
    stop = Deadline.parse(seen.text("stop"))
    if stop is None or not stop.is_asked or stop.due_ms is None:
        return
    ends, why = stop.due_ms + seen.number("stood"), plain(seen.text("stop_for"))
    how = "its deadline is over" if stop.is_late else "it was cancelled"
    yield Reason.of(
        "cancel.running",
        f"{seen.instance.id} is to end: {how}{f' ({why})' if why else ''}. run() may clean up until {moment(ends)}.",
        command("instances terminate", seen),
        reason=seen.text("stop_for"),
        is_late=stop.is_late,
        until=iso(ends),
    )


def late(seen: Standing, records: Sequence[Open]) -> Iterator[Reason]:
    """Timers that should have fired."""
    due = [seen.due_ms(one) for one in records if seen.timer(one) is not None]
    over = [at for at in due if seen.now_ms - at > LATE_MS]
    if over:
        yield Reason.of(
            "timer.late",
            f"A timer of {seen.instance.id} was due at {moment(min(over))}, {span(seen.now_ms - min(over))} ago: the "
            "orchestrator is behind, or the clock of Redis was put forward.",
            "workflows doctor, and the log of the orchestrators",
            due=iso(min(over)),
            late=len(over),
        )

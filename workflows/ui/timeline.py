"""When the steps of an instance ran, failed and waited, laid out as bars on one axis. Pure; the page draws it as SVG.

Positions are percentages of the width, so that the picture fits any screen without a script. Time in which nothing ran
is drawn shorter where there is much of it: two days of sleep would leave no room for the steps around them. An instance
may have thousands of steps, so rows and bars are bounded: beyond ``ROWS`` steps those of one name share a row, and
bars that lie close together become one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from workflows.client.history import StepStatus

ROWS: Final = 200
BARS: Final = 900
TITLE: Final = 100
# Where nothing ran for this many times as long as something did, that time is drawn shorter: as long as the other.
IDLE_TIMES: Final = 3
# Of the whole width, behind now, for what is still open.
AHEAD: Final = 0.06
_BUSY: Final = frozenset({"run", "failed", "undo"})
_LOOKS: Final = {"failed": "failed", "withdrawn": "withdrawn", "do": "run", "rollback": "undo"}
# What a bar made of several looks like: the first of these that is among them.
_STRONGEST: Final = ("failed", "run", "undo", "queue", "backoff", "child", "wait", "sleep", "withdrawn")


class Stretch(NamedTuple):
    """A stretch of a step, in ms.

    Attributes:
        kind: ``run``, ``failed``, ``undo`` (a handler), ``queue`` (nobody has taken it yet), ``backoff``, ``sleep``,
            ``wait``, ``child`` or ``withdrawn``.
        is_open: it goes on.
    """

    kind: str
    start: float
    stop: float
    title: str
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch as it is drawn; ``start`` and ``width`` in percent."""

    kind: str
    start: float
    width: float
    title: str
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One step, or all of one name.

    Attributes:
        seq: of the step; of the first one where there are several.
        steps: how many.
        note: how long it took, or what it is doing; for several, what is worth knowing of them.
        note_at: in percent, where the last bar ends.
    """

    seq: int
    kind: str
    name: str
    status: str
    steps: int
    bars: tuple[Bar, ...]
    note: str
    note_at: float


class Tick(NamedTuple):
    """A line of the axis, in percent, and how long after the beginning it stands."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture.

    Attributes:
        now: in percent, where now is; None when it has ended.
        is_shortened: time in which nothing ran is drawn shorter than it was.
        is_grouped: steps of one name share a row.
    """

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    now: float | None
    is_shortened: bool
    is_grouped: bool

    @property
    def kinds(self) -> frozenset[str]:
        """Of the bars there are."""
        return frozenset(bar.kind for row in self.rows for bar in row.bars)


class Scale:
    """Moments to places from 0 to 1, in order; idle time may be shorter than it was.

    Args:
        busy: stretches in which something ran, all between ``start`` and ``stop``.
    """

    def __init__(self, start: float, stop: float, busy: Iterable[tuple[float, float]] = ()) -> None:
        self.start, self.stop = start, max(stop, start + 1)
        merged: list[list[float]] = []
        for a, b in sorted(busy):
            if merged and a <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], b)
            elif b > a:
                merged.append([a, b])
        ran = sum(b - a for a, b in merged)
        idle = self.stop - self.start - ran
        self.is_shortened = ran > 0 and idle > IDLE_TIMES * ran
        weight = ran / idle if self.is_shortened else 1.0
        self._edges = [self.start]
        lengths = [0.0]
        for a, b in merged:
            self._edges += [a, b]
            lengths += [(a - self._edges[-3]) * weight, b - a]
        self._edges.append(self.stop)
        lengths.append((self.stop - self._edges[-2]) * weight)
        whole = sum(lengths)
        self._places = [length / whole for length in accumulate(lengths)]

    def place(self, moment: float) -> float:
        """Where a moment stands; what lies outside stands at the edge."""
        if moment <= self.start:
            return 0.0
        if moment >= self.stop:
            return 1.0
        at = bisect_right(self._edges, moment)
        a, b = self._edges[at - 1], self._edges[at]
        low, high = self._places[at - 1], self._places[at]
        return low + (high - low) * (moment - a) / (b - a)

    def moment(self, place: float) -> float:
        """The moment that stands there."""
        at = min(max(bisect_right(self._places, place), 1), len(self._places) - 1)
        low, high = self._places[at - 1], self._places[at]
        a, b = self._edges[at - 1], self._edges[at]
        return b if high <= low else a + (b - a) * (place - low) / (high - low)


def timeline(steps: Sequence[StepStatus], begin: datetime, end: datetime | None, now: datetime) -> Timeline:
    """Lay out the steps of an instance.

    Args:
        begin: when it was created; a step cannot have begun before.
        end: when it ended; None: it goes on.
    """
    now_ms = _ms(now)
    last = _ms(end) if end is not None else now_ms
    spans = {step.seq: spans_of(step, last) for step in steps}
    every = [span for some in spans.values() for span in some]
    start = min([_ms(begin), *(span.start for span in every)])
    stop = max([last, *(span.stop for span in every)])
    scale = Scale(start, stop, [(span.start, span.stop) for span in every if span.kind in _BUSY])
    width = 100 * (1 - AHEAD) if end is None else 100.0
    groups = _groups(steps)
    most = max(3, BARS // max(len(groups), 1))
    rows = tuple(
        _row(group, [span for step in group for span in spans[step.seq]], scale, width, most) for group in groups
    )
    at = None if end is not None else round(scale.place(now_ms) * width, 2)
    return Timeline(rows, _ticks(scale, width), at, scale.is_shortened, len(groups) < len(steps))


def spans_of(step: StepStatus, last: float) -> list[Stretch]:
    """What a step did when, as far as that is kept.

    Args:
        last: until when what is open is drawn, in ms.
    """
    ended = None if step.ended_at is None else _ms(step.ended_at)
    if step.kind in ("do", "rollback"):
        return _attempts(step, ended, last)
    stop = last if ended is None else ended
    begun = min(stop, stop if step.started_at is None else _ms(step.started_at))
    kind = "withdrawn" if step.status == "withdrawn" else step.kind
    word = "for" if ended is None else "after"
    return [Stretch(kind, begun, stop, f"{step.status} {word} {span_text(stop - begun)}", ended is None)]


def _attempts(step: StepStatus, ended: float | None, last: float) -> list[Stretch]:
    spans: list[Stretch] = []
    done = None if step.asked_at is None else _ms(step.asked_at)

    def waited(until: float, kind: str, *, is_open: bool = False) -> None:
        if done is not None and until > done:
            what = "waited for a worker" if kind == "queue" else "waited for its next attempt"
            spans.append(Stretch(kind, done, until, f"{what} for {span_text(until - done)}", is_open))

    for failure in step.failures:
        start = _ms(failure.started_at)
        stop = max(start, _ms(failure.ended_at))
        if not spans and failure.attempt > 1 and done is not None:
            title = f"{failure.attempt - 1:,} earlier attempts, of which no more is kept"
            spans.append(Stretch("backoff", done, max(done, start), title))
        else:
            waited(start, "backoff" if spans else "queue")
        title = f"attempt {failure.attempt} failed after {span_text(stop - start)}: {failure.error}"
        spans.append(Stretch("failed", start, stop, title[:TITLE]))
        done = stop
    last_failed = step.failures[-1].attempt if step.failures else 0
    if step.status == "running" or (ended is not None and step.attempts > last_failed):
        stop = last if ended is None else ended
        begun = step.begun_at or step.started_at
        start = min(stop, stop if begun is None else _ms(begun))
        waited(start, "backoff" if spans else "queue")
        word = "has been running for" if ended is None else f"{step.status} after"
        title = f"attempt {step.attempts}: {word} {span_text(stop - start)}"
        spans.append(Stretch(_LOOKS.get(step.status) or _LOOKS[step.kind], start, stop, title, ended is None))
    elif ended is None:
        waited(last, "backoff" if step.due_at is not None else "queue", is_open=True)
    return spans


def _groups(steps: Sequence[StepStatus]) -> list[list[StepStatus]]:
    """The steps of each row."""
    if len(steps) <= ROWS:
        return [[step] for step in steps]
    by_name: dict[tuple[str, str], list[StepStatus]] = {}
    for step in steps:
        by_name.setdefault((step.kind, step.name), []).append(step)
    groups = list(by_name.values())
    if len(groups) > ROWS:
        others = [step for group in groups[ROWS - 1 :] for step in group]
        groups = [*groups[: ROWS - 1], others]
    return groups


def _row(steps: Sequence[StepStatus], spans: Sequence[Stretch], scale: Scale, width: float, most: int) -> Row:
    bars = _bars(spans, scale, width, most)
    first = steps[0]
    is_one_name = all((step.kind, step.name) == (first.kind, first.name) for step in steps)
    name = first.name if is_one_name else "all other steps"
    if len(steps) == 1 and first.count > 1:
        name = f"{name} ({first.count})"
    note = _note(first, spans) if len(steps) == 1 else _summary(steps)
    note_at = max((bar.start + bar.width for bar in bars), default=0.0)
    return Row(first.seq, first.kind if is_one_name else "", name, _status(steps), len(steps), bars, note, note_at)


def _bars(spans: Sequence[Stretch], scale: Scale, width: float, most: int) -> tuple[Bar, ...]:
    """At most so many bars: those that are closest to each other are drawn as one."""
    placed = sorted((scale.place(span.start) * width, scale.place(span.stop) * width, span) for span in spans)
    if len(placed) > most:
        ends = list(accumulate((stop for _, stop, _ in placed), max))
        gaps = sorted(range(1, len(placed)), key=lambda n: ends[n - 1] - placed[n][0])[: most - 1]
        cuts = [0, *sorted(gaps), len(placed)]
        return tuple(_merged(placed[a:b]) for a, b in pairwise(cuts))
    return tuple(
        Bar(one.kind, round(start, 2), round(max(stop - start, 0), 2), one.title, one.is_open)
        for start, stop, one in placed
    )


def _merged(placed: Sequence[tuple[float, float, Stretch]]) -> Bar:
    start, stop = placed[0][0], max(stop for _, stop, _ in placed)
    kinds = {span.kind for _, _, span in placed}
    kind = next(kind for kind in _STRONGEST if kind in kinds)
    if len(placed) == 1:
        title = placed[0][2].title
    else:
        failed = sum(span.kind == "failed" for _, _, span in placed)
        title = f"{len(placed):,} together" + (f", {failed:,} failed" if failed else "")
    return Bar(kind, round(start, 2), round(stop - start, 2), title, any(span.is_open for _, _, span in placed))


def _status(steps: Sequence[StepStatus]) -> str:
    """That of one; of several what deserves attention first."""
    order = ("failed", "retrying", "running", "pending", "starting", "waiting", "sleeping", "timed out", "complete")
    found = {step.status for step in steps}
    return next((status for status in order if status in found), steps[0].status)


def _note(step: StepStatus, spans: Sequence[Stretch]) -> str:
    if not spans:
        return step.status
    took = span_text(max(span.stop for span in spans) - min(span.start for span in spans))
    attempts = f" · {step.attempts} attempts" if step.attempts > 1 else ""
    return f"{took}{attempts}"


def _summary(steps: Sequence[StepStatus]) -> str:
    parts = []
    for status in ("failed", "retrying", "running", "pending", "waiting", "sleeping"):
        count = sum(step.status == status for step in steps)
        if count:
            parts.append(f"{count:,} {status}")
    times = [_ms(step.ended_at) - _ms(step.started_at) for step in steps if step.ended_at and step.started_at]
    if times:
        parts.append(f"slowest {span_text(max(times))}")
    return " · ".join(parts)


def _ticks(scale: Scale, width: float) -> tuple[Tick, ...]:
    """Round moments where time is even; else what stands at every fifth of the width."""
    if scale.is_shortened:
        places = [n / 5 for n in range(5)]
        return tuple(Tick(round(p * width, 2), f"+{span_text(scale.moment(p) - scale.start)}") for p in places)
    length = scale.stop - scale.start
    pace = next((pace for pace in _PACES if length / pace <= 6), length / 5)
    moments = [n * pace for n in range(int(length / pace) + 1)]
    return tuple(Tick(round(scale.place(scale.start + at) * width, 2), f"+{span_text(at)}") for at in moments)


_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000
_PACES: Final = (
    *(n * scale for scale in (1, 10, 100) for n in (1, 2, 5)),
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 6, 12)),
    *(n * _DAY for n in (1, 2, 5, 10, 30, 100, 365)),
)


def span_text(ms: float) -> str:
    """How long something took, for people: two units at most, such as ``"1.5 s"`` or ``"2 d 3 h"``."""
    ms = max(ms, 0)
    if ms < _SECOND:
        return f"{ms:.0f} ms"
    if ms < _MINUTE - 50:
        return f"{f'{ms / _SECOND:.1f}'.removesuffix('.0')} s"
    seconds = round(ms / _SECOND)
    for size, unit, part, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size:,} {unit} {rest} {small}" if rest else f"{seconds // size:,} {unit}"
    return f"{seconds} s"


def _ms(moment: datetime) -> float:
    return float(round(moment.timestamp() * 1000))


def between(begin: datetime | None, end: datetime | None) -> str:
    """How long it was from one moment to another; nothing where one of them is not known."""
    return "" if begin is None or end is None else span_text((end - begin) / timedelta(milliseconds=1))

"""What ``workflows top`` shows; the only module that needs rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from workflows.cli.showing import moment_text, one_line, shown
from workflows.health.overview import EndedRate, Overview
from workflows.storage.status import LIVE, Status
from workflows.values.durations import format_ms

# Findings and queues of one screen: as many as leave room for some workflows.
MOST = (8, 5, 3, 1)
WORKFLOWS_LEAST = 6
# The table's own head, the empty line before it, and the line that says how many more there are.
AROUND_WORKFLOWS = 3
NAME_CHARACTERS, NUMBER_CHARACTERS = 8, 7
_ALWAYS = frozenset({Status.QUEUED, Status.RUNNING, Status.WAITING, Status.COMPLETE, Status.ERRORED})
_HEADS = {Status.WAITING_FOR_PAUSE: "pausing"}
_COLOURS = {Status.RUNNING: "green", Status.PAUSED: "yellow", Status.ERRORED: "red"}


@dataclass(frozen=True, slots=True)
class View:
    """What is known when it is drawn.

    Attributes:
        outage: what Redis said when it last did not answer; None: it did. What is shown is older then.
        height: lines there are; None: as many as it takes.
    """

    seen: Overview
    rate: EndedRate
    outage: str | None = None
    height: int | None = None


def drawn(console: Console, view: View) -> RenderableType:
    """Everything, as high as the terminal."""
    if view.height is None:
        return Group(*_above(view, None), Text(), *_workflows(view.seen, None))
    for most in MOST:
        above = Group(*_above(view, most))
        rows = view.height - len(console.render_lines(above)) - AROUND_WORKFLOWS
        if rows >= WORKFLOWS_LEAST:
            break
    return Group(above, Text(), *_workflows(view.seen, max(1, rows)))


def _above(view: View, most: int | None) -> Iterable[RenderableType]:
    yield _head(view)
    if view.outage is not None:
        said = f"Redis does not answer, and what stands here is of {moment_text(view.seen.at)}: "
        yield Text(said + one_line(view.outage), style="bold red")
    yield Text()
    yield from _attention(view.seen, most)
    yield _queues(view.seen, most)


def _head(view: View) -> Text:
    seen, totals = view.seen, view.seen.totals
    live = sum(totals[status] for status in LIVE)
    text = Text.assemble((shown(seen.namespace), "bold"), f"  {moment_text(seen.at)}", overflow="fold")
    text.append(f"\n{_many(sum(totals.values()), 'instance')}, {live:,} of them live")
    if view.rate.seconds > 0:
        since = format_ms(int(view.rate.seconds) * 1000)
        text.append(f"; {view.rate.per_second:.1f} ended per second in {since}")
    return text.append(f"\n{_many(len(seen.orchestrators), 'orchestrator')}, {_many(len(seen.workers), 'worker')}")


def _number(count: int) -> str:
    """So that those of all statuses stand beside a name."""
    return f"{count:,}" if count < 1_000_000 else f"{count / 1_000_000:,.2f}M"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _attention(seen: Overview, most: int | None) -> Iterable[RenderableType]:
    for one in seen.attention[:most]:
        style = "red" if one.level == "error" else "yellow"
        yield Text.assemble((f"{one.level:<8} ", style), one_line(one.message))
    left = len(seen.attention) - (len(seen.attention) if most is None else most)
    if left > 0:
        yield Text(f"and {left} more: workflows doctor", style="dim")
    if seen.attention:
        yield Text()


def _table(name: str, heads: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(name, min_width=NAME_CHARACTERS)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True, min_width=max(NUMBER_CHARACTERS, len(head)))
    return table


def _name(text: str, style: str = "") -> Text:
    """It is the one that is cut off where not everything fits."""
    return Text(shown(text), style=style, no_wrap=True, overflow="ellipsis")


def _queues(seen: Overview, most: int | None) -> RenderableType:
    table = _table("queue", ["unclaimed", "oldest", "workers", "free slots"])
    busiest = sorted(seen.queues.items(), key=lambda one: (-one[1].unclaimed, one[0]))
    for name, state in busiest[:most]:
        oldest = format_ms(state.oldest_ms // 1000 * 1000) if state.oldest_ms >= 1000 else ""
        style = "" if state.workers else "red"
        slots = f"{state.slots_free} of {state.slots}" if state.slots else ""
        table.add_row(_name(name, style), f"{state.unclaimed:,}", oldest, str(len(state.workers)), slots)
    if most is not None and len(busiest) > most:
        table.add_row(Text(f"and {len(busiest) - most} more", style="dim"))
    return table


def _workflows(seen: Overview, most: int | None) -> Iterable[RenderableType]:
    totals = seen.totals
    columns = [status for status in Status if status in _ALWAYS or totals[status]]
    table = _table("workflow", [_HEADS.get(status, str(status)) for status in columns])

    def order(name: str) -> tuple[int, str]:
        return -sum(seen.instances[name][status] for status in LIVE), name

    names = sorted(seen.instances, key=order)
    for name in names[:most]:
        counts = seen.instances[name]
        cells = [Text(_number(counts[one]), style=_COLOURS.get(one, "") if counts[one] else "dim") for one in columns]
        table.add_row(_name(name), *cells)
    yield table
    if most is not None and len(names) > most:
        yield Text(f"and {len(names) - most} more: workflows list", style="dim")

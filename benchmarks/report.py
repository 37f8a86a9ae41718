"""What the rounds have given: as JSON, as tables, as a picture, and as the parts of README.md that are made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from benchmarks import plot
from benchmarks.subjects import Subject
from benchmarks.workloads import WORKLOADS, Figures, medians

HERE = Path(__file__).parent
README = HERE / "README.md"
RESULTS = HERE / "results"
KINDS = ("ours", "peers")
ROLES = ("Redis", "orchestrator", "workers", "client")
Table = list[list[str]]


@dataclass
class Results:
    """Everything measured; what JSON holds.

    Attributes:
        head: machine, versions, date.
        titles, journals: by subject: its name for people, and whether it keeps what steps have returned.
        missing: by title, why a peer is not in it.
        measured: by subject, its figures of each round.
        absent: by subject and workload, why there is no figure.
    """

    head: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    journals: dict[str, bool] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    measured: dict[str, list[Figures]] = field(default_factory=dict)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, subjects: Mapping[str, Subject], missing: Mapping[str, str]) -> Self:
        """None yet."""
        return cls(
            titles={key: subject.title for key, subject in subjects.items()},
            journals={key: subject.journal for key, subject in subjects.items()},
            missing=dict(missing),
            measured={key: [] for key in subjects},
            absent={key: {} for key in subjects},
        )

    @property
    def rounds(self) -> int:
        return max(map(len, self.measured.values()))

    def add(self, one: Mapping[str, tuple[Figures, Mapping[str, str]]]) -> None:
        """A round."""
        for key, (found, absent) in one.items():
            self.measured[key].append({name: float(f"{value:.5g}") for name, value in found.items()})
            self.absent[key].update(absent)

    def median(self, subject: str, name: str) -> float | None:
        """Of a figure, over the rounds that have it."""
        return medians(self.measured.get(subject, [])).get(name)


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure of a workload. ``plotted`` says which way is better, of those in the picture."""

    figure: str
    unit: str
    form: str
    plotted: str = ""

    @property
    def title(self) -> str:
        return f"{WORKLOADS[self.figure.partition('.')[0]].title}: {self.unit}"


ROWS = (
    Row("many.rate", "steps/s", "{:,.0f}", "more is better"),
    Row("more.rate", "steps/s", "{:,.0f}", "more is better"),
    Row("one-step.p50", "p50 ms", "{:.2f}", "less is better"),
    Row("one-step.p99", "p99 ms", "{:.2f}"),
    Row("fan-out.rate", "steps/s", "{:,.0f}", "more is better"),
    Row("sequence.rate", "steps/s", "{:,.0f}", "more is better"),
    Row("event.p50", "p50 ms", "{:.2f}", "less is better"),
    Row("event.p99", "p99 ms", "{:.2f}"),
    Row("sleepers.p99", "late, p99 ms", "{:,.0f}", "less is better"),
    Row("sleepers.seconds", "the whole, s", "{:.2f}"),
    Row("sleepers.created", "created/s", "{:,.0f}"),
    Row("sleepers.asleep", "created, begun and asleep/s", "{:,.0f}"),
    Row("sleepers.bytes", "bytes of Redis for each asleep", "{:,.0f}"),
    Row("long.rate", "steps/s", "{:,.0f}"),
    Row("wide.rate", "steps/s", "{:,.0f}"),
    Row("recovery.seconds", "all 2,000 steps done after s", "{:.2f}"),
    Row("recovery.repeated", "callbacks that ran twice", "{:,.0f}"),
)

Reading = Callable[[Mapping[str, Figures]], float]


@dataclass(frozen=True)
class Aim:
    """What was set out to be reached, read within a round: at least, or at most, this number."""

    title: str
    read: Reading
    bound: str
    number: float
    form: str = "{:.2f} ×"

    def reached(self, value: float) -> bool:
        return value >= self.number if self.bound == "≥" else value <= self.number


def _ours(name: str) -> Reading:
    return lambda found: found["ours"][name]


def _against(other: str, name: str) -> Reading:
    return lambda found: found["ours"][name] / found[other][name]


def _within(name: str, other: str) -> Reading:
    return lambda found: found["ours"][name] / found["ours"][other]


AIMS = (
    Aim("200 × 10 steps against plain RQ", _against("rq", "many.rate"), "≥", 30),
    Aim("200 × 10 steps against Restate", _against("restate", "many.rate"), "≥", 5),
    Aim("200 × 10 steps: CPU µs per step", _ours("many.cpu"), "≤", 110, "{:.0f}"),
    Aim("2,000 × 10 steps against Restate", _against("restate", "more.rate"), "≥", 5),
    Aim("create → result, p50 against saq", _against("saq", "one-step.p50"), "≤", 1.1),
    Aim("create → result, p50 against plain RQ", _against("rq", "one-step.p50"), "≤", 0.45),
    Aim("1,000 at once against saq", _against("saq", "fan-out.rate"), "≥", 5),
    Aim("1,000 in a row against saq", _against("saq", "sequence.rate"), "≥", 4),
    Aim("1,000 in a row against the limit", _against("limit", "sequence.rate"), "≥", 0.15),
    Aim("event → end, p50 ms", _ours("event.p50"), "≤", 1.8, "{:.2f}"),
    Aim("event → end, p99 ms", _ours("event.p99"), "≤", 3, "{:.2f}"),
    Aim("2,000 sleepers: late, p99 ms", _ours("sleepers.p99"), "≤", 120, "{:.0f}"),
    Aim("2,000 sleepers: the whole, s", _ours("sleepers.seconds"), "≤", 5.5, "{:.2f}"),
    Aim("10,000 in a row: the last 100 against the first 100", _ours("long.growth"), "≤", 1.1),
    Aim("10,000 at once: time per step against 1,000", _within("fan-out.rate", "wide.rate"), "≤", 1.2),
    Aim("10,000 at once: CPU per step against 1,000", _within("wide.cpu", "fan-out.cpu"), "≤", 1.2),
)
LIMITED = tuple(row for row in ROWS if row.figure.endswith((".rate", ".p50")))


def tables(results: Results) -> Iterator[tuple[str, Table]]:
    """All of them with their captions; those that would be empty are left out."""
    every = {
        "Medians": _medians(results),
        "Aims: ratios within a round": aims(results),
        "Share of the limit": _shares(results),
        "CPU µs per step of ours": _cpu_by_role(results),
        "CPU µs per step, all processes together": _cpu(results) if len(results.titles) > 3 else [],
    }
    for caption, table in every.items():
        if len(table) > 1:
            yield caption, table


def _medians(results: Results) -> Table:
    table = [["", *results.titles.values()], ["*a journal*", *_journals(results)]]
    for row in ROWS:
        cells = [_cell(results, key, row) for key in results.titles]
        if any(results.median(key, row.figure) is not None for key in results.titles):
            table.append([row.title, *cells])
    return table


def _journals(results: Results) -> list[str]:
    return ["yes" if journal else "no" for journal in results.journals.values()]


def _cell(results: Results, key: str, row: Row) -> str:
    value = results.median(key, row.figure)
    return results.absent[key].get(row.figure.partition(".")[0], "") if value is None else row.form.format(value)


def aims(results: Results) -> Table:
    """Those that the rounds say something about."""
    table = [["", "median", "lowest – highest", "aim", "reached"]]
    for aim in AIMS:
        values = list(_readings(results, aim.read))
        if values:
            middle, low, high = (aim.form.format(value) for value in (median(values), min(values), max(values)))
            verdict = "yes" if aim.reached(median(values)) else "**no**"
            table.append([aim.title, middle, f"{low} – {high}", f"{aim.bound} {aim.number:g}", verdict])
    return table


def _readings(results: Results, read: Reading) -> Iterator[float]:
    for number in range(results.rounds):
        round_ = {key: found[number] for key, found in results.measured.items() if number < len(found)}
        try:
            yield read(round_)
        except KeyError:
            continue


def _shares(results: Results) -> Table:
    """How far each is from what the machine can do: of rates a share, of latencies how many times longer."""
    others = [key for key in results.titles if key != "limit"]
    table = [["", *(results.titles[key] for key in others)]]
    for row in LIMITED:
        limit = results.median("limit", row.figure)
        values = [results.median(key, row.figure) for key in others]
        if limit and any(values):
            form = "{:.1%}" if row.figure.endswith(".rate") else "{:.1f} ×"
            table.append([row.title, *("" if value is None else form.format(value / limit) for value in values)])
    return table


def _cpu_by_role(results: Results) -> Table:
    table = [["", *ROLES, "sum", "busy cores", "other programs"]]
    found = medians(results.measured.get("ours", []))
    for name, workload in WORKLOADS.items():
        if f"{name}.cpu" in found and workload.case != "recovery":
            cells = [found.get(f"{name}.cpu.{role}") for role in ROLES]
            cores = [f"{found[f'{name}.{what}']:.1f}" for what in ("cores", "others")]
            table.append([workload.title, *(_micro(cell) for cell in cells), _micro(found[f"{name}.cpu"]), *cores])
    return table


def _cpu(results: Results) -> Table:
    table = [["", *results.titles.values()]]
    for name, workload in WORKLOADS.items():
        values = [results.median(key, f"{name}.cpu") for key in results.titles]
        if any(values):
            table.append([workload.title, *(_micro(value) for value in values)])
    return table


def _micro(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def in_text(results: Results) -> str:
    """For a terminal."""
    parts = ["\n".join(f"{name}: {value}" for name, value in results.head.items())]
    for caption, table in tables(results):
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        parts.append("\n".join([caption, *lines]))
    return "\n\n".join(parts)


def in_markdown(kind: str, results: Results) -> str:
    """For the page."""
    head = [*results.head.items(), *((f"without {title}", why) for title, why in results.missing.items())]
    parts = ["\n".join(f"- {name}: {value}" for name, value in head)]
    if kind == "peers":
        parts.append(f"![How fast each is](results/{kind}.svg)")
    for caption, table in tables(results):
        first, *rest = [f"| {' | '.join(row)} |" for row in table]
        parts += [f"**{caption}**", "\n".join([first, f"|---{'|---:' * (len(table[0]) - 1)}|", *rest])]
    return "\n\n".join(parts)


def drawn(results: Results) -> str:
    """The picture."""
    panels = []
    for row in ROWS:
        if row.plotted:
            bars = [
                (title, results.median(key, row.figure), _cell(results, key, row))
                for key, title in results.titles.items()
            ]
            panels.append((f"{row.title} ({row.plotted})", bars))
    return plot.draw(panels)


def write(kind: str, results: Results) -> None:
    """Keep the results, and make what is made of them anew."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{kind}.json").write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")


def made() -> dict[Path, str]:
    """Every file that is made of the results that are kept, as it must be."""
    page, files = README.read_text(encoding="utf-8"), {}
    for kind in KINDS:
        kept = RESULTS / f"{kind}.json"
        if kept.exists():
            results = Results(**json.loads(kept.read_text(encoding="utf-8")))
            page = _replaced(page, kind, in_markdown(kind, results))
            if kind == "peers":
                files[RESULTS / f"{kind}.svg"] = drawn(results)
    return {**files, README: page}


def _replaced(page: str, kind: str, text: str) -> str:
    begin, end = f"<!-- {kind}: made by python -m benchmarks --write -->", f"<!-- end of {kind} -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{README} needs the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"

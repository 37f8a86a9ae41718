"""``python -m benchmarks``: measure, print, and with ``--write`` put the figures into this folder's README."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import report, yardsticks
from benchmarks.cases import CASES, QUICK, Size
from benchmarks.figures import Figures
from benchmarks.machine import Theft, description
from benchmarks.stage import StageBroken, open_stage, quiet_redis
from workflows.errors import ServerUnavailable

QUICK_ROUNDS = 1


@click.command()
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Yardstick and ours, so often."
)
@click.option("--only", type=click.Choice(list(CASES)), multiple=True, help="Only these cases; repeatable.")
@click.option("--quick", is_flag=True, help="One small round, to see that it works: the figures mean little.")
@click.option("--write", is_flag=True, help="Replace the generated part of benchmarks/README.md.")
def main(rounds: int, only: tuple[str, ...], quick: bool, write: bool) -> None:
    """Measure the speed of workflows against RQ's own jobs and a bare ping-pong through Redis."""
    if write and (quick or only):
        raise click.UsageError("--write needs a whole run: leave --quick and --only out.")
    # Without this a polite request to stop would leave the processes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    size = QUICK if quick else Size()
    begun, theft = time.perf_counter(), Theft()
    measured: list[Figures] = []
    try:
        for number in range(1, (QUICK_ROUNDS if quick else rounds) + 1):
            measured.append(play_round(number, only or tuple(CASES), size, begun))
        with quiet_redis() as (_, line):
            machine = description(line.info("server")["redis_version"])
    except (StageBroken, ServerUnavailable) as error:
        raise click.ClickException(str(error)) from error
    head = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "rounds": str(len(measured)), **machine}
    if (share := theft.share()) is not None:
        head["taken by other guests of the host"] = f"{share:.1%} of all CPU time"
    _print(head, measured)
    if write:
        report.write(head, measured)
        click.echo(f"written to {report.README}")


def play_round(number: int, cases: tuple[str, ...], size: Size, begun: float) -> Figures:
    """The yardsticks, then our cases on fresh processes: a round owes nothing to the one before.

    Raises:
        StageBroken, ServerUnavailable.
    """

    def say(what: str) -> None:
        click.echo(f"{time.perf_counter() - begun:6.1f} s  round {number}: {what}", err=True)

    say("yardsticks")
    figures = yardsticks.measure(size.jobs, size.single_jobs, size.loops)
    with tempfile.TemporaryDirectory(prefix="workflows-benchmark-") as folder, quiet_redis() as (server, _):
        say("starting an orchestrator and two workers")
        with open_stage(server, Path(folder)) as stage:
            for case in cases:
                say(case)
                figures |= CASES[case](stage, size)
    return figures


def _print(machine: dict[str, str], measured: list[Figures]) -> None:
    click.echo("")
    for name, value in machine.items():
        click.echo(f"{name}: {value}")
    for table in (report.result_table(measured), report.cpu_table(measured)):
        if table:
            click.echo("\n" + report.in_columns(table))
    click.echo("")
    for sentence in report.where_the_time_goes(measured):
        click.echo(sentence)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")

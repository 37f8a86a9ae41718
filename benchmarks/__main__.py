"""``python -m benchmarks``: measure, print, and with ``--write`` put the figures into this folder's README."""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime

import click
import redis

from benchmarks import report
from benchmarks.harness import DriverBroken, play_round
from benchmarks.machine import Theft, description
from benchmarks.subjects import OURS, PEERS, Missing, Subject, peer, versions
from benchmarks.workloads import WORKLOADS
from workflows.dev.embedded import EmbeddedRedis
from workflows.errors import ServerUnavailable

PEERS_ROUNDS = 3
ROUNDS = 5


@click.command()
@click.option("--peers", is_flag=True, help="Against the peers, which are installed under .peers/.")
@click.option("--only", type=click.Choice(list(WORKLOADS)), multiple=True, help="Only these workloads; repeatable.")
@click.option("--subject", type=click.Choice([*OURS, *PEERS]), multiple=True, help="Only these subjects; repeatable.")
@click.option("--rounds", type=click.IntRange(1, 100), help=f"How many; {ROUNDS} is usual, {PEERS_ROUNDS} with peers.")
@click.option("--quick", is_flag=True, help="One small round, to see that it works: the figures mean nothing.")
@click.option("--write", is_flag=True, help="Replace the figures in benchmarks/README.md and benchmarks/results/.")
def main(
    peers: bool, only: tuple[str, ...], subject: tuple[str, ...], rounds: int | None, quick: bool, write: bool
) -> None:
    """Measure the speed of workflows against the limit of this machine, and against its peers."""
    if write and (quick or only or subject):
        raise click.UsageError("--write needs a whole run: leave --quick, --only and --subject out.")
    # Without this a polite request to stop would leave the processes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun, theft = time.perf_counter(), Theft()

    def say(what: str) -> None:
        click.echo(f"{time.perf_counter() - begun:6.1f} s  {what}", err=True)

    # Their column is about ours alone, so peers are spared the second one.
    chosen = subject or (("limit", "ours", *PEERS) if peers else tuple(OURS))
    subjects, missing = _found(chosen)
    for title, why in missing.items():
        say(f"without {title}: {why}")
    names = [name for name in WORKLOADS if name in only or not only]
    if peers:
        names = [name for name in names if name in only or not WORKLOADS[name].our_own]
    results = report.Results.of(subjects, missing)
    over: set[tuple[str, str]] = set()
    try:
        for number in range(1, (1 if quick else rounds or (PEERS_ROUNDS if peers else ROUNDS)) + 1):
            results.add(
                play_round(
                    subjects, names, quick=quick, over=over, say=lambda what, n=number: say(f"round {n}: {what}")
                )
            )
        with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as line:
            redis_version = line.info("server")["redis_version"]
    except (DriverBroken, ServerUnavailable) as error:
        raise click.ClickException(str(error)) from error
    results.head = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        **description(),
        "Redis": f"{redis_version}, append-only file synced every second unless said otherwise, unix socket",
        **versions(),
        "rounds": f"{results.rounds}, {time.perf_counter() - begun:,.0f} s",
    }
    if (share := theft.share()) is not None:
        results.head["taken by other guests of the host"] = f"{share:.1%} of all CPU time"
    click.echo("\n" + report.in_text(results))
    if write:
        report.write("peers" if peers else "ours", results)
        click.echo(f"written to {report.README}")


def _found(names: tuple[str, ...]) -> tuple[dict[str, Subject], dict[str, str]]:
    """The subjects, and the reason for each that cannot be had."""
    subjects, missing = {}, {}
    for name in names:
        try:
            subjects[name] = OURS[name] if name in OURS else peer(name)
        except Missing as error:
            missing[PEERS[name]["title"]] = str(error)
    return subjects, missing


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")

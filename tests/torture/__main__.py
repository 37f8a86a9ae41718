"""Kill, freeze and restart everything under load: ``python -m tests.torture [--short] [--minutes M] [--seed N]``.

First the storm: real processes on a real Redis, to which the moves of ``moves.py`` are done in an order that a seed
chooses, and a ledger outside of Redis that says what came of it. Then one instance takes very many events, and another
maps over very many items, while workers are killed. Then the simulator plays seeds until one of the bounds is met, and
each defence of the scripts is taken away to see that it is missed.

Exits with 1 at a violation, or when a mutant survives; says how to repeat it.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

import redis

from tests.invariants.mutants import SEEDS, hunt, mutants
from tests.invariants.simulation.run import play
from tests.torture import entity, items
from tests.torture.moves import MOVES
from tests.torture.storm import Storm
from workflows.dev.embedded import EmbeddedRedis

SHORT_SEEDS_SECONDS = 8.0
SHORT_MUTANTS_SECONDS = 6.0
MINUTES = 10.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="about a minute in all: every move once, less of the rest")
    parser.add_argument("--minutes", type=float, help="how long the storm lasts, and seeds are played (default 10)")
    parser.add_argument("--seed", type=int, help="of the storm; default: another one each time")
    parser.add_argument("--only", action="append", choices=MOVES, help="moves of the storm; default: all of them")
    parser.add_argument("--storm", action="store_true", help="only the storm")
    parser.add_argument("--no-storm", action="store_true", help="only the simulator")
    parser.add_argument("--seeds", type=int, help="how many runs of the simulator")
    parser.add_argument("--first", type=int, default=0, help="its first seed (default 0)")
    parser.add_argument("--no-mutants", action="store_true", help="only play seeds")
    options = parser.parse_args(arguments)
    # What workers and orchestrators say about faults is expected here.
    logging.getLogger("workflows").addHandler(logging.NullHandler())
    minutes = 0 if options.short else options.minutes or MINUTES
    if not options.no_storm and not _storm(options.seed, 60 * minutes, options.only or list(MOVES)):
        return 1
    if options.storm:
        return 0
    if not options.no_storm and not _large(options.short):
        return 1
    seconds = SHORT_SEEDS_SECONDS if options.short else 60 * minutes
    if options.seeds is not None and options.minutes is None:
        seconds = None
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        failed = _seeds(client, options.first, options.seeds, seconds)
        if not failed and not options.no_mutants:
            failed = _mutants(client, SHORT_MUTANTS_SECONDS if options.short else None)
    return 1 if failed else 0


def _storm(seed: int | None, seconds: float, names: list[str]) -> bool:
    """All moves once, then any of them until the time is over. Returns: whether nothing was wrong."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    print(f"storm of seed {seed}", flush=True)
    name = "the beginning"
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        try:
            with Storm(seed, Path(folder)) as storm:
                print(f"{storm.sum()}  {storm.cluster.processes[0].name} and others serve on Redis {storm.version}")
                queue = storm.rng.sample(names, len(names))
                while queue or time.monotonic() - storm.began < seconds:
                    name = queue.pop() if queue else storm.rng.choice(names)
                    storm.moves.append((time.time(), name))
                    MOVES[name](storm)
                    print(f"\r{storm.sum()}  {name}", flush=True)
                name = "the end"
                storm.calm_down()
                print("\n".join(storm.report()), flush=True)
        except Exception as error:
            print(f"\nat {name}: {error}\npython -m tests.torture --storm --seed {seed}", file=sys.stderr)
            if not isinstance(error, AssertionError):
                raise
            return False
    return True


def _large(is_short: bool) -> bool:
    """One instance with many events, one with many items. Returns: whether nothing was wrong."""
    try:
        if is_short:
            entity.main(entity.SHORT_EVENTS, 2)
            items.main(items.SHORT_ITEMS)
        else:
            entity.main(entity.EVENTS)
            items.main(items.ITEMS)
    except AssertionError as error:
        print(f"\n{error}", file=sys.stderr)
        return False
    return True


def _seeds(client: redis.Redis, first: int, most: int | None, seconds: float | None) -> bool:
    began = told = time.monotonic()
    steps = faults = played = 0
    while (most is None or played < most) and (seconds is None or time.monotonic() - began < seconds):
        try:
            world = play(client, first + played)
        except AssertionError as error:
            print(f"\n{error}", file=sys.stderr)
            return True
        played += 1
        steps += len(world.trace)
        faults += world.faults_done
        if time.monotonic() - told > 1:
            told = time.monotonic()
            print(f"\r{played} runs, {steps} steps, {faults} faults", end="", flush=True)
    print(f"\r{played} runs, {steps} steps, {faults} faults, no violation, {time.monotonic() - began:.0f} s")
    return False


def _mutants(client: redis.Redis, seconds: float | None) -> bool:
    began = time.monotonic()
    survived = []
    found = mutants()
    hunted = 0
    # Rotating, so that a short run now and then hunts all of them.
    start = int(time.time() // 3600) % len(found)
    for mutant in [*found[start:], *found[:start]]:
        if seconds is not None and time.monotonic() - began > seconds:
            break
        caught = hunt(client, mutant)
        hunted += 1
        if caught is None:
            survived.append(mutant.title)
            print(f"SURVIVED {SEEDS} runs: {mutant.title}", file=sys.stderr)
        else:
            print(f"caught by seed {caught[0]:3}: {mutant.title} ({caught[1]:.90})")
    print(f"{hunted - len(survived)} of {hunted} mutants caught, {time.monotonic() - began:.0f} s")
    return bool(survived)


if __name__ == "__main__":
    raise SystemExit(main())

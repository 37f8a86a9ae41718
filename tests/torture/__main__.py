"""The long form of the simulator: ``python -m tests.torture [--short] [--seeds N] [--minutes M]``.

Plays seeds until one of the bounds is met, then takes away each defence of the scripts and checks that it is missed.
Exits with 1 at a violation, or when a mutant survives; says how to repeat it.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import redis

from tests.invariants.mutants import SEEDS, hunt, mutants
from tests.invariants.simulation.run import play
from workflows.dev.embedded import EmbeddedRedis

SHORT_SEEDS_SECONDS = 35.0
SHORT_MUTANTS_SECONDS = 20.0
MINUTES = 10.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--short", action="store_true", help="about a minute in all, with some of the mutants")
    parser.add_argument("--seeds", type=int, help="how many runs")
    parser.add_argument("--minutes", type=float, help="how long to play seeds (default 10, unless --seeds is given)")
    parser.add_argument("--first", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--no-mutants", action="store_true", help="only play seeds")
    options = parser.parse_args(arguments)
    # What workers and orchestrators say about faults is expected here.
    logging.getLogger("workflows").addHandler(logging.NullHandler())
    seconds = SHORT_SEEDS_SECONDS if options.short else 60 * options.minutes if options.minutes else None
    if seconds is None and options.seeds is None:
        seconds = 60 * MINUTES
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        failed = _seeds(client, options.first, options.seeds, seconds)
        if not failed and not options.no_mutants:
            failed = _mutants(client, SHORT_MUTANTS_SECONDS if options.short else None)
    return 1 if failed else 0


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

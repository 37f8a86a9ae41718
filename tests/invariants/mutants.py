"""Defences of the scripts, each taken away by a change of text. The simulator must notice every one (L9).

A mutant that survives is a question the simulator does not ask. Some defences cover for each other: a position check
behind a token check, say. Such a second line is taken away together with the first, never alone.
"""

from __future__ import annotations

import time
from typing import Any

import redis as redis_py

from tests.invariants.simulator import CodeMutant, Mutant, play
from worker import engine
from workflows.context import StepContext

SEEDS = 400
"""A mutant that lives through this many runs has survived."""


_context = engine._context


def _context_by_order(instance: Any, generation: str, command: Any, config: Any, number: int) -> StepContext:
    context = _context(instance, generation, command, config, number)
    context.idempotency_key = f"{instance.workflow}/{instance.id}/{generation}/{command.seq}"
    return context


def mutants() -> list[Mutant]:
    """All of them, fresh: a mutant counts where its text was found."""
    return [
        Mutant(
            "settle: any result of a held step counts, whoever brings it",
            "settle",
            "r.st == 'held' and r.tok == a.t and r.by == A.w",
            "r.st ~= 'wait'",
        ),
        Mutant(
            "settle: a result counts in every generation",
            "settle",
            "I and I.gen == a.g and not FINAL[I.st] and record(I, a.s)",
            "I and not FINAL[I.st] and record(I, a.s)",
            ("r.st == 'held' and r.tok == a.t and r.by == A.w", "r.st ~= 'wait'"),
        ),
        Mutant(
            "settle: a fused turn does not look who else has spoken",
            "settle",
            "a.d and I.len == I.pos and I.pos == a.b and I.turn == ''",
            "a.d and I.turn == ''",
        ),
        Mutant(
            "settle: a fused turn and an eager step are accepted while pausing",
            "settle",
            " and I.turn == '' and I.st == 'running' and I.want == ''",
            " and I.turn == ''",
        ),
        Mutant(
            "settle: a back-off is armed while paused",
            "settle",
            "if I.want ~= '' then\n        -- Time",
            "if false then\n        -- Time",
            program="retry",
        ),
        Mutant(
            "settle: the entry is written, nobody is woken",
            "settle",
            "    pump(I)\n  end\n  answers[at] = {code, NOW}",
            "  end\n  answers[at] = {code, NOW}",
        ),
        Mutant(
            "commit: no turn token, no position",
            "commit",
            "I.turn == 'h|' .. A.w .. '|' .. a.t and I.pos == a.b and a.f <= I.len",
            "a.f <= I.len",
        ),
        Mutant("match: mail is not looked at when a wait opens", "", "  match(I)\n", ""),
        Mutant(
            "match: of several types, the one with the smaller name goes first",
            "",
            "'c|' .. ordered(number) .. '|' .. ty",
            "'c||' .. ty",
            program="types",
        ),
        Mutant("an event taken by a cancelled wait is not put back", "", "if index < limit then", "if false then"),
        Mutant(
            "an event is put back once more when its entry is fed",
            "",
            "      redis.call('ZREM', I.q, member)\n      local e = body_of",
            "      local e = body_of",
            program="race-wait",
        ),
        Mutant(
            "an event of a detached wait is put back before its entry is fed",
            "",
            "w.d and f or I.len",
            "I.len",
        ),
        Mutant(
            "the mailbox gives its newest event",
            "",
            "'ZRANGEBYLEX', I.q, '[' .. prefix, '(' .. prefix .. '\\255', 'LIMIT', 0, 1)",
            "'ZREVRANGEBYLEX', I.q, '(' .. prefix .. '\\255', '[' .. prefix, 'LIMIT', 0, 1)",
        ),
        Mutant(
            "the notes of events are kept when a turn was decided over them",
            "",
            "for _, note in ipairs(D.g or {})",
            "for _, note in ipairs({})",
        ),
        Mutant(
            "a matched wait keeps its timer",
            "",
            "  disarm(I, r)\n  redis.call('HDEL', I.o, seq)\n",
            "  redis.call('HDEL', I.o, seq)\n",
        ),
        Mutant("send_event: the same event is accepted again", "send_event", "I and remembered(I, a.ev)", "nil"),
        Mutant(
            "pause leaves the turn",
            "",
            "if I.turn ~= '' then close_turn(I) end\n  for _, r in ipairs(records(I)) do\n    if r.st == 'ready'",
            "for _, r in ipairs(records(I)) do\n    if r.st == 'ready'",
        ),
        Mutant("pause leaves the timers", "", "      disarm(I, r)\n      if not r.ab", "      if not r.ab"),
        Mutant("resume arms no timers", "resume", "      arm(I, r)\n", ""),
        Mutant("resume does not pump", "resume", "  pump(I)\n", ""),
        Mutant("claim works without a lease", "claim", "not lease_is_live(A.w)", "false"),
        Mutant(
            "claim hands out what somebody holds",
            "claim",
            "r and r.st == 'ready' and r.i == a.n",
            "r and r.st ~= 'wait'",
        ),
        Mutant("claim leaves the intent", "claim", "redis.call('ZREM', INTENTS, a.m)", ""),
        Mutant(
            "fire: score and presence are not looked at",
            "fire",
            "if score and tonumber(score) <= NOW then",
            "if true then",
        ),
        Mutant(
            "fire: a time-out leaves its wait in the list", "fire", "          redis.call('ZREM', I.q, waiter(r))\n", ""
        ),
        Mutant(
            "act is not counted down",
            "",
            "redis.call('ZREM', HELD, held_member(I, r.by, 'a', r.s, r.tok))\n    set(I, 'act', I.act - 1)",
            "redis.call('ZREM', HELD, held_member(I, r.by, 'a', r.s, r.tok))",
        ),
        Mutant(
            "a turn opens only when nothing runs",
            "",
            "if I.len > I.pos and I.turn == '' then",
            "if I.len > I.pos and I.turn == '' and I.act == 0 then",
        ),
        Mutant("a commit wakes nobody for entries it has not seen", "commit", "    pump(I)\n", ""),
        Mutant("restart keeps the generation", "restart", "set(I, 'gen', A.gen)", ""),
        Mutant(
            "restart keeps the mailbox",
            "restart",
            "clear(I, false)",
            "redis.call('RENAMENX', I.m, I.c .. 'x') clear(I, false) redis.call('RENAMENX', I.c .. 'x', I.m)",
        ),
        Mutant("the loser of a race is not withdrawn", "", "for _, w in ipairs(D.w) do", "for _, w in ipairs({}) do"),
        Mutant(
            "reap keeps the token",
            "reap",
            "r.st, r.tok, r.by, r.d = 'due', nil, nil, deaths",
            "r.st, r.d = 'due', deaths",
            ("set(I, 'turn', '')", ""),
        ),
        Mutant("reap: a death among others counts like one alone", "reap", "(deaths == 0 or alone)", "true"),
        Mutant("release keeps the turn", "release", "      close_turn(I)\n", ""),
        Mutant(
            "terminate leaves what is held",
            "",
            "  if I.turn ~= '' then close_turn(I) end\n  for _, r in ipairs(records(I)) do\n    disarm(I, r)",
            "  for _, r in ipairs(records(I)) do",
        ),
        Mutant("an outcome is delivered twice", "child_ended", "redis.call('HDEL', I.o, A.s)", ""),
        Mutant(
            "a parent is not told of its child's end",
            "",
            "  tell_parents(I, {v = outcome.v",
            "  if false then end (function() end)(I, {v = outcome.v",
        ),
        CodeMutant(
            "a step's key is made of the order of asking",
            engine,
            "_context",
            _context_by_order,
            program="branches",
        ),
        Mutant("a drained worker takes its lease along with what it holds", "renew", "> 0 then", "> 1000000 then"),
    ]


class Undecided(Exception):
    """Time was over before the mutant was caught or had survived."""


def hunt(
    client: redis_py.Redis, mutant: Mutant, seeds: int = SEEDS, until: float | None = None
) -> tuple[int, str] | None:
    """The first seed whose run notices the mutant, and what it said; None if it survives.

    Raises:
        ValueError: the mutant's text is in no script (any more), or the changed script is no Lua.
        Undecided: it was ``until`` o'clock, as ``time.monotonic`` has it.
    """
    for seed in range(seeds):
        if until is not None and time.monotonic() > until:
            raise Undecided(mutant.title)
        try:
            play(client, seed, mutant)
        except AssertionError as error:
            said = str(error.__cause__)
            if "compiling" in said:
                raise ValueError(f"{mutant.title}: {said}") from None
            return seed, f"{type(error.__cause__).__name__}: {said}"
    if not all(mutant.applied):
        raise ValueError(f"{mutant.title}: a text to change is not in any script")
    return None

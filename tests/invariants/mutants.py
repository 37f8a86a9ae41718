"""Defences of the scripts, each taken away by a change of text. The simulator must notice every one.

A mutant that survives is a question the simulator does not ask. Some defences cover for each other: a position check
behind a token check, say. Such a second line is taken away together with the first, never alone.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import redis as redis_py

from orchestrator import schedules, slots
from tests.invariants.simulation.mutant import CodeMutant, Mutant, with_deadlines, with_schedule
from tests.invariants.simulation.run import play
from worker import beginnings, engine, rounds
from workflows.authoring.context import StepContext
from workflows.insight import running, why
from workflows.replay import replay as replay_module
from workflows.replay.published import Published
from workflows.replay.replay import Replay
from workflows.replay.undoing import Undoing
from workflows.storage import cuts, journal
from workflows.storage.journal import CancelRequested, RollingBack, Withdrawn

SEEDS = 400
"""A mutant that lives through this many runs has survived."""


_context = beginnings._context
_since = Published.since


def _context_by_order(instance: Any, generation: str, command: Any, config: Any, number: int) -> StepContext:
    context = _context(instance, generation, command, config, number)
    context.idempotency_key = f"{instance.workflow}/{instance.id}/{generation}/{command.seq}"
    return context


CUTS = ("cut",) * 4
CANCELS = ("cancel",) * 4


_kept = cuts.kept


def _kept_with_what_was_given_up(entries: Sequence[Any]) -> Sequence[Any]:
    return [
        entry if isinstance(entry, Withdrawn) and all(entry.seq < cut.seq for cut in cuts.cuts_of(entries)) else found
        for entry, found in zip(entries, _kept(entries), strict=True)
    ]


def _kept_with_what_was_undone(entries: Sequence[Any]) -> Sequence[Any]:
    kept = _kept(entries)
    return [entry if isinstance(entry, RollingBack) else one for entry, one in zip(entries, kept, strict=True)]


def _kept_with_what_came_of_a_request(entries: Sequence[Any]) -> Sequence[Any]:
    answers = [RollingBack(0) if isinstance(entry, CancelRequested) else entry for entry in entries]
    return _kept(answers)


_encode_settled = journal.encode_settled
_undone = Undoing.undone


def _begin_with_the_first(undoing: Undoing, entry: Any, error: BaseException, asked: int, lives: Any) -> None:
    _begin(undoing, entry, error, asked, lives)
    undoing._left.reverse()


def _go_on(undoing: Undoing, entry: Any) -> None:
    _undone(undoing, entry)
    undoing.failed = None


_begin = Undoing.begin


def mutants() -> list[Mutant]:
    """All of them, fresh: a mutant counts where its text was found."""
    return [
        with_schedule(
            Mutant(
                "schedule: whoever decides last is right", "schedule", "if state ~= A.from then return reply(0) end", ""
            )
        ),
        with_schedule(
            Mutant(
                "a pause of a schedule forgets what was to be created",
                "schedule_paused",
                "  state.paused = NOW",
                "  state = {at = state.at, paused = NOW}",
            )
        ),
        with_schedule(CodeMutant("a firing overlaps the one before", schedules, "_runs", lambda *_: False)),
        Mutant(
            "settle: any result of a held step counts, whoever brings it",
            "settle",
            "r.state == 'held' and r.token == a.t and r.by == A.w",
            "r.state ~= 'wait'",
        ),
        Mutant(
            "settle: a result of a held step is taken for that of its holder",
            "settle",
            " and v[16] == token and v[17] == worker then",
            " then",
        ),
        Mutant(
            "settle: a result counts in every generation",
            "settle",
            "I and I.gen == a.g and not FINAL[I.st] and (a.e",
            "I and not FINAL[I.st] and (a.e",
            ("r.state == 'held' and r.token == a.t and r.by == A.w", "r.state ~= 'wait'"),
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
            program="long",
            controls=("pause",) * 3,
        ),
        Mutant(
            "a timer is armed while paused",
            "",
            "  if I.want ~= '' then return end\n  local member",
            "  local member",
            program="retry",
            controls=("pause",) * 3,
        ),
        Mutant(
            "settle: the entry is written, nobody is woken",
            "settle",
            "    pump(I)\n  end\n  answers[at] = {code, NOW}",
            "  end\n  answers[at] = {code, NOW}",
        ),
        Mutant(
            "a look in vain is a failure",
            "",
            "  r.deaths, r.losses = 0, 0\n  record.arm(I, r)",
            "  r.failed = r.failed + 1\n  record.arm(I, r)",
            program="poll",
        ),
        Mutant("a poll looks for ever", "", "  if left <= 0 then", "  if false then", program="poll"),
        Mutant(
            "reap: a step that runs at most once is handed out again",
            "reap",
            "          if not record.interrupt(I, r) then",
            "          if true then",
            program="once",
        ),
        Mutant(
            "release: so is one that a worker gives back in the midst of it",
            "release",
            "if a.how ~= 'drain' or not record.interrupt(I, r) then",
            "if true then",
            program="once",
        ),
        Mutant(
            "an attempt that was cut off uses up no retry",
            "",
            "if config.o and r.failed < config.l then",
            "if config.o and r.failed <= config.l then",
            program="once",
        ),
        Mutant(
            "commit: no turn token, no position",
            "commit",
            "turn.is_held_by(I, A.w, a.t) and I.pos == a.b and a.f <= I.len",
            "a.f <= I.len",
        ),
        Mutant(
            "commit: an end does not look for what its code has never asked for",
            "commit",
            "more = a.d.e and decision.unasked(I, a.d.e, a.f)",
            "more = nil",
            program="shortened",
        ),
        Mutant(
            "settle: a fused end does not look for what its code has never asked for",
            "settle",
            " and not (a.d.e and decision.unasked(I, a.d.e, I.len))",
            "",
            program="shortened",
        ),
        Mutant(
            "commit: an end does not look at what was answered meanwhile",
            "",
            "for _, blob in ipairs(entries) do",
            "for _, blob in ipairs({}) do",
            program="shortened",
        ),
        CodeMutant(
            "replay: entries after the end are only counted",
            Replay,
            "_check_asked",
            lambda replay, entry: None,
            program="shortened",
        ),
        Mutant(
            "match: mail is not looked at when a wait opens",
            "",
            "      mailbox.look_for(I, ty, select(2, queue.first_number(I, 'm|' .. ty .. '|')))\n    end",
            "    end",
        ),
        Mutant(
            "match: of several types, the one with the smaller name goes first",
            "",
            "'c|' .. queue.ordered(number) .. '|' .. ty",
            "'c||' .. ty",
            program="types",
        ),
        Mutant(
            "a wait for a key that has timed out is still found by it",
            "fire",
            "          record.unkey(I, r)\n",
            "",
            program="keyed",
        ),
        Mutant(
            "a wait for a key that is over is still found by it",
            "",
            "    if r.kind == 'wait' then record.unkey(I, r) end\n",
            "",
            program="keyed",
        ),
        Mutant(
            "a wait for a key is not found by it while its time stands still",
            "",
            "redis.call('ZREM', shard.timers, record.timer_member(I, r)) else record.arm",
            "record.unlist(I, r) else record.arm",
            program="keyed",
            controls=("pause",) * 3,
        ),
        Mutant(
            "an event for a key is kept when nobody waits",
            "send_event",
            "a.at and not r",
            "false",
            program="keyed",
        ),
        Mutant(
            "a token of a former life is good for the present one",
            "send_event",
            "  if life == I.gen then return true end",
            "  if true then return true end",
            program="tokens",
            controls=("restart",) * 3,
        ),
        Mutant(
            "a token is no good any more when a restart has kept its wait",
            "send_event",
            "return life == cut[3]",
            "return false",
            program="tokens",
            controls=CUTS,
        ),
        Mutant(
            "a second answer by a token is kept",
            "send_event",
            "a.of and not (r and",
            "a.of and r and not (",
            program="tokens",
        ),
        Mutant(
            "a second answer by a token is kept while the first one lies in the mailbox",
            "send_event",
            "  if queue.first(I, 'm|' .. ty .. '|') then return false end\n",
            "",
            program="answers",
            controls=("pause",) * 3,
        ),
        Mutant(
            "a heartbeat is acknowledged and forgotten",
            "heartbeat",
            "  record.save(I, r)\n  record.arm(I, r)\n",
            "",
            program="heartbeats",
        ),
        Mutant(
            "a heartbeat leaves the timer of its wait where it is",
            "heartbeat",
            "  record.arm(I, r)\n",
            "",
            program="heartbeats",
        ),
        Mutant(
            "a heartbeat of a former life counts for the present one",
            "heartbeat",
            "  if life == I.gen then return true end",
            "  if true then return true end",
            program="heartbeats",
            controls=("restart",) * 3,
        ),
        Mutant(
            "silence is not noticed before the timeout",
            "fire",
            "local is_silent = record.silent_at(r)",
            "local is_silent = nil",
            program="heartbeats",
        ),
        Mutant(
            "an instance that an event starts is created without it",
            "send_event",
            "        mailbox.keep(I, a.ty, number, e)",
            "        if not made then mailbox.keep(I, a.ty, number, e) end",
            program="waits",
        ),
        Mutant(
            "an event starts its instance once more",
            "send_event",
            "a.new and not I and not instance.is_unreadable(a.i)",
            "a.new",
            program="waits",
        ),
        Mutant(
            "a wait for any of several types stays in the queues of all but one",
            "",
            "  for ty in record.types(r) do redis.call('ZREM', I.q, record.waiter(r, ty)) end",
            "  redis.call('ZREM', I.q, record.waiter(r, record.types(r)()))",
            program="any",
        ),
        Mutant(
            "an event taken by a cancelled wait is not put back",
            "",
            "index and index < limit and journal.body_of(I.j, index)",
            "nil",
        ),
        Mutant(
            "an event that is put back is no error any more",
            "",
            "mailbox.keep(I, e.ty, e.ac, {p = e.p, et = e.et, ev = e.ev, x = e.x, se = e.se})",
            "mailbox.keep(I, e.ty, e.ac, {p = e.p, et = e.et, ev = e.ev, se = e.se})",
            program="race-wait",
        ),
        Mutant(
            "an event is shown that was hidden when it was given",
            "",
            ", se = r.sensitive or e.se})",
            "})",
            program="race-wait",
        ),
        Mutant(
            "an event is shown that a wait has given back which hid it",
            "",
            "x = e.x, se = e.se})",
            "x = e.x})",
            program="race-wait",
        ),
        Mutant(
            "a wait forgets that it hides what it is given",
            "",
            "sensitive = v[11] or nil, ",
            "",
            program="heartbeats",
        ),
        Mutant(
            "an event is put back once more when its entry is fed",
            "",
            "      redis.call('ZREM', I.q, member)\n      mailbox.keep",
            "      mailbox.keep",
            program="race-wait",
        ),
        Mutant(
            "an event of a detached wait is put back before its entry is fed",
            "",
            "is_detached and f or I.len",
            "I.len",
            program="detached",
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
            "  record.disarm(I, r)\n  redis.call('HDEL', I.o, r.seq)\n  queue.add",
            "  record.unlisten(I, r)\n  redis.call('HDEL', I.o, r.seq)\n  queue.add",
        ),
        Mutant(
            "send_event: the same event is accepted again", "send_event", "I and command.remembered(I, a.ev)", "nil"
        ),
        Mutant(
            "pause leaves the turn",
            "",
            "  instance.set(I, 'paused_at', NOW)\n  if I.turn ~= '' then turn.close(I) end\n",
            "  instance.set(I, 'paused_at', NOW)\n",
        ),
        Mutant(
            "pause leaves the timers",
            "",
            "if I.want ~= '' then redis.call('ZREM', shard.timers, record.timer_member(I, r)) else",
            "if I.want == '' then",
        ),
        Mutant("resume arms no timers", "", "else record.arm(I, r) end", "end"),
        Mutant(
            "a walk that was cut short is not gone on with",
            "",
            "found, I.rest.walk = record.some(I, I.rest.walk)",
            "found, I.rest.walk = record.some(I, I.rest.walk) I.rest.walk = nil",
            program="crowd",
            controls=("pause",) * 3,
        ),
        Mutant(
            "time that stood still is forgotten",
            "",
            "I.stood + math.max(0, NOW - paused_at)",
            "I.stood",
            program="sleeper",
            controls=("pause", "pause"),
        ),
        Mutant(
            "what is left over by a call is left to nobody",
            "",
            "if text ~= '' and instance.is_unfinished(I) then",
            "if false then",
        ),
        Mutant(
            "steps that are too many for a call are forgotten",
            "",
            "  I.due = {unpack(I.due, taken + 1)}\n",
            "  I.due = {}\n",
        ),
        Mutant(
            "a turn opens beside a decision that is not applied whole",
            "",
            "I.turn == '' and not I.rest.at then",
            "I.turn == '' then",
        ),
        Mutant(
            "mail is matched before all is open",
            "",
            "while I.rest.mail and not I.rest.at and",
            "while I.rest.mail and",
            program="types",
            controls=("pause",),
        ),
        Mutant(
            "send_event: an event overtakes others that have not been looked at",
            "send_event",
            "r and not I.rest.at and not I.rest.mail",
            "r",
            program="types",
            controls=("pause",),
        ),
        Mutant(
            "parts of a decision outlive their turn",
            "",
            "if I.rest.token then turn.drop_parts(I) end",
            "",
            program="types",
            controls=("pause",) * 3,
        ),
        Mutant(
            "records of a life that was restarted are put aside for nobody",
            "",
            "redis.call('ZADD', shard.unfinished, REAL, 'x|' .. instance.who(I) .. token)",
            "",
            program="crowd",
            controls=("restart",) * 3,
        ),
        Mutant(
            "open records of an ended life are forgotten",
            "",
            "I.bad, I.rest.clear = nil, more and 1 or nil",
            "I.bad = nil",
            program="crowd",
            controls=("terminate",),
        ),
        Mutant("resume does not pump", "resume", "  pump(I)\n", ""),
        Mutant("claim works without a lease", "claim", "not record.lease_is_live(A.w)", "false"),
        Mutant(
            "claim hands out what somebody holds",
            "claim",
            "r and r.state == 'ready' and r.intent == a.n",
            "r and r.state ~= 'wait'",
        ),
        Mutant(
            "a turn is claimed with its doorbell without a lease",
            "pop",
            "record.lease_is_live(A.w) and instance.load(1)",
            "instance.load(1)",
            program="crowd",
        ),
        Mutant(
            "a turn that is not there is claimed with an old doorbell",
            "pop",
            "and turn.is_ready(I, n)",
            "",
        ),
        Mutant("claim leaves the intent", "claim", "redis.call('ZREM', shard.intents, a.m)", ""),
        Mutant(
            "fire: score and presence are not looked at",
            "fire",
            "if score and tonumber(score) <= NOW then",
            "if true then",
            ("record.moment(I, r) > NOW", "false"),
        ),
        Mutant(
            "fire: a time-out leaves its wait in the list",
            "fire",
            "          record.unlisten(I, r)\n",
            "",
        ),
        Mutant(
            "act is not counted down",
            "",
            "if r.state == 'ready' or r.state == 'held' then\n    instance.set(I, 'act', I.act - 1)",
            "if r.state == 'ready' then\n    instance.set(I, 'act', I.act - 1)",
        ),
        Mutant(
            "a turn opens only when nothing runs",
            "",
            "if I.len > I.pos and I.turn == '' and",
            "if I.len > I.pos and I.turn == '' and I.act == 0 and",
        ),
        Mutant("a commit wakes nobody for entries it has not seen", "commit", "    pump(I)\n", ""),
        Mutant("restart keeps the generation", "restart", "instance.set(I, 'gen', gen)", ""),
        Mutant(
            "restart keeps the mailbox",
            "restart",
            "ending.abandon(I, KEYS[#KEYS], A.remains)",
            "redis.call('RENAMENX', I.m, I.c .. 'x') ending.abandon(I, KEYS[#KEYS], A.remains)"
            " redis.call('RENAMENX', I.c .. 'x', I.m)",
        ),
        Mutant(
            "the next life has none of the mail",
            "",
            "  I.rest = {mail = I.rest.mail}\n",
            "  I.rest = {mail = I.rest.mail}\n  redis.call('UNLINK', I.m, I.q)\n",
            program="entity",
        ),
        Mutant(
            "what the life before has given up is open in the next one",
            "",
            "    left = select(3, decision.change(I, left, f))\n",
            "    left = nil\n",
            program="entity",
        ),
        Mutant(
            "the next life is taken for having received what the one before it has",
            "",
            "  redis.call('ZREMRANGEBYLEX', I.q, '[g|', '(g|\\255')\n",
            "",
            program="entity",
        ),
        Mutant(
            "a wait times out before the event that came in time has been matched",
            "fire",
            "r.kind == 'wait' and mailbox.is_on_its_way(I, r)",
            "false",
            program="reborn",
        ),
        Mutant(
            "the next life is given answers to waits of the one before it",
            "",
            "for _, name in ipairs(D.e.va or {}) do",
            "for _, name in ipairs({}) do",
            program="reborn",
        ),
        Mutant(
            "the next life begins with the params of the one before it",
            "",
            "  start.p, start.t, start.cu = D.e.v, NOW, nil\n",
            "  start.t, start.cu = NOW, nil\n",
            program="entity",
        ),
        Mutant(
            "the first decision after a cut is taken over a part of what was kept",
            "",
            "I.pos == 0 and I.len or math.min(",
            "math.min(",
            program="parallel",
            controls=CUTS,
        ),
        Mutant(
            "a cut before another one names the last life",
            "restart",
            "life = table.remove(cuts)[3]",
            "table.remove(cuts)",
            program="chance",
            controls=CUTS,
        ),
        Mutant(
            "what an instance ended with stays in the midst of its journal",
            "restart",
            "  redis.call('RPOP', I.j)\n  I.len = I.len - 1\n",
            "",
            program="impatient",
            controls=CUTS,
        ),
        CodeMutant(
            "replay: what is drawn before a cut is drawn by the present life",
            replay_module,
            "generation_at",
            lambda cuts, asked, generation: generation,
            program="chance",
            controls=CUTS,
        ),
        CodeMutant(
            "what was given up before a cut stays given up",
            cuts,
            "kept",
            _kept_with_what_was_given_up,
            program="rivals",
            controls=CUTS,
        ),
        Mutant(
            "the loser of a race is not withdrawn", "", "for at, one in ipairs(D.w) do", "for at, one in ipairs({}) do"
        ),
        Mutant(
            "reap keeps the token",
            "reap",
            "record.back_to_due(I, r)",
            "r.state, I.due[#I.due + 1] = 'due', r",
            ("        turn.close(I)\n", ""),
        ),
        Mutant("reap: a death among others counts like one alone", "reap", "(deaths == 0 or alone)", "true"),
        Mutant("release keeps the turn", "release", "      turn.close(I)\n", ""),
        Mutant(
            "terminate leaves what is held",
            "",
            "    if live then record.disarm(I, r) else record.unlist(I, r) end\n",
            "",
        ),
        Mutant("an outcome is delivered twice", "child_ended", "redis.call('HDEL', I.o, A.s)", ""),
        Mutant(
            "a parent is not told of its child's end",
            "",
            "  ending.tell_some(I, {v = outcome.v",
            "  if false then end (function() end)(I, {v = outcome.v",
        ),
        Mutant(
            "an error ends an instance that has things to undo",
            "",
            "if D.e.rb == 'begin' then",
            "if D.e.rb == 'begin' and false then",
            program="saga",
        ),
        Mutant(
            "handlers begin while other things are open",
            "",
            "  ending.withdraw_some(I, 1)\n  if I.rest.clear then return end\n",
            "  ending.withdraw_some(I, 1)\n",
            program="saga",
            controls=("rollback",),
        ),
        Mutant(
            "a turn opens while what is open is taken back",
            "",
            "  if I.rest.clear then\n    write_due",
            "  if false then\n    write_due",
            program="saga",
            controls=("rollback",),
        ),
        Mutant(
            "what is taken back before handlers looks as if run had given it up",
            "",
            "{k = r.kind, e = live}",
            "{k = r.kind}",
            program="saga",
            controls=("rollback",),
        ),
        Mutant(
            "what was withdrawn is not undone",
            "",
            "a = r.attempts, rb = r.rollback}",
            "a = r.attempts}",
            program="saga",
        ),
        CodeMutant(
            "what has ended is not undone",
            journal,
            "encode_settled",
            lambda **fields: _encode_settled(**{**fields, "rollback": False}),
            program="saga",
        ),
        CodeMutant("the first step is undone first", Undoing, "begin", _begin_with_the_first, program="saga"),
        CodeMutant("handlers go on behind one that failed", Undoing, "undone", _go_on, program="saga"),
        Mutant(
            "a rollback is begun again",
            "terminate",
            "elseif not is_rolling_back then",
            "else",
            program="saga",
            controls=("rollback",) * 3,
        ),
        Mutant(
            "a rollback of one that is paused waits until it is resumed",
            "terminate",
            "    if I.want ~= '' then pausing.go_on(I) end\n",
            "",
            program="saga",
            controls=("pause", "rollback", "rollback"),
        ),
        Mutant(
            "what a restart from a step has kept is not undone until somebody goes on with it",
            "terminate",
            "(I.started ~= '' or I.len > 1)",
            "I.started ~= ''",
            program="saga",
            controls=("cut", "rollback") * 3,
        ),
        Mutant(
            "a life that begins anew is still being rolled back",
            "restart",
            "'lost', 'stood', 'rb', 'stop_for')",
            "'lost', 'stood', 'stop_for')",
            program="saga",
            controls=("rollback", "cut") * 3,
        ),
        CodeMutant(
            "a restart from a step keeps that its instance was rolled back",
            cuts,
            "kept",
            _kept_with_what_was_undone,
            program="saga",
            controls=("rollback", "cut") * 3,
        ),
        Mutant(
            "the sweep puts back into queues what is taken back before handlers",
            "sweep",
            "local is_queued = not I.rest.clear",
            "local is_queued = true",
            program="saga",
            controls=("rollback",) * 3,
        ),
        Mutant("an end does not say how handlers ended", "", "rb = outcome.rb, t = NOW", "t = NOW", program="saga"),
        Mutant(
            "an end that cuts handlers short does not say so",
            "",
            "outcome.rb = undoing.cause(I) and rb or nil",
            "undoing.cause(I)",
            program="saga",
            controls=("rollback", "terminate", "terminate"),
        ),
        CodeMutant(
            "a step's key is made of the order of asking",
            beginnings,
            "_context",
            _context_by_order,
            program="branches",
        ),
        CodeMutant(
            "a drain does not wait for what is in flight",
            engine.Engine,
            "_is_drained",
            lambda self: self._grace_over is not None,
            program="long",
        ),
        Mutant(
            "an open record that cannot be read is an error of the script",
            "",
            "  local ok, values = pcall(cmsgpack.unpack, blob)\n  local r = ok and",
            "  local values = cmsgpack.unpack(blob)\n  local r =",
            garbage=True,
        ),
        Mutant(
            "one that waits keeps its slot",
            "",
            "    instance.set_status(I, 'waiting')\n    if I.slot ~= '' then slot.free(I) end\n",
            "    instance.set_status(I, 'waiting')\n",
            limited=True,
        ),
        Mutant(
            "one that is paused keeps its slot",
            "",
            "if I.act <= 0 then slot.free(I) elseif",
            "if",
            limited=True,
            controls=("pause",) * 3,
        ),
        Mutant(
            "one that has ended keeps its slot",
            "",
            "  if I.slot ~= '' then slot.free(I) end\n  I.due, I.rest",
            "  I.due, I.rest",
            limited=True,
        ),
        Mutant(
            "whoever is woken goes on without a slot",
            "",
            "  if I.slot ~= '' and slot.is_missing(I) then",
            "  if I.slot ~= '' and I.started == '' and slot.is_missing(I) then",
            limited=True,
        ),
        Mutant(
            "a slot is taken by an answer to a former asking",
            "",
            "s.n ~= n or s.st ~= 'a' and s.st ~= 'h'",
            "s.st ~= 'a' and s.st ~= 'h'",
            limited=True,
            program="sleeper",
        ),
        Mutant(
            "one that runs already when it comes under a limit is not counted",
            "",
            "  s.n, s.ord = s.n + 1, ''\n  become(I, 'h')",
            "  s.n, s.ord, s.st = s.n + 1, '', 'h'\n  write(I)",
            limited=True,
        ),
        Mutant(
            "what is in flight of one that is pausing is not counted",
            "",
            " elseif st == '-' or st == 'a' then adopt(I) end",
            " end",
            limited=True,
            program="parallel",
            controls=("pause",) * 4,
        ),
        Mutant(
            "more have slots than the limit says",
            "slots",
            "or limit - redis",
            "or 9 - redis",
            limited=True,
        ),
        Mutant(
            "the newest of those who wait is next",
            "slots",
            "redis.call('ZRANGEBYLEX', slotq, '[' .. group .. '|', '(' .. group .. '|\\255', 'LIMIT'",
            "redis.call('ZREVRANGEBYLEX', slotq, '(' .. group .. '|\\255', '[' .. group .. '|', 'LIMIT'",
            limited=True,
        ),
        Mutant(
            "a new one goes before woken ones",
            "",
            "I.started == '' and string.format('1",
            "string.format('1",
            limited=True,
        ),
        Mutant(
            "a slot that is given back is given to nobody",
            "slots",
            "    redis.call('ZREM', slotq, waiter)\n",
            "    redis.call('ZREM', slotq, waiter)\n    group = ''\n",
            limited=True,
        ),
        Mutant(
            "what an instance says of its slot takes the place of what it said before",
            "",
            "string.format('s|%s%.0f', instance.who(I), s.n)",
            "string.format('s|%s%.0f', instance.who(I), 0)",
            limited=True,
            program="sleeper",
        ),
        CodeMutant(
            "a slot that is not wanted any more is not given back",
            slots,
            "give_back",
            lambda store, holders, limits: list(holders),
            limited=True,
        ),
        Mutant(
            "steps that are due are forgotten while there is no slot",
            "",
            "slot.is_missing(I) then\n    write_due(I, 1)",
            "slot.is_missing(I) then\n    I.due = {}",
            limited=True,
            program="retry",
        ),
        Mutant(
            "a deleted instance is still found by its metadata",
            "delete",
            "  for _, member in ipairs(tag_members(I)) do redis.call('ZREM', shard.index, member) end\n",
            "",
        ),
        Mutant(
            "a lost index is derived without metadata",
            "sweep",
            "  for _, member in ipairs(tag_members(I)) do redis.call('ZADD', shard.index, 0, member) end\n",
            "",
            garbage=True,
        ),
        Mutant(
            "one that is asked twice is asked twice",
            "cancel",
            "not (I.stop ~= '' and deadline.is_asked(I)) and ",
            "",
            program="cleanup",
            controls=CANCELS,
        ),
        Mutant(
            "one that is rolled back is asked to end",
            "cancel",
            " and redis.call('HEXISTS', I.h, 'rb') == 0 then",
            " then",
            program="saga",
            controls=("rollback", "cancel") * 3,
        ),
        Mutant(
            "one that is paused waits until it is resumed, and is asked then",
            "cancel",
            "  if I.want ~= '' then pausing.release(I) end\n",
            "",
            program="sleeper",
            controls=("pause", "cancel") * 3,
        ),
        Mutant(
            "a request to end is taken for the answer to a step nobody asked for",
            "",
            "if string.sub(blob, 2, 2) ~= 'K' then",
            "if true then",
            program="entity",
            controls=CANCELS,
        ),
        Mutant(
            "a life that goes on as another forgets that it is to end",
            "",
            "  if carry then carry() end\n",
            "",
            program="entity",
            controls=CANCELS,
        ),
        Mutant(
            "the time to clean up goes on in a pause",
            "",
            "  if I.stop ~= '' then deadline.disarm(I) end\n  I.rest.walk",
            "  I.rest.walk",
            program="cleanup",
            controls=("cancel", "pause") * 3,
        ),
        Mutant(
            "after a pause nobody ends it any more",
            "",
            "  if I.stop ~= '' then deadline.arm(I) end\nend",
            "end",
            program="cleanup",
            controls=("cancel", "pause") * 3,
        ),
        Mutant(
            "one that has ended is still to end",
            "",
            "  if I.stop ~= '' then deadline.drop(I) end\n",
            "",
            program="cleanup",
            controls=CANCELS,
        ),
        Mutant(
            "handlers are cut short by the time that run had",
            "",
            "  if I.stop ~= '' then deadline.hush(I, is_over) end\n",
            "",
            program="saga",
            controls=CANCELS,
        ),
        Mutant(
            "whose time is over has failed by itself",
            "",
            " or deadline.is_over(I)\n",
            "\n",
            program="cleanup",
            controls=CANCELS,
        ),
        Mutant(
            "whose time is over ends, and what was begun is not undone",
            "",
            "  undoing.begin(I, x, 1)\n",
            "  ending.finish(I, 'terminated', {x = x})\n",
            program="cleanup",
            controls=CANCELS,
        ),
        CodeMutant(
            "a restart from a step keeps what came of a request to end",
            cuts,
            "kept",
            _kept_with_what_came_of_a_request,
            program="cleanup",
            controls=("cancel", "cut") * 3,
        ),
        Mutant(
            "a stream: half of it passes for the whole",
            "settle",
            "  if not streams.are_there(I.h, token, chunks) then return false end\n",
            "",
            program="streaming",
        ),
        Mutant(
            "a stream: the result of a step expires",
            "settle",
            "    redis.call('PERSIST', streams.chunks(I.h, token))\n",
            "",
            program="streaming",
        ),
        Mutant(
            "a stream: whoever has lost the step goes on writing",
            "stream",
            "and record.held(I, A.s, A.w, A.t)",
            "and {}",
            program="streaming",
            controls=("restart",) * 3,
        ),
        Mutant(
            "a stream: chunks expire in nobody's favour",
            "stream",
            "  if n == 0 then redis.call('PEXPIRE', streams.chunks(I.h, token), ttl) end\n",
            "",
            program="streaming",
        ),
        Mutant(
            "a stream: what an attempt before has written stays",
            "stream",
            "elseif is_same or not by",
            "elseif not by",
            program="streaming",
        ),
        Mutant(
            "a stream: a restart keeps those of the life before",
            "restart",
            "streams.drop(I.h, A.seq)\n",
            "",
            program="streaming",
            controls=("restart",) * 3,
        ),
        Mutant(
            "a stream: a restart from a step keeps those of what is asked for anew",
            "restart",
            "if state ~= 'k' or not seq or tonumber(all[at]) >= seq then",
            "if state ~= 'k' or not seq then",
            program="streaming",
            controls=CUTS,
        ),
        Mutant(
            "a stream: a restart from a step keeps none",
            "restart",
            "if state ~= 'k' or not seq or tonumber(all[at]) >= seq then",
            "if true then",
            program="streaming",
            controls=CUTS,
        ),
        Mutant(
            "a stream: it outlives its instance",
            "delete",
            "local bells = ending.abandon(I, KEYS[#KEYS], A.remains)\nstreams.drop(I.h)\n",
            "local bells = ending.abandon(I, KEYS[#KEYS], A.remains)\n",
            program="streaming",
        ),
        Mutant(
            "a stream: the next life has it",
            "",
            "  streams.drop(I.h)\n  ending.renew",
            "  ending.renew",
            program="streaming",
        ),
        Mutant(
            "a child that lost a race is left behind",
            "",
            "      if r.policy then ending.part_with(I, r) end\n      redis.call('HDEL'",
            "      redis.call('HDEL'",
            program="guardian",
            controls=("pause",),
        ),
        Mutant(
            "a child that is open at the end is left behind",
            "",
            "    if r.policy then ending.part_with(I, r) end\n    record.answer",
            "    record.answer",
            program="guardian",
            controls=("terminate",),
        ),
        Mutant(
            "a child of a life that was restarted is left behind",
            "",
            "      if r.policy then ending.part_with(I, r) end\n      if r.state",
            "      if r.state",
            program="guardian",
            controls=("restart",) * 3,
        ),
        Mutant(
            "a child is left behind that is taken back by and by",
            "clean",
            "  if r.policy then ending.part_with(I, r) end\n",
            "",
            program="guardian",
            controls=("restart",) * 3,
        ),
        Mutant(
            "a child that is yet to be created is never ended",
            "",
            "message.op == 'invoke') then message",
            "message.op == 'invoke') or true then message",
            program="guardian",
            controls=("terminate", "restart"),
        ),
        Mutant(
            "a message that comes twice ends a child that was started over",
            "end_child",
            "if answer then return reply(answer) end\n",
            "",
            program="guardian",
            controls=("terminate", "restart", "restart"),
        ),
        with_deadlines(
            Mutant(
                "a life that begins anew has no deadline",
                "restart",
                "if start.dl then deadline.begin(I, start) end\n",
                "",
                program="sleeper",
                controls=("restart",) * 3,
            )
        ),
        with_deadlines(
            Mutant(
                "a deadline that is over ends an instance without asking it",
                "",
                "    stopping.ask(I, 'x',",
                "    instance.set(I, 'stop', string.gsub(I.stop, 't', 'x', 1))\n    stopping.expire(I, 'x',",
                program="cleanup",
            )
        ),
        CodeMutant("why: what waits is no reason", why, "waiting", lambda *_: iter(())),
        CodeMutant("why: what a worker has to take is no reason", running, "unclaimed", lambda _: []),
        Mutant(
            "a heartbeat counts, whoever holds the step by now",
            "beat",
            "r and r.state == 'held' and r.token == a.t and r.by == A.w",
            "r and r.kind == 'do'",
            program="retry",
        ),
        Mutant(
            "what an attempt has said last is lost with its failure",
            "settle",
            "    if a.h then record.hear(r, a.h) end\n",
            "",
            program="retry",
        ),
        Mutant(
            "details are lost where a step is stored",
            "",
            "r.rollback or false, r.details or false, r.heard or false",
            "r.rollback or false, false, false",
            program="retry",
        ),
        Mutant(
            "what is published takes the place of all that was",
            "",
            "  local values = stored(I)\n  for name, value in pairs(new)",
            "  local values = {}\n  for name, value in pairs(new)",
            program="crowd",
        ),
        Mutant(
            "what is published goes ahead of a decision that is dropped",
            "settle",
            "      if alone and not (a.d.e",
            "      if a.d and a.d.v then published.add(I, a.d.v) end\n      if alone and not (a.d.e",
            program="sequential",
            controls=("pause",) * 4,
        ),
        Mutant(
            "what an end has published is not written",
            "",
            "  if D.v then published.add",
            "  if D.v and not D.e then published.add",
            program="crowd",
        ),
        Mutant(
            "a life begins without the values of the one before", "", "  published.hand_on(I)\n", "", program="entity"
        ),
        Mutant(
            "a restart leaves what was published",
            "restart",
            "redis.call('HDEL', I.h, 'vals')\n",
            "",
            program="crowd",
            controls=("restart", "cut") * 2,
        ),
        CodeMutant(
            "a large decision publishes nothing",
            rounds,
            "replace",
            lambda decision, **changes: dataclasses.replace(decision, **changes, published=None),
            program="crowd",
        ),
        CodeMutant(
            "what is published is compared with the beginning, not with the decision before",
            Published,
            "since",
            lambda self, number: {} if number else _since(self, 0),
            program="crowd",
        ),
        Mutant(
            "whoever makes an intent rings, whether there is a limit to be looked at or not",
            "",
            "if not p or p.limited[wf] then return false end",
            "if not p then return false end",
            limited=True,
        ),
        Mutant(
            "a permit outlives the lease of who gave it", "", "o[1] and (tonumber(o[2]) or 0) > REAL and", "o[1] and"
        ),
        Mutant("an intent that nobody has rung for wakes nobody", "", "  wake()\n  return REAL", "  return REAL"),
        Mutant("a ring that failed is taken for one", "", "if not ok or err then", "if false then"),
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

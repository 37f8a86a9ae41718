"""Random programs, and a small model of the protocol that runs them: open records, a journal, turns that decide on a
prefix of it, restarts from a step. It makes up the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from tests.replaying import CREATED_MS, Driver
from workflows.authoring.commands import Command
from workflows.replay.replay import Raised, Replay, Returned, Snapshot, delta
from workflows.storage.cuts import kept
from workflows.storage.journal import Cut, EventReceived, Settled, Slept, Start, TimedOut, Withdrawn
from workflows.values import codec, failure

LEAVES = ("do", "sleep", "wait")

leaves = st.tuples(st.sampled_from(LEAVES), st.sampled_from("ab"))
programs = st.recursive(
    st.lists(leaves, min_size=1, max_size=3),
    lambda inner: st.lists(
        st.one_of(
            leaves,
            st.tuples(
                st.sampled_from(["gather", "race", "first", "group", "spawn", "try", "shield"]),
                st.lists(inner, min_size=1, max_size=3),
            ),
            st.tuples(st.sampled_from(["cancel", "rejoin", "name"]), st.integers(0, 3)),
        ),
        min_size=1,
        max_size=4,
    ),
    max_leaves=12,
)


async def perform(program: list[Any], step: Any, kept: list[asyncio.Future[Any]]) -> list[Any]:
    """Interpret a program; what it returns depends on every value it saw."""
    seen: list[Any] = []
    for operation, argument in program:
        match operation:
            case "do":
                seen.append(await step.do(argument, lambda: 1))
            case "sleep":
                await step.sleep(argument, "1h")
            case "wait":
                seen.append((await step.wait_for_event(argument, type=argument)).payload)
            case "name":
                seen.append(await step.do(f"{argument} {step.random():.6f}", lambda: 1))
            case "gather":
                seen.append(await asyncio.gather(*[perform(part, step, kept) for part in argument]))
            case "race":
                seen.append(await step.race(*[perform(part, step, kept) for part in argument]))
            case "shield":
                seen.append(await asyncio.shield(asyncio.create_task(perform(argument[0], step, kept))))
            case "first":
                tasks = {asyncio.create_task(perform(part, step, kept)) for part in argument}
                done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                seen.append([task.result() for task in done])
                kept.extend(pending)
            case "group":
                async with asyncio.TaskGroup() as group:
                    for part in argument:
                        group.create_task(perform(part, step, kept))
            case "spawn":
                kept.append(asyncio.create_task(perform(argument[0], step, kept)))
            case "cancel" if kept:
                kept[argument % len(kept)].cancel()
            case "rejoin" if kept:
                waiting = kept.pop(argument % len(kept))
                seen.append(await asyncio.gather(waiting, return_exceptions=True))
            case "try":
                try:
                    seen.append(await perform(argument[0], step, kept))
                except Exception as error:
                    seen.append(await step.do(f"handle {type(error).__name__}", lambda: 1))
    return seen


class RecordingReplay(Replay):
    """Remembers everything that was asked, and what it was answered."""

    asked: list[Command]
    taken: dict[int, Any]

    def ask(self, command: Command, callback: Any) -> Any:
        self.__dict__.setdefault("asked", []).append(command)
        return super().ask(command, callback)

    def _answer(self, entry: Any) -> bool:
        was_taken = super()._answer(entry)
        if was_taken:
            self.taken[entry.seq] = entry
        return was_taken


def new_replay(program: list[Any], generation: str = "g1", cuts: Sequence[Cut] = ()) -> RecordingReplay:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await perform(program, step, [])

    driver = Driver(run)
    event = driver.replay._event
    made = RecordingReplay(driver.workflow_class, event, env=driver.env, generation=generation, cuts=cuts)
    made.asked, made.taken = [], {}
    return made


def facts(replay: RecordingReplay) -> tuple[Any, ...]:
    """Everything the engine can see of a replay."""
    end: Any = None
    if isinstance(replay.end, Returned):
        end = ("returned", repr(replay.end.value))  # exceptions have no equality
    elif isinstance(replay.end, Raised):
        end = ("raised", type(replay.end.exception).__name__, str(replay.end.exception))
    return replay.snapshot(), replay.asked, end, replay.dangling(), replay.position


@dataclass
class Protocol:
    """Records, journal and decided position of one instance, as the scripts keep them."""

    program: list[Any]
    journal: list[Any] = field(default_factory=lambda: [Start(CREATED_MS)])
    records: dict[int, Command] = field(default_factory=dict)
    position: int = 0
    decided: Snapshot | None = None
    ended: bool = False
    generation: str = "g1"

    def __post_init__(self) -> None:
        self.replay = new_replay(self.program)

    def answer(self, seq: int, how: int) -> None:
        """A record is answered: it goes, its entry comes."""
        command = self.records.pop(seq)
        at_ms = CREATED_MS + 1000 * len(self.journal)
        key = (seq, command.name, command.count, at_ms)
        value = codec.encode([seq, len(self.journal)], what="x")
        entry: Any
        if command.kind == "do":
            failed = how == 0
            entry = Settled(*key, error=failure.capture(ValueError(f"step {seq}"))) if failed else Settled(*key, value)
        elif command.kind == "sleep":
            entry = Slept(*key)
        elif how == 0:
            entry = TimedOut(*key, timeout_ms=1)
        else:
            entry = EventReceived(*key, type=command.name, payload=value, sent_at_ms=at_ms, event_id=str(seq))
        self.journal.append(entry)

    def turn(self, upto: int) -> None:
        """Decide on the entries up to ``upto``, as commit does."""
        self.replay.feed(kept(self.journal)[self.position : upto])
        after = self.replay.snapshot()
        change = delta(self.decided, after)
        self.decided = after
        at_tail = upto == len(self.journal)
        for seq in change.withdrawn:
            command = self.records.pop(seq, None)
            if command is not None:
                self.journal.append(
                    Withdrawn(
                        seq, command.name, command.count, CREATED_MS, command=command.kind, due_ms=CREATED_MS + seq
                    )
                )
        for seq in change.opened:
            assert seq not in self.records, "a record was opened twice"
            self.records[seq] = self.replay.command(seq)
        self.position = upto
        if at_tail:
            self.replay.feed(self.journal[upto:])
            self.position = len(self.journal)
            self.decided = self.replay.snapshot()
        self.ended = self.replay.end is not None
        if self.ended:
            self.records.clear()

    def restart_from(self, seq: int) -> None:
        """Begin another life that keeps what was asked before ``seq``, as restart does."""
        cuts, life = list(self.journal[0].cuts), self.generation
        while cuts and cuts[-1].seq >= seq:
            life = cuts.pop().generation
        cuts.append(Cut(len(self.journal), seq, life))
        self.journal[0] = replace(self.journal[0], cuts=tuple(cuts))
        self.generation = f"g{int(self.generation[1:]) + 1}"
        self.records.clear()
        self.position, self.decided, self.ended = 0, None, False
        self.replay = new_replay(self.program, self.generation, cuts)

    def check_records(self) -> None:
        """Open records are what the decided prefix waits for, less what its tail has answered already."""
        tail = {entry.seq for entry in self.journal[self.position :] if not isinstance(entry, Start)}
        expected = set(self.replay.snapshot().pending) - tail
        assert set(self.records) - tail == expected

    def go_on(self, draw: st.DrawFn, most: int) -> None:
        """Up to so many answers and turns, then turns until all is decided."""
        for _ in range(draw(st.integers(0, most))):
            if self.ended:
                break
            if self.records and draw(st.integers(0, 2)):
                seq = draw(st.sampled_from(sorted(self.records)))
                self.answer(seq, draw(st.integers(0, 4)))
            elif len(self.journal) > self.position:
                self.turn(draw(st.integers(self.position + 1, len(self.journal))))
                self.check_records()
        while not self.ended and len(self.journal) > self.position:
            self.turn(len(self.journal))
            self.check_records()


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """A program and a journal that the protocol could have written for it."""
    protocol = Protocol(draw(programs))
    protocol.turn(1)
    protocol.check_records()
    protocol.go_on(draw, 25)
    return protocol.program, protocol.journal

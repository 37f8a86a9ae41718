"""How an attempt begins here: claimed through a queue, or born held by the round trip that opened its step."""

from __future__ import annotations

from functools import lru_cache

from worker.attempt import Attempt
from worker.claim import Task
from worker.in_flight import InFlight
from worker.replays import Replays
from worker.rounds import Round
from worker.slots import Slots
from worker.warm import WarmReplay
from workflows.authoring import retries
from workflows.authoring.commands import Do, Undo
from workflows.authoring.context import StepContext, StepName
from workflows.authoring.heartbeats import Heartbeats
from workflows.errors import NonDeterminismError
from workflows.replay.decision import only_step
from workflows.storage.keys import Instance
from workflows.storage.records import Decision


class Beginnings:
    """Makes attempts of what replays ask for; used by whoever leads the engine."""

    def __init__(self, replays: Replays, slots: Slots, in_flight: InFlight) -> None:
        self._replays = replays
        self._slots = slots
        self._in_flight = in_flight

    def claimed(self, task: Task, round: Round) -> bool:
        """Replay up to a claimed attempt's step and start its callback. Returns: whether it was started.

        Raises:
            Gone, CorruptPayload, NonDeterminismError, RunStalled.
        """
        warm = self._replays.reach(task, task.upto)
        record = task.record
        assert record is not None
        replay = warm.replay
        callback = replay.callback(task.seq)
        command = replay.command(task.seq) if callback is not None else None
        known = (command.name, command.count) if isinstance(command, Do) else None
        if callback is None or not isinstance(command, Do) or known != (record.name, record.count):
            given_up = replay.is_cancelled(task.seq) and self._replays.is_left_over(task.instance)
            if given_up or replay.position > task.upto:
                # This replay has gone on since the claim and given the step up; the record is gone, or goes now. Or it
                # goes with a part of the decision that is not applied yet.
                round.release(task.instance, task.held)
                self._replays.keep(task.instance, warm)
                return False
            replay.close()
            raise NonDeterminismError(f'step "{record.name}-{record.count}" is open, but this code does not ask for it')
        config = retries.with_live_code(_config(record.config), command.config)
        attempt = Attempt(
            instance=task.instance,
            generation=task.generation,
            seq=task.seq,
            token=task.token,
            worker=task.worker,
            name=record.name,
            count=record.count,
            config=config,
            config_blob=record.config,
            kind=command.kind,
            has_rollback=record.rollback,
            callback=callback,
            context=_context(task.instance, task.generation, command, config, record.attempts, record.details),
            started_ms=record.begun,
            number=record.attempts,
            failed=record.failed,
            failures=[list(one) for one in record.failures],
            queue=record.queue,
        )
        warm.streak = 0
        self._replays.keep(task.instance, warm)
        self._in_flight.add(attempt)
        return True

    def born(
        self,
        instance: Instance,
        generation: str,
        worker: str,
        warm: WarmReplay,
        decision: Decision,
        token: str,
        now_ms: int,
    ) -> None:
        """Start the step that was opened and claimed in one script."""
        asked = only_step(decision)
        if asked is None:
            raise AssertionError("a step was born that nobody asked for")
        command, callback = warm.replay.command(asked.seq), warm.replay.callback(asked.seq)
        if callback is None or not isinstance(command, Do):
            raise AssertionError("a step was born without a callback")
        attempt = Attempt(
            instance=instance,
            generation=generation,
            seq=command.seq,
            token=token,
            worker=worker,
            name=command.name,
            count=command.count,
            config=command.config,
            config_blob=asked.config,
            kind=command.kind,
            has_rollback=command.rollback is not None,
            callback=callback,
            context=_context(instance, generation, command, command.config, 1),
            started_ms=now_ms,
            queue=asked.queue,
        )
        self._slots.born(token)
        self._in_flight.add(attempt)


def _context(
    instance: Instance,
    generation: str,
    command: Do,
    config: retries.StepConfig,
    number: int,
    details: bytes = b"",
) -> StepContext:
    forward = None
    if isinstance(command, Undo):
        undone = Do(command.seq, command.name, command.count, command.step_config)
        forward = _context(instance, command.generation, undone, command.step_config, command.attempts)
    name = StepName(command.name, command.count)
    return StepContext(
        name,
        number,
        config,
        workflow_name=instance.workflow,
        instance_id=instance.id,
        generation=generation,
        kind=command.kind,
        forward=forward,
        beats=Heartbeats(details) if details else None,
    )


@lru_cache(maxsize=1024)
def _config(blob: bytes) -> retries.StepConfig:
    return retries.from_wire(blob)

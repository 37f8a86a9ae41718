"""Events to everybody who waits for a key.

Who that is stands in each shard, so all of them are asked, and each instance is sent the event by itself: whoever
began to wait before the call and still does when the event arrives gets it. The event has one id, so a call that is
made again under it reaches those it had not come to, and nobody twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workflows import limits
from workflows.client.batches import Plan
from workflows.client.requests import Request
from workflows.storage.batches import portions
from workflows.storage.intake import EventItem, event_batch_call, new_event
from workflows.storage.keys import Instance, Keyed, Keyspace
from workflows.storage.store import call_on, script
from workflows.values import names
from workflows.values.codec import InstanceRef
from workflows.values.listening import check_key, keyed
from workflows.values.rejection import Rejection

if TYPE_CHECKING:
    from workflows.authoring.app import App

_KEYED = script(Path(__file__).with_name("keyed.lua"))
_REACHED: Final = (b"delivered", b"buffered")


def send_to_key(
    keys: Keyspace,
    type: str,
    payload: Any,
    key: str | int,
    *,
    workflow: str | None = None,
    id: str | None = None,
    error: Rejection | None = None,
    app: App | None = None,
) -> Plan[list[InstanceRef]]:
    """Send an event to every instance that waits for a key, of one workflow or of all.

    Args:
        app: whose workflows know what payloads fit; None: any.
    Returns: those that got it.
    Raises, before anything is sent:
        BadName, BadEvent, PayloadError.
    """
    text = check_key(key)
    definitions = {} if app is None else app.definitions
    plain = new_event(type, payload, id=id, error=error)
    with_models = {
        name: new_event(type, payload, id=plain.id, error=error, encode=one.encode_event)
        for name, one in definitions.items()
        if type in one.event_models and workflow in (None, name)
    }
    sent_to = keyed(type, text)
    begin = f"{sent_to}|" + ("" if workflow is None else f"{names.check_workflow_name(workflow)}|")
    return _send(keys, begin, lambda line: replace(with_models.get(line.workflow, plain), name=sent_to, line=line.text))


def _send(keys: Keyspace, begin: str, event_for: Callable[[Keyed], EventItem]) -> Plan[list[InstanceRef]]:
    reached: dict[Instance, None] = {}
    behind = dict.fromkeys(range(keys.shards), b"")
    while behind:
        pages: list[list[bytes]] = yield [_lines(keys, shard, begin, last) for shard, last in behind.items()]
        sent = []
        for page in pages:
            events: dict[Instance, EventItem] = {}
            for line in filter(None, map(_read, page)):
                events.setdefault(keys.instance(line.workflow, line.id), event_for(line))
            new = [one for one in events if one not in reached]
            for some in portions(new, lambda _: 1, lambda one, events=events: len(events[one].payload)):  # type: ignore[misc]
                sent.append(_deliver(keys, {one: events[one] for one in some}))
        for answer in (yield sent) if sent else []:
            reached.update(dict.fromkeys(answer))
        full = zip(behind, pages, strict=True)
        behind = {shard: page[-1] for shard, page in full if len(page) == limits.SCRIPT_ELEMENTS}
    return [InstanceRef(one.workflow, one.id) for one in reached]


def _read(line: bytes) -> Keyed | None:
    """None: what stands there is no line, and nobody waits."""
    try:
        return Keyed.parse(line)
    except ValueError:
        return None


def _lines(keys: Keyspace, shard: int, begin: str, behind: bytes) -> Request[list[bytes]]:
    arguments = {"p": begin, "a": behind, "n": limits.SCRIPT_ELEMENTS}
    return Request(call_on(keys, _KEYED, shard, [], arguments), lambda answer: answer)


def _deliver(keys: Keyspace, events: Mapping[Instance, EventItem]) -> Request[list[Instance]]:
    def parse(answers: list[bytes]) -> list[Instance]:
        return [one for one, answer in zip(events, answers, strict=True) if answer in _REACHED]

    return Request(event_batch_call(keys, list(events), list(events.values())), parse)

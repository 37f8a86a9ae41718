"""The verb ``top``: a namespace at a glance, again and again."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

import click
import redis

from workflows.cli.frame import CommandSettings, Verb, json_option, pass_settings
from workflows.errors import ConfigError, WorkflowError
from workflows.health.overview import EndedRate, Overview, overview
from workflows.storage.outage import server_errors
from workflows.storage.store import Store

_EXTRA: Final = "workflows top needs more than the core: pip install 'rq-workflows[ui]'"
# How soon what has changed is drawn.
_KEY_SECONDS: Final = 0.25
_LEAVE_SECONDS: Final = 0.5


@click.command(cls=Verb, short_help="Show what there is and who is at work, live.")
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Print it once.")
@json_option
@pass_settings
def top(settings: CommandSettings, interval: float, once: bool, as_json: bool) -> None:
    """Show what there is, who is at work and what needs attention, live; q quits. --json prints one object."""
    if not as_json:
        _check_extra()
        if not once and not sys.stdout.isatty():
            raise click.UsageError("there is no terminal here: --once prints it once, --json as an object")
    with closing(settings.client()) as client:
        store = client.store
        first = _look(store)
        if as_json:
            click.echo(json.dumps(first.as_dict()))
        elif once:
            _print(first)
        else:
            _watch(_Looks(store, first, interval))


def _check_extra() -> None:
    """Raises ConfigError: rich is not installed."""
    try:
        import rich  # noqa: F401  # whether it can be had
    except ModuleNotFoundError as error:
        raise ConfigError(_EXTRA) from error


def _look(store: Store) -> Overview:
    with server_errors(store.redis):
        return overview(store)


def _print(seen: Overview) -> None:
    from rich.console import Console

    from workflows.cli.top_screen import View, drawn

    console = Console(highlight=False)
    console.print(drawn(console, View(seen, EndedRate())))


class _Looks:
    """Looks again and again on a thread of its own: one that waits for Redis must not keep a key from being heard."""

    def __init__(self, store: Store, first: Overview, interval: float) -> None:
        self.seen = first
        self.outage: str | None = None
        self.rate = EndedRate()
        self.rate.add(first)
        self._store = store
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="looks", daemon=True)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self._thread.join(_LEAVE_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                seen = _look(self._store)
            except (redis.RedisError, WorkflowError) as error:
                self.outage = str(error)
            else:
                self.rate.add(seen)
                self.seen, self.outage = seen, None


def _watch(looks: _Looks) -> None:
    from rich.console import Console
    from rich.live import Live

    from workflows.cli.top_screen import View, drawn

    console, last = Console(highlight=False), None
    signal.signal(signal.SIGTERM, _leave)
    with (
        suppress(KeyboardInterrupt),
        _keys() as is_left,
        looks.going_on(),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while last is None or not is_left(_KEY_SECONDS):
            now = looks.seen, looks.outage, console.size
            if now != last:
                last = now
                view = View(looks.seen, looks.rate, looks.outage, height=console.size.height)
                live.update(drawn(console, view), refresh=True)


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)  # so that the terminal is left as it was found


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Waits for so many seconds for somebody to say that it is enough: q, or the end of the input."""
    if not sys.stdin.isatty():
        yield lambda seconds: threading.Event().wait(seconds)
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)

    def is_left(seconds: float) -> bool:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return bool(ready) and os.read(keyboard, 64)[-1:] in (b"q", b"Q", b"")

    try:
        yield is_left
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)

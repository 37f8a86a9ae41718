"""What every verb of the command line stands in: its options, in front of it and behind it, and its way to a client."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from workflows.authoring.app import App
from workflows.client import Client
from workflows.errors import ConfigError, WorkflowError
from workflows.process.load import load_app
from workflows.storage import dev_state
from workflows.storage.connection import URL_VARIABLES

_WAYS: Final = 'module:app as --app, or [tool.workflows] app = "module:app" in pyproject.toml,'
_BEHIND: Final = "behind_"


@dataclass
class CommandSettings:
    """The options in front of the command or behind its name."""

    redis_url: str | None
    namespace: str | None
    app: str | None
    debug: bool
    as_json: bool = False

    def url(self) -> str:
        """Where Redis is."""
        found = self.redis_url or self._running("url")
        if found is None:
            raise ConfigError(
                f"no Redis URL: give --redis-url, set {' or '.join(URL_VARIABLES)}, or run `workflows dev`"
            )
        return found

    def load(self, argument: str | None = None) -> App:
        """The app's code."""
        target = self.target(argument)
        try:
            return load_app(target)
        except (WorkflowError, click.ClickException):
            raise
        except Exception as error:
            # The user's own module failed while it was imported.
            if self.debug:
                raise
            text = f"loading the app failed: {type(error).__name__}: {error} (--debug shows where)"
            raise click.ClickException(text) from error

    def client(self) -> Client:
        """A client with the app's code when it was named, else with the namespace."""
        url = self.url()
        if self.app is None and self.namespace is not None:
            return Client(self.namespace, url)
        if self.app is not None or _project_app() is not None:
            return Client(self.load(), url)
        running = self._running("namespace")
        if running is None:
            raise ConfigError(f"which app? Give {_WAYS} or --namespace NAME, or set WORKFLOWS_NAMESPACE")
        return Client(running, url)

    def target(self, argument: str | None) -> str:
        """The app as ``module:attribute``."""
        found = argument or self.app or _project_app()
        if found is None:
            raise ConfigError(f"which app? Give {_WAYS[:-1]}")
        return found

    @property
    def names_app(self) -> bool:
        """Whether ``client`` would find one."""
        return bool(self.namespace or self.app or _project_app() or self._running("namespace"))

    def _running(self, field: str) -> str | None:
        running = dev_state.find_running(Path())
        return None if running is None else str(getattr(running, field))


def _project_app() -> str | None:
    """What ``[tool.workflows] app`` of this folder's ``pyproject.toml`` says."""
    try:
        found = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["workflows"]["app"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    settings = ctx.find_object(CommandSettings)
    if value and settings is not None:  # None: a shell asks what may come next
        setattr(settings, str(parameter.name).removeprefix(_BEHIND), value)


def _behind() -> list[click.Parameter]:
    """The options of the command once more. Under other names: an argument of a verb may be called like one of them."""
    return [
        click.Option(
            ["--redis-url", f"{_BEHIND}redis_url"], expose_value=False, callback=_remember, help="Where Redis is."
        ),
        click.Option(
            ["--namespace", f"{_BEHIND}namespace"], expose_value=False, callback=_remember, help="The app's name."
        ),
        click.Option(
            ["--app", f"{_BEHIND}app"], expose_value=False, callback=_remember, help="The app, as module:attribute."
        ),
        click.Option(
            ["--debug", f"{_BEHIND}debug"],
            expose_value=False,
            callback=_remember,
            is_flag=True,
            help="Show tracebacks.",
        ),
    ]


class Verb(click.Command):
    """A command that takes the options of the group behind its name as well."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **extra: Any) -> None:
        super().__init__(name, params=[*(params or []), *_behind()], **extra)


class Family(click.Group):
    """Verbs under a name of their own; it takes the options as they do."""

    command_class = Verb

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **extra: Any) -> None:
        as_json = click.Option(
            ["--json", f"{_BEHIND}as_json"], expose_value=False, callback=_remember, is_flag=True, help="Print JSON."
        )
        super().__init__(name, params=[*(params or []), *_behind(), as_json], **extra)


def _wants_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    settings = ctx.find_object(CommandSettings)
    return value or (settings is not None and settings.as_json)


json_option = click.option("--json", "as_json", is_flag=True, callback=_wants_json, help="Print JSON.")
pass_settings = click.make_pass_decorator(CommandSettings)


def json_argument(text: str | None, what: str) -> Any:
    """The value of an argument in JSON; None stays None."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{what} is not JSON: {error}") from error

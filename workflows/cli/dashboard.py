"""``workflows ui``: the dashboard in a process of its own."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import click

from workflows.cli.frame import CommandSettings, Verb, json_option, pass_settings
from workflows.client import Client
from workflows.errors import ConfigError
from workflows.process import options
from workflows.process.logs import Format, configure
from workflows.ui import EXTRA, missing_extra


@click.command(cls=Verb, short_help="Serve the dashboard and the JSON interface.")
@click.argument("app", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Default: 8787, or the next one that is free.")
@click.option("--read-only", is_flag=True, help="Nobody may change anything.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="A file with what lets somebody in. Needed where other machines can reach it; also WORKFLOWS_UI_TOKEN.",
)
@click.option("--prefix", default="", help="The path it is below, such as /workflows.")
@click.option("--allow-host", multiple=True, help="Another name that it answers to; repeatable.")
@click.option("--hide-values", is_flag=True, help="Params, outputs and payloads are shown as sizes only.")
@click.option("--log-level", type=options.LOG_LEVEL, default="INFO", help="How much is logged. Default: INFO.")
@options.LOG_FORMAT
@json_option
@pass_settings
def ui(
    settings: CommandSettings,
    app: str | None,
    host: str,
    port: int | None,
    read_only: bool,
    token_file: Path | None,
    prefix: str,
    allow_host: tuple[str, ...],
    hide_values: bool,
    log_level: str,
    log_format: Format,
    as_json: bool,
) -> None:
    """Serve the dashboard and the JSON interface, for APP or for what has been registered."""
    if missing_extra():
        raise ConfigError(EXTRA)
    from workflows.ui.standalone import PORT, StandaloneSettings, serve

    configure(log_level, log_format)
    standing = StandaloneSettings(
        host=host,
        port=port,
        token=_token(token_file),
        is_read_only=read_only,
        prefix=prefix,
        hosts=allow_host,
        hide_values=hide_values,
    )

    def say(address: str) -> None:
        moved = port is None and f":{PORT}/" not in address
        line = f"dashboard: {address}" + (f" (port {PORT} is taken)" if moved else "")
        click.echo(json.dumps({"dashboard": address}) if as_json else line)

    with closing(Client(settings.load(app), settings.url()) if app else settings.client()) as client:
        serve(client, standing, say=say)


def _token(file: Path | None) -> str | None:
    """What lets somebody in; None: nothing was set. Raises: ConfigError."""
    if file is None:
        return os.environ.get("WORKFLOWS_UI_TOKEN") or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the token cannot be read: {error}") from error
    if not token:
        raise ConfigError(f"{file} is empty: a token is as many random characters as you like")
    return token

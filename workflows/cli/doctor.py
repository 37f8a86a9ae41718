"""The verb ``doctor``: what ``workflows/health`` finds, on one page."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from typing import Any

import click

from workflows.cli.frame import CommandSettings, Verb, json_option, pass_settings
from workflows.cli.showing import one_line
from workflows.cli.stages import show_stages
from workflows.health import namespace, server
from workflows.health.stages import stage_profile
from workflows.storage.connection import connection
from workflows.storage.outage import server_errors


@click.command(cls=Verb, short_help="Say what is wrong, and what to do about it.")
@click.option("--stages", "asks_stages", is_flag=True, help="Say instead where the time of a step goes in the workers.")
@json_option
@pass_settings
def doctor(settings: CommandSettings, asks_stages: bool, as_json: bool) -> None:
    """Say whether Redis is fit, who is at work, and what stands in the way. Exit code 1 on errors."""
    if asks_stages:
        with closing(settings.client()) as workflows:
            show_stages(stage_profile(workflows.store), as_json)
        return
    url = settings.url()
    with closing(connection(url)) as client, server_errors(client):
        findings = server.check_server(client)
    about: dict[str, Any] = {}
    if settings.names_app:
        with closing(settings.client()) as workflows:
            store = workflows.store
            with server_errors(store.redis):
                report = namespace.report(store)
        findings += report.findings()
        about = dataclasses.asdict(report)
    if as_json:
        listed = [{"level": one.level, "message": one.message} for one in findings]
        click.echo(json.dumps({"findings": listed, "namespace": about or None}, indent=2))
    else:
        for one in findings:
            click.echo(f"{one.level:<8} {one_line(one.message)}")
        if not settings.names_app:
            click.echo("(give --app or --namespace to look at its instances too)")
    if any(one.level == "error" for one in findings):
        raise click.exceptions.Exit(1)

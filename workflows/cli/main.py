"""``workflows``: the verbs of the client on a command line, and the processes.

Every error is one line on standard error and exit code 1, or 2 when the command itself was wrong; ``--debug`` shows the
traceback. This is the group and the way an error leaves it; the verbs stand in a file per family.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import redis

from workflows.cli.dashboard import ui
from workflows.cli.doctor import doctor
from workflows.cli.events import publish
from workflows.cli.frame import CommandSettings
from workflows.cli.instances import instances
from workflows.cli.limits import limits
from workflows.cli.output import output
from workflows.cli.processes import dev, orchestrator, register, worker
from workflows.cli.schedules import schedules
from workflows.cli.showing import shown
from workflows.cli.top import top
from workflows.cli.watching import watch
from workflows.cli.why import why
from workflows.cli.workflows import delete, describe, list_workflows, trigger
from workflows.errors import WorkflowError
from workflows.storage.connection import URL_VARIABLES


class Commands(click.Group):
    """A group whose errors are one line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.Abort:
            _fail("interrupted", 130)
        except click.UsageError as error:
            if error.ctx is not None and error.format_message() == error.ctx.get_help():
                # A group without a verb, which click answers with its help.
                click.echo(error.ctx.get_help(), err=True)
                sys.exit(2)
            hint = f" (try: {error.ctx.command_path} --help)" if error.ctx is not None else ""
            _fail(error.format_message() + hint, 2)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader has had enough; Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        except (WorkflowError, redis.RedisError) as error:
            if isinstance(ctx.obj, CommandSettings) and ctx.obj.debug:
                raise
            raise click.ClickException(str(error)) from error


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"workflows: {shown(text, lines=True)}", err=True)
    sys.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--redis-url", envvar=list(URL_VARIABLES), help="Where Redis is. Default: WORKFLOWS_REDIS_URL, REDIS_URL."
)
@click.option("--namespace", envvar="WORKFLOWS_NAMESPACE", help="The app's name, to do without its code.")
@click.option("--app", help='The app, as module:attribute. Default: [tool.workflows] app = "…" of pyproject.toml.')
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(package_name="rq-workflows", message="%(version)s")
@click.pass_context
def cli(
    ctx: click.Context, redis_url: str | None, namespace: str | None, app: str | None, debug: bool, as_json: bool
) -> None:
    """Durable workflows on Redis and RQ."""
    ctx.obj = CommandSettings(redis_url, namespace, app, debug, as_json)


for verb in (
    dev,
    ui,
    orchestrator,
    worker,
    register,
    trigger,
    list_workflows,
    describe,
    delete,
    instances,
    limits,
    publish,
    doctor,
    top,
    why,
):
    cli.add_command(verb)
cli.add_command(schedules)
instances.add_command(output)
instances.add_command(watch)


def main() -> None:
    """Entry point of the ``workflows`` command."""
    cli(prog_name="workflows")

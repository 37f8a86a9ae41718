"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import CliRunner, Result

from workflows.cli.main import cli

Run = Callable[..., Result]


def run_in(url: str, namespace: str, *words: str) -> Run:
    """Runs it in a namespace, with these words in front of what it is given; it has to end with ``code``."""

    def run(*arguments: str, code: int = 0, input: str | bytes | None = None) -> Result:
        line = ["--redis-url", url, "--namespace", namespace, *words, *arguments]
        result = CliRunner().invoke(cli, line, input=input)
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        return result

    return run

"""What is measured: ours, the physical limit, and the peers that ``benchmarks/peers.toml`` describes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".peers"
PEERS = tomllib.loads((ROOT / "benchmarks" / "peers.toml").read_text(encoding="utf-8"))


class Missing(Exception):
    """A peer cannot be had on this machine."""


@dataclass(frozen=True)
class Subject:
    """Who plays.

    Attributes:
        title: for people, with its version where that is not ours.
        driver: the module in ``drivers/``.
        journal: whether what a step has returned outlives a crash.
        python: the interpreter that runs the driver.
        path: a folder of programs that it needs, before the others of PATH.
        redis: lines of the configuration of its Redis, besides those of ``EmbeddedRedis``; None: it uses none.
        own: it also plays what is about ours alone.
    """

    title: str
    driver: str
    journal: bool = True
    python: Path = Path(sys.executable)
    path: Path | None = None
    redis: Mapping[str, str] | None = field(default_factory=dict)
    own: bool = False


OURS = {
    "limit": Subject("the limit", "limit"),
    "ours": Subject("ours", "ours", own=True),
    "always": Subject("ours, appendfsync always", "ours", redis={"appendfsync": "always"}),
}


def peer(name: str) -> Subject:
    """A peer, installed if it is not.

    Raises:
        Missing: it cannot be installed.
    """
    told = PEERS[name]
    home = ENVIRONMENTS / name
    python = home / "bin" / "python"
    wanted = repr((sys.version, told["install"], told.get("npm")))
    stamp = home / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(home))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *told["install"])
        if "server" in told and not shutil.which(told["server"]):
            _run("npm", "install", "--silent", "--ignore-scripts", "--prefix", str(home), told["npm"])
        stamp.write_text(wanted)
    package = told["install"][0].partition(">")[0].partition("[")[0]
    code = f"from importlib.metadata import version; print(version({package!r}))"
    installed = _run(str(python), "-c", code)
    return Subject(
        f"{told['title']} {installed}",
        f"with_{name}",
        told["journal"],
        python,
        path=home / "node_modules" / ".bin",
        redis={} if told.get("redis", True) else None,
    )


def versions() -> dict[str, str]:
    """Of what ours stands on."""
    return {"redis-py": f"{version('redis')} with hiredis {version('hiredis')}", "RQ": version("rq")}


def environment(subject: Subject) -> dict[str, str]:
    """The variables its driver runs with: the repository on Python's path, its programs on the system's."""
    path = os.pathsep.join(filter(None, [str(subject.path or ""), str(subject.python.parent), os.environ.get("PATH")]))
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not on this machine") from None
    except subprocess.CalledProcessError as error:
        raise Missing(f"{' '.join(command)}: {error.stderr.strip().splitlines()[-1:]}") from error

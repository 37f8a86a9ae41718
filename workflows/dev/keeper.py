"""The process that stands between us and an embedded Redis server: no server outlives its owner, however that dies.

Run as a file by ``workflows/dev/embedded.py``; it uses the standard library only and imports nothing of ours, so that
it starts in milliseconds. It is the server's parent, which is why it, and nobody else, may signal the server: a process
id cannot be re-used while its parent has not collected it.

Why a process of its own:
- the kernel's "kill me with my parent" (PR_SET_PDEATHSIG) fires when the *thread* that started the child ends, exists
  on Linux only, and needs code between fork and exec, which is unsafe in a process with threads;
- an ``atexit`` hook does not run under SIGKILL;
- signals from the terminal go to its whole process group. The keeper has a session of its own, so Ctrl-C reaches the
  owner first, which can then still talk to the server while it stops.

Protocol: the owner writes one JSON object a line to standard input and reads one line back for each.
``{"do": "start"}``, ``"halt"`` (SIGTERM), ``"kill"`` (SIGKILL), ``"status"`` all answer
``{"pid": int|null, "exit": int|null, "log": str}``. ``"stop"``, the end of input, SIGTERM or the owner's death end it.
The end of input alone would not do: a process forked by the owner holds the pipe open too, so the parent's id is
watched as well.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

POLL_S = 0.5
"""How often the owner's life is checked, in seconds."""
GRACE_S = 10.0
"""How long a server may take to write its data out after SIGTERM, in seconds."""
LOG_LINES = 12
LOG_TAIL_BYTES = 8_192
PR_SET_PDEATHSIG = 1


class Keeper:
    """One server at a time, in one directory."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.command: list[str] = [settings["server"], "-"]
        self.config = str(settings["config"]).encode()
        self.log = Path(settings["log"])
        self.owner = int(settings["owner"])
        self.lock_fd = int(settings["lock_fd"])
        self.remove: list[str] = settings["remove"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        # Reached if the keeper itself is killed, on Linux. The keeper has one thread, so both objections against
        # this call fall away here.
        prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

        def die_with_keeper() -> None:
            if prctl is not None:
                prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        with self.log.open("ab") as log:
            # The server holds the directory's lock too: it is free only when nobody writes there any more.
            self.process = subprocess.Popen(  # noqa: S603 - the path was found by find_server
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(self.lock_fd,),
                preexec_fn=die_with_keeper,
            )
        assert self.process.stdin is not None
        try:
            # Through standard input, because the password in it must not be on a command line.
            self.process.stdin.write(self.config)
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # It has ended already; the log says why.

    def end(self, how: signal.Signals) -> None:
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        # A frozen (SIGSTOP) server would never see SIGTERM.
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def status(self) -> dict[str, Any]:
        code = None if self.process is None else self.process.poll()
        alive = self.process is not None and code is None
        return {"pid": self.process.pid if alive and self.process else None, "exit": code, "log": self.log_tail()}

    def log_tail(self) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LOG_LINES:])

    def serve(self) -> None:
        pending = b""
        while os.getppid() == self.owner:
            if self.process is not None:
                self.process.poll()
            readable, _, _ = select.select([0], [], [], POLL_S)
            if not readable:
                continue
            received = os.read(0, 65_536)
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                match json.loads(line)["do"]:
                    case "start":
                        self.start()
                    case "halt":
                        self.end(signal.SIGTERM)
                    case "kill":
                        self.end(signal.SIGKILL)
                    case "stop":
                        return
                    case _:
                        pass
                os.write(1, json.dumps(self.status()).encode() + b"\n")

    def close(self) -> None:
        self.end(signal.SIGTERM)
        for path in self.remove:
            shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    def leave(*_: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Unbuffered, like every later read: nothing may be left in a buffer that select cannot see.
    settings = b""
    while not settings.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return
        settings += byte
    keeper = Keeper(json.loads(settings))
    try:
        keeper.serve()
    except BrokenPipeError:
        pass  # The owner died between asking and reading.
    finally:
        keeper.close()


if __name__ == "__main__":
    main()

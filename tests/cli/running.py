"""Running the command: in this process, in one of its own, and in a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from wren_sessions.cli import main

COMMAND: Final = (
    sys.executable,
    "-c",
    "import sys; from wren_sessions.cli import main; sys.exit(main())",
)
ROWS: Final = 50


class Result(NamedTuple):
    """What a run left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of the standard output."""
        return self.out.splitlines()

    @property
    def json(self) -> list[Any]:
        """The standard output, one JSON value per line."""
        return [json.loads(line) for line in self.lines]


Cli = Callable[..., Result]


def in_process(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command in this process."""

    def run(*argv: str, url: str | None = None) -> Result:
        capsys.readouterr()
        code = main([*argv, *(["--url", url] if url else [])])
        found = capsys.readouterr()
        return Result(code, found.out, found.err)

    return run


def apart(*argv: str, text: str | None = None, **variables: str) -> Result:
    """Run the command in a process of its own."""
    run = subprocess.run(
        [*COMMAND, *argv],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
        timeout=60,
    )
    return Result(run.returncode, run.stdout, run.stderr)


class Terminal:
    """The command in a terminal of so many columns.

    Args:
        argv: its arguments.
        columns: how wide the terminal is.
        variables: of its environment, besides this process's.
    """

    def __init__(self, *argv: str, columns: int, **variables: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            [*COMMAND, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**env, "TERM": "xterm-256color", **variables},
        )
        os.close(slave)
        self._read = b""

    def type(self, text: str) -> None:
        """What somebody types."""
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def parts(self) -> Iterator[bytes]:
        """What appears, as it does."""
        with suppress(OSError):  # the other end is closed
            while part := os.read(self._master, 65_536):
                yield part

    def until(self, text: str) -> str:
        """Wait for a text; all that appeared."""
        for part in self.parts():
            self._read += part
            if text in self._read.decode(errors="replace"):
                break
        return self._read.decode(errors="replace")

    def end(self) -> Result:
        """Wait for the end."""
        for part in self.parts():
            self._read += part
        code = self.process.wait(60)
        os.close(self._master)
        return Result(code, self._read.decode().replace("\r\n", "\n"), "")


def terminal(*argv: str, columns: int, **variables: str) -> Result:
    """Run the command in a terminal to its end."""
    return Terminal(*argv, columns=columns, **variables).end()


def sample_file(folder: Path) -> Path:
    """A session file that the sample app filled."""
    path = folder / "sample.db"
    script = Path(__file__).with_name("sample_app.py")
    subprocess.run([sys.executable, str(script), f"file:{path}"], check=True, timeout=120)
    return path

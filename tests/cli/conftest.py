"""Stores full of sessions that another process wrote, and the command to look at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.running import Cli, in_process, sample_file
from wren_sessions import copy_sessions, open_store

VARIABLES = ("WREN_SESSIONS_URL", "WREN_SESSIONS_PREFIX", "REDIS_URL", "REDIS_HOST", "NO_COLOR")


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no ``.env`` decides."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample app's session file, not to be changed."""
    return sample_file(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def file_url(sample: Path, tmp_path: Path) -> str:
    """A file of the test's own with the sample sessions."""
    path = tmp_path / "sessions.db"
    shutil.copy(sample, path)
    return f"file:{path}"


@pytest.fixture
def server_url(sample: Path, redis_url: str) -> Iterator[str]:
    """The shared Redis server with the sample sessions."""
    with (
        open_store(f"file:{sample}", dotenv=False) as source,
        open_store(redis_url, dotenv=False) as target,
    ):
        copy_sessions(source, target)
        yield redis_url


@pytest.fixture(params=["file", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Each backend that outlives a process, with the sample sessions."""
    fixture = {"file": "file_url", "redis": "server_url"}[request.param]
    found: str = request.getfixturevalue(fixture)
    return found


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command, in this process."""
    return in_process(capsys)

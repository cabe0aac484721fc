"""Sessions to look at, and clients of the app over them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cli.running import sample_file
from web.asking import client_of
from web.browsing import Browser
from wren_sessions import FileStore, copy_sessions, open_store
from wren_sessions.protocols import SessionStore

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample app's session file, not to be changed."""
    return sample_file(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def reader(sample: Path) -> Iterator[TestClient]:
    """A client that may look at the sample sessions."""
    with FileStore(sample) as store, client_of(store) as client:
        yield client


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, sample: Path, tmp_path: Path) -> Iterator[SessionStore]:
    """Each kind of store that outlives a process, with sample sessions to change."""
    if request.param == "file":
        shutil.copy(sample, tmp_path / "sessions.db")
        url = f"file:{tmp_path}/sessions.db"
    else:
        url = request.getfixturevalue("redis_url")
    with FileStore(sample) as source, open_store(url, dotenv=False) as target:
        if request.param == "redis":
            copy_sessions(source, target)
        yield target


@pytest.fixture
def writer(store: SessionStore) -> Iterator[TestClient]:
    """A client that may change sessions."""
    with client_of(store, write=True) as client:
        yield client


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that the tests of a module share."""
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a browser, in the run and in its JUnit report."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()) and item.path.parent == HERE:
            item.user_properties.append(("browser", True))
            item.add_marker("browser")

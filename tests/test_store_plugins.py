"""Stores of third parties, found by an entry point for their URL scheme."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from recording import CANARY, empty_environment, recorded, refusal
from wren_sessions.config import open_store
from wren_sessions.keys import DEFAULT_PREFIX
from wren_sessions.ttl import TTLPolicy


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path) -> Iterator[None]:
    with empty_environment(tmp_path):
        yield


class ThirdParty:
    """A store of somebody else's."""

    calls: list[tuple[str, dict[str, Any]]]

    @classmethod
    def from_url(cls, url: str, **arguments: Any) -> object:
        """Remember the call."""
        cls.calls = [(url, arguments)]
        with recorded() as made:
            return made.factory("third")(ttl=None, prefix="p")


def third_party(url: str, **arguments: Any) -> object:
    """The same as a function."""
    return ThirdParty.from_url(url, **arguments)


@pytest.fixture
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"mine": "ThirdParty", "call": "third_party", "lost": "Lost", "redis": "ThirdParty"}
    points = [
        EntryPoint(scheme, f"{__name__}:{name}", "wren_sessions.stores")
        for scheme, name in names.items()
    ]
    monkeypatch.setattr(
        "wren_sessions.config.schemes.entry_points",
        lambda group: EntryPoints(points).select(group=group),
    )


@pytest.mark.usefixtures("_plugins")
@pytest.mark.parametrize("scheme", ["mine", "call"])
def test_third_party_store(scheme: str) -> None:
    """An entry point's store gets its URL without the common options, which are read for it."""
    open_store(f"{scheme}://u:p@h1,h2/db?mode=a%20b&ttl=1h&mode=c&prefix=app", color="red")
    assert ThirdParty.calls == [
        (
            f"{scheme}://u:p@h1,h2/db?mode=a%20b&mode=c",
            {"ttl": TTLPolicy(idle="1h"), "prefix": "app", "color": "red"},
        )
    ]


@pytest.mark.usefixtures("_plugins")
def test_third_party_store_has_its_own_lifetime() -> None:
    """A third-party store is left to choose the lifetime if nothing is said."""
    open_store("mine://")
    assert ThirdParty.calls == [("mine://", {"ttl": None, "prefix": DEFAULT_PREFIX})]


@pytest.mark.usefixtures("_plugins")
def test_third_party_store_that_cannot_be_imported() -> None:
    """A broken entry point is named, without the URL."""
    words = refusal(lambda: open_store(f"lost://u:{CANARY}@h"))
    assert "lost:// cannot be imported" in words


@pytest.mark.usefixtures("_plugins")
def test_third_party_cannot_take_a_scheme_over() -> None:
    """A built-in scheme stays built in, and an unknown one is compared with plugins too."""
    with recorded() as made:
        open_store("redis://h")
    assert made.last.backend == "redis"
    assert "did you mean 'mine'?" in refusal(lambda: open_store("mime://"))

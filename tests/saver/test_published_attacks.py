"""Attacks on other checkpointers that were published, tried on this one.

``docs/explanation/security.md`` tells of them. Each test plants or asks what the advisory
describes, on every backend.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.base import empty_checkpoint

from saver.backends import Backend
from wren_sessions import (
    PlainSerializer,
    SafeSerializer,
    SerializationError,
    SessionSaver,
    UnsafeTypeError,
)

THREADS = ("ann", "bob")


class Planted:
    """A serializer that stores what an attacker wants to be read: the value is the payload."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """The payload of a planted value; other values are plain msgpack."""
        if isinstance(obj, dict) and "planted" in obj:
            kind, content = obj["planted"]
            return kind, content
        return "msgpack", ormsgpack.packb(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Nothing is read with it."""
        raise NotImplementedError


def put(saver: SessionSaver, thread: str, value: Any, **metadata: Any) -> None:
    """One checkpoint with one value."""
    checkpoint = empty_checkpoint() | {
        "channel_values": {"x": value},
        "channel_versions": {"x": saver.get_next_version(None, None)},
    }
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    said: Any = {"source": "input", "step": 0, **metadata}
    saver.put(config, checkpoint, said, dict(checkpoint["channel_versions"]))


def check_refused(backend: Backend, kind: str, content: bytes) -> None:
    """A planted value is never built: it is an error, at once or where it is used."""
    planting = SessionSaver(backend.store(), serde=Planted())
    put(planting, "ann", {"planted": (kind, content)})
    config: Any = {"configurable": {"thread_id": "ann"}}
    strict = SessionSaver(backend.store(), serde=SafeSerializer(strict=True))
    for read in (lambda: strict.get_tuple(config), lambda: list(strict.list(config))):
        with pytest.raises((UnsafeTypeError, SerializationError)):
            read()
    saver = SessionSaver(backend.store())
    with pytest.raises((UnsafeTypeError, SerializationError)):  # noqa: PT012 -- either line
        found = saver.get_tuple(config)
        assert found is not None
        found.checkpoint["channel_values"]["x"].anything  # noqa: B018 -- to use it is the error
    saver.delete_thread("ann")
    assert saver.get_tuple(config) is None


@pytest.mark.parametrize("name", [("os", "system"), ("subprocess", "check_call"), ("antigravity",)])
def test_json_that_names_a_constructor(
    backend: Backend, tmp_path: Path, name: tuple[str, ...]
) -> None:
    """CVE-2025-64439: a value in LangChain's JSON names what to call. It is not called."""
    touched = tmp_path / "ran"
    call = {"lc": 2, "type": "constructor", "id": [*name], "args": [f"touch {touched}"]}
    check_refused(backend, "json", json.dumps({"a": [call]}).encode())
    assert not touched.exists()


def test_text_that_is_no_unicode_takes_no_other_way(backend: Backend) -> None:
    """CVE-2025-64439 was reached by text that msgpack refuses; here it comes back as it is."""
    saver = SessionSaver(backend.store())
    put(saver, "ann", "\ud800 lone")
    found = saver.get_tuple({"configurable": {"thread_id": "ann"}})
    assert found is not None
    assert found.checkpoint["channel_values"] == {"x": "\ud800 lone"}


@pytest.mark.parametrize("code", range(7))
def test_msgpack_that_names_a_call(backend: Backend, tmp_path: Path, code: int) -> None:
    """CVE-2026-28277: an extension of msgpack names module, function, arguments. It is not called.

    A tool that shows sessions without the app's classes gets plain data, or an error.
    """
    touched = tmp_path / "ran"
    call = ("os", "system", f"touch {touched}", "__call__")
    content = ormsgpack.packb({"a": ormsgpack.Ext(code, ormsgpack.packb(call))})
    check_refused(backend, "msgpack", content)
    with suppress(UnsafeTypeError):
        PlainSerializer().loads_typed(("msgpack", content))
    assert not touched.exists()


def test_pickle(backend: Backend) -> None:
    """A pickle is refused by its name, and not looked at."""
    check_refused(backend, "pickle", b"cos\nsystem\n(S'true'\ntR.")


INJECTED = [
    {"x') OR '1'='1": "dummy"},
    {"user') OR 1=1 --": "x"},
    {"user'); DROP TABLE records; --": "x"},
    {"$.user": "ann"},
    {"*": "*"},
    {"user": "x}) | (@user:{*"},
    {"user": "*"},
    {"user": "ann' OR '1'='1"},
    {"@user:{ann}": "ann"},
    {"user}) | (@thread_id:{*": "ann"},
]


@pytest.mark.parametrize("filters", INJECTED, ids=str)
def test_filters_that_hold_a_query(backend: Backend, filters: dict[str, Any]) -> None:
    """CVE-2025-67644, CVE-2026-27022: keys and values of a filter are compared, never executed."""
    saver = SessionSaver(backend.store())
    for thread in THREADS:
        put(saver, thread, 1, user=thread)
    assert list(saver.list(None, filter=filters)) == []
    assert list(saver.list({"configurable": {"thread_id": "ann"}}, filter=filters)) == []
    found = list(saver.list(None, filter={"user": "ann"}))
    assert [each.config["configurable"]["thread_id"] for each in found] == ["ann"]
    assert sorted(info.session for info in backend.store().list_sessions().sessions) == [*THREADS]


@pytest.mark.parametrize("thread", ["*", "a*", "[a]nn", "x}) | (@thread_id:{*", "ann' OR '1'='1"])
def test_ids_that_hold_a_pattern(backend: Backend, thread: str) -> None:
    """CVE-2026-27022: an id that is a query or a pattern is a session of its own."""
    saver = SessionSaver(backend.store())
    for owner in THREADS:
        put(saver, owner, 1)
    config: Any = {"configurable": {"thread_id": thread}}
    assert saver.get_tuple(config) is None
    assert list(saver.list(config)) == []
    saver.delete_thread(thread)
    assert all(saver.get_tuple({"configurable": {"thread_id": owner}}) for owner in THREADS)

"""Sessions to lines and back: from any backend to any other, whole or not at all."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from moving.apps import THREAD, chat, grow_up, held, next_step, talk
from saver.backends import BACKENDS, Backend, place
from wren_sessions import (
    ConflictError,
    CorruptSessionError,
    FormatVersionError,
    MemoryStore,
    SerializationError,
    SessionExistsError,
    SessionExpiredError,
    SessionNotFoundError,
    Sessions,
    SessionSaver,
    TTLPolicy,
    aexport_session,
    aexport_sessions,
    aimport_session,
    aimport_sessions,
    export_session,
    export_sessions,
    import_session,
    import_sessions,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Scanned
from wren_sessions.serializers.compression import Compression
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.testing import FakeClock


async def exported(store: SessionStore, face: str, session: str = "t") -> list[str]:
    """The lines of a session, by one face."""
    if face == "sync":
        return list(export_session(store, session))
    return [line async for line in aexport_session(store, session)]


async def imported(
    store: SessionStore, face: str, lines: Iterable[str | bytes], **options: Any
) -> str:
    """Lines brought in by one face."""
    if face == "sync":
        return import_session(store, lines, **options)
    return await aimport_session(store, lines, **options)


@pytest.fixture
async def other(request: pytest.FixtureRequest, backend: Backend) -> AsyncIterator[Backend]:
    """An empty place on the next backend."""
    name = BACKENDS[(BACKENDS.index(backend.name) + 1) % len(BACKENDS)]
    opened = Backend(name, place(name, request))
    yield opened
    await opened.close()


async def test_everything_goes(backend: Backend, other: Backend, face: str) -> None:
    """Checkpoints, namespaces, forks, interrupts, versions and metadata are the same after it."""
    source, target = backend.store(), other.store()
    grow_up(SessionSaver(source))
    assert await imported(target, face, await exported(source, face)) == "t"
    ours, theirs = SessionSaver(source), SessionSaver(target)
    assert held(ours) == held(theirs)
    for namespace in {name for name, _ in held(ours)}:
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": namespace}}
        assert ours.get_tuple(config) == theirs.get_tuple(config)
    assert dict(source.heads("t")) == dict(target.heads("t"))


async def test_a_graph_goes_on(backend: Backend, other: Backend, face: str) -> None:
    """A thread that waits at two questions is answered where it was brought to."""
    source, target = backend.store(), other.store()
    talk(SessionSaver(source), 3)
    await imported(target, face, await exported(source, face))
    expected = next_step(SessionSaver(source))
    assert next_step(SessionSaver(target)) == expected


def content(line: str) -> dict[str, Any]:
    """What a line says, but for the order of writing, of which stores know what they can tell."""
    return {key: value for key, value in json.loads(line).items() if key != "order"}


async def test_what_comes_back_is_written_the_same_again(
    backend: Backend, other: Backend, face: str
) -> None:
    """An export of the import has the same checkpoints, with the same bytes at the same places."""
    grow_up(SessionSaver(backend.store()))
    lines = await exported(backend.store(), face)
    await imported(other.store(), face, lines)
    again = await exported(other.store(), face)
    assert list(map(content, again[1:-1])) == list(map(content, lines[1:-1]))


async def test_a_session_without_checkpoints(backend: Backend, other: Backend, face: str) -> None:
    """An empty session is exported and imported as one."""
    Sessions(backend.store()).create("t")
    await imported(other.store(), face, await exported(backend.store(), face))
    assert Sessions(other.store()).load("t").state == {}


def protected(kind: str) -> SessionStore:
    """A store that encrypts, compresses, or both."""
    key = base64.b64encode(os.urandom(32)).decode()
    encryption = Encryption(keys=[f"k:{key}"]) if "sealed" in kind else None
    compression = Compression() if "packed" in kind else None
    return ProtectedStore(MemoryStore(), encryption=encryption, compression=compression)


@pytest.mark.parametrize("target", ["plain", "sealed", "packed", "sealed packed"])
@pytest.mark.parametrize("source", ["plain", "sealed", "packed", "sealed packed"])
def test_an_export_is_plain_and_an_import_is_sealed_anew(source: str, target: str) -> None:
    """Whatever both stores do with values, the values are the same, and a graph goes on."""
    stores = [MemoryStore() if kind == "plain" else protected(kind) for kind in (source, target)]
    talk(SessionSaver(stores[0]), 12)
    lines = list(export_session(stores[0], "t"))
    stream = b"".join(base64.b64decode(json.loads(line)["append"]) for line in lines[1:-1])
    assert b"lorem ipsum" in stream
    import_session(stores[1], lines)
    assert held(SessionSaver(stores[0])) == held(SessionSaver(stores[1]))
    if "sealed" in target:
        below: Any = stores[1]
        assert b"lorem ipsum" not in below._store.dump("t")
    expected = next_step(SessionSaver(stores[0]))
    assert next_step(SessionSaver(stores[1])) == expected


def test_keys_that_a_file_cannot_hold_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are no text were once written; what the error says to do about them helps."""
    store = MemoryStore()
    sessions = Sessions(store)
    state: dict[Any, int] = {7: 1, b"x": 2, ("a", 1): 3}
    with monkeypatch.context() as first_version:
        first_version.setattr("wren_sessions.sessions.operations.check_state", lambda *_: None)
        first_version.setattr("wren_sessions.sessions.states.named", lambda state: (state, {}))
        sessions.save("t", state)
    assert sessions.load("t").state == state
    with pytest.raises(SerializationError, match="has the key 7, and a file holds text alone"):
        list(export_session(store, "t"))
    sessions.save("t", {"7": 1})
    SessionSaver(store).prune(["t"])
    lines = list(export_session(store, "t"))
    target = MemoryStore()
    import_session(target, lines)
    assert Sessions(target).load("t").state == {"7": 1}


def test_a_list_that_grows_is_in_the_file_once() -> None:
    """Twice as many turns make a file twice as long, not four times."""
    sizes = []
    for turns in (20, 40, 80):
        store = MemoryStore()
        talk(SessionSaver(store), turns)
        sizes.append(sum(map(len, export_session(store, "t"))))
    assert sizes[2] - sizes[1] < 2.2 * (sizes[1] - sizes[0])


def test_the_session_may_go_on_while_it_is_exported() -> None:
    """What is written after the beginning is not in the file; what is in it is whole."""
    store = MemoryStore()
    talk(SessionSaver(store), 2)
    before = held(SessionSaver(store))
    lines = export_session(store, "t")
    first = next(lines)
    next_step(SessionSaver(store))
    target = MemoryStore()
    import_session(target, [first, *lines])
    after = held(SessionSaver(target))
    assert after.keys() == before.keys()
    assert {name: found.checkpoint for name, found in after.items()} == {
        name: found.checkpoint for name, found in before.items()
    }


def test_a_session_that_is_deleted_meanwhile_is_an_error() -> None:
    """An export that cannot be finished says so; its lines are refused by an import."""
    store = MemoryStore()
    talk(SessionSaver(store), 2)
    lines = export_session(store, "t")
    got = [next(lines)]
    store.delete("t")
    with pytest.raises(ConflictError, match="export it again"):
        got.extend(lines)
    with pytest.raises(CorruptSessionError, match="cut off"):
        import_session(MemoryStore(), got)


def test_a_session_that_is_always_written_is_an_error() -> None:
    """Where the beginning is never quiet, the export gives up and says why."""

    class Busy(MemoryStore):
        def scan(self, session: str, starts: Any, limit: int) -> Scanned:
            found = super().scan(session, starts, limit)
            Sessions(self).save(session, {"n": found.life.revision if found.life else 0})
            return found

    store = Busy()
    Sessions(store).save("t", {"n": 0})
    with pytest.raises(ConflictError, match="less busy"):
        list(export_session(store, "t"))


async def test_what_is_not_there(backend: Backend, face: str) -> None:
    """A session that is not there is not exported."""
    with pytest.raises(SessionNotFoundError):
        await exported(backend.store(), face, "nobody")


# --- refused --------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> list[str]:
    """An export."""
    store = MemoryStore()
    grow_up(SessionSaver(store))
    return list(export_session(store, "t"))


def unchanged(store: MemoryStore, lines: Iterable[str | bytes], error: type[Exception]) -> str:
    """What an import says that writes nothing."""
    with pytest.raises(error) as caught:
        import_session(store, lines)
    assert store.list_sessions().sessions == ()
    return str(caught.value)


def test_a_file_that_is_cut_off_is_refused(lines: list[str]) -> None:
    """However much of the end is missing, nothing is written."""
    text = "".join(lines)
    for length in (*range(0, len(text) - 1, 997), len(text) - 3):
        part = text[:length].splitlines(keepends=True)
        assert "cannot be imported" in unchanged(
            MemoryStore(), part, CorruptSessionError
        ) or not "".join(part)


def test_a_file_that_was_changed_is_refused(lines: list[str]) -> None:
    """A line that is missing, repeated, moved, or changed in one character is found."""
    changed = [
        [lines[0], *lines[2:]],
        [*lines[:3], lines[2], *lines[3:]],
        [lines[0], lines[2], lines[1], *lines[3:]],
        lines[1:],
        [*lines[:-1], lines[-1].replace('"lines":', '"lines": 1')],
    ]
    for at in range(0, len(lines[3]) - 1, 97):
        letter = "B" if lines[3][at] != "B" else "C"
        changed.append([*lines[:3], lines[3][:at] + letter + lines[3][at + 1 :], *lines[4:]])
    for case in changed:
        assert "nothing was written" in unchanged(MemoryStore(), case, CorruptSessionError)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (0, "checkpoints", "many"),
        (0, "heads", [["", "nope"]]),
        (0, "pinned", 1),
        (0, "session", 5),
        (1, "order", 7_000),
        (1, "head", ["safe"]),
        (1, "append", "no base64!"),
        (1, "values", {"x": ["safe", [0, 10**9]]}),
        (1, "values", {"x": ["safe", [-5, 2]]}),
        (1, "values", {"x": ["safe", True]}),
        (1, "values", {"x": ["safe"]}),
        (1, "versions", {"x": None}),
        (1, "writes", [{}]),
        (1, "parent", 5),
        (1, "namespace", None),
        (0, "owner", 5),
        (0, "owner", ""),
        (0, "about", "no JSON"),
        (0, "about", "[]"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(
    lines: list[str], line: int, field: str, value: Any
) -> None:
    """Also where the digest is right, every line is looked at before anything is written."""
    import hashlib

    lines[line] = json.dumps(json.loads(lines[line]) | {field: value}) + "\n"
    end = json.loads(lines[-1])
    end["sha256"] = hashlib.sha256("".join(lines[:-1]).encode()).hexdigest()
    lines[-1] = json.dumps(end) + "\n"
    assert "cannot be imported" in unchanged(MemoryStore(), lines, CorruptSessionError)


def test_a_newer_version_is_refused(lines: list[str]) -> None:
    """A file of a newer version says that the package must be upgraded."""
    lines[0] = json.dumps(json.loads(lines[0]) | {"version": 2}) + "\n"
    assert "upgrade" in unchanged(MemoryStore(), lines, FormatVersionError)


@pytest.mark.parametrize("text", ["", "\n", "hello\n", "{}\n", "[]\n", "\x00\n"])
def test_what_is_no_export_is_refused(text: str) -> None:
    """Any other file is not taken for one."""
    unchanged(MemoryStore(), text.splitlines(), CorruptSessionError)


def test_line_ends_and_byte_order_marks_do_not_matter(lines: list[str]) -> None:
    """A file that was sent through Windows is the same file."""
    crlf = ["\ufeff" + lines[0].replace("\n", "\r\n"), "\r\n", *lines[1:]]
    import_session(MemoryStore(), crlf)
    import_session(MemoryStore(), "".join(crlf).encode().splitlines(keepends=True))


# --- lives ----------------------------------------------------------------------------------------


async def test_a_session_that_is_there_is_left_alone(
    backend: Backend, other: Backend, face: str
) -> None:
    """An import replaces nothing unless it is told to; another id is free."""
    Sessions(backend.store()).save("t", {"n": 1})
    lines = await exported(backend.store(), face)
    target = Sessions(other.store())
    target.save("t", {"n": 2})
    with pytest.raises(SessionExistsError, match="session="):
        await imported(other.store(), face, lines)
    assert target.load("t").state == {"n": 2}
    assert await imported(other.store(), face, lines, session="other one") == "other one"
    assert target.load("other one").state == {"n": 1}
    await imported(other.store(), face, lines, replace=True)
    assert target.load("t").state == {"n": 1}


def test_age_pin_and_timeout_go_along() -> None:
    """A session is as old as it was, pinned if it was, and has its own idle timeout."""
    clock = FakeClock()
    source, target = MemoryStore(clock=clock), MemoryStore(clock=clock)
    for name in ("pinned", "short"):
        Sessions(source).save(name, {"n": 1})
    source.pin("pinned")
    source.set_ttl("short", "2h")
    clock.advance("1h")
    for name in ("pinned", "short"):
        import_session(target, export_session(source, name))
    lives = {name: target.info(name) for name in ("pinned", "short")}
    assert lives["pinned"] is not None
    assert lives["short"] is not None
    assert lives["pinned"].life.pinned
    assert lives["short"].life.ttl_ms == 2 * 3_600_000
    assert lives["short"].life.created_ms == clock.now_ms - 3_600_000


def test_a_session_that_is_too_old_is_refused_unless_renewed() -> None:
    """The store's maximum age holds for what is brought in, unless it is to count as new."""
    clock = FakeClock()
    source = MemoryStore(clock=clock, ttl=TTLPolicy(idle=None))
    target = MemoryStore(clock=clock, ttl=TTLPolicy(idle=None, max_age="7d"))
    Sessions(source).save("t", {"n": 1})
    clock.advance("8d")
    lines = list(export_session(source, "t"))
    with pytest.raises(SessionExpiredError):
        import_session(target, lines)
    assert target.list_sessions().sessions == ()
    import_session(target, lines, renew=True)
    found = target.info("t")
    assert found is not None
    assert found.life.created_ms == clock.now_ms


async def test_many_sessions_in_one_file(backend: Backend, other: Backend, face: str) -> None:
    """All sessions of a store go through one file, one after the other."""
    source, target = backend.store(), other.store()
    for number in range(5):
        Sessions(source).save(f"s{number}", {"n": number, "text": "lorem " * 400})
    if face == "sync":
        lines = list(export_sessions(source))
        ids = list(import_sessions(target, lines))
        some = list(export_sessions(source, ["s1", "s3"]))
    else:
        lines = [line async for line in aexport_sessions(source)]
        ids = [id_ async for id_ in aimport_sessions(target, lines)]
        some = [line async for line in aexport_sessions(source, ["s1", "s3"])]
    assert sorted(ids) == [f"s{number}" for number in range(5)]
    assert all(Sessions(target).load(f"s{n}").state["n"] == n for n in range(5))
    assert [json.loads(line)["session"] for line in some if "session" in json.loads(line)] == [
        "s1",
        "s3",
    ]
    with pytest.raises(CorruptSessionError, match="several sessions"):
        await imported(target, face, lines)


def test_progress_is_told() -> None:
    """Both directions say how far they are."""
    store = MemoryStore()
    talk(SessionSaver(store), 2)
    seen: list[Any] = []
    lines = list(export_session(store, "t", on_progress=seen.append))
    assert [(p.session, p.done) for p in seen] == [("t", n + 1) for n in range(len(lines) - 2)]
    seen.clear()
    import_session(MemoryStore(), lines, on_progress=seen.append)
    assert seen[-1].done == seen[-1].total == len(lines) - 2


def test_a_graph_compiled_anew_reads_the_import() -> None:
    """The history of an imported thread is the history of the original."""
    source, target = MemoryStore(), MemoryStore()
    talk(SessionSaver(source), 2)
    import_session(target, export_session(source, "t"))
    ours, theirs = chat(SessionSaver(source)), chat(SessionSaver(target))
    assert list(ours.get_state_history(THREAD)) == list(theirs.get_state_history(THREAD))


@pytest.mark.parametrize(
    ("at", "change", "says"),
    [
        (0, {"created_ms": 10**18}, "created_ms is 1000000000000000000"),
        (0, {"updated_ms": -(10**18)}, "updated_ms"),
        (0, {"deadline_ms": 1.5}, "deadline_ms is 1.5"),
        (0, {"idle": 0}, "idle is 0, and must be from 1"),
        (0, {"idle": 10**40}, "idle"),
        (0, {"revision": -1}, "revision"),
        (0, {"created_ms": "soon"}, "first line is damaged"),
        (1, {"versions": {"n": 2**70}}, "version of channel 'n'"),
        (1, {"versions": {"n": float("nan")}}, "version of channel 'n' is nan"),
        (1, {"order": "first"}, "the line is damaged"),
    ],
)
def test_what_is_out_of_range_is_named(
    tmp_path: Path, at: int, change: dict[str, Any], says: str
) -> None:
    """Times, timeouts and numbers that cannot be: the error names the file and the line."""
    store = MemoryStore()
    Sessions(store).save("t", {"n": 1})
    lines = list(export_session(store, "t"))
    lines[at] = json.dumps(json.loads(lines[at]) | change) + "\n"
    path = tmp_path / "session.jsonl"
    path.write_text("".join(lines))
    target = MemoryStore()
    with path.open("rb") as file, pytest.raises(CorruptSessionError) as caught:
        import_session(target, file)
    assert f"{path}, line {at + 1}: the export of session 't'" in str(caught.value)
    assert says in str(caught.value)
    with pytest.raises(CorruptSessionError, match=rf"^line {at + 1}: "):
        import_session(target, lines)
    assert target.list_sessions().sessions == ()

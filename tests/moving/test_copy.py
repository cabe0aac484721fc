"""Sessions go from store to store as they are stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from langgraph.types import Command

from moving.apps import TEXT, THREAD, chat, grow_up, held, talk
from saver.backends import BACKENDS, Backend, place
from wren_sessions import (
    ConfigurationError,
    ConflictError,
    CopyReport,
    CorruptSessionError,
    Encryption,
    MemoryStore,
    Progress,
    ProtectedStore,
    Retention,
    SessionExistsError,
    SessionNotFoundError,
    Sessions,
    SessionSaver,
    StoreUnavailableError,
    TTLPolicy,
    acopy_sessions,
    copy_sessions,
    export_session,
    import_session,
)
from wren_sessions.keys import StagingId
from wren_sessions.protocols import SessionStore
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Life,
    Notes,
    Record,
    SessionInfo,
    Span,
)
from wren_sessions.testing import FakeClock
from wren_sessions.ttl import STAGING_MS, Duration


async def copied(
    face: str, source: SessionStore, target: SessionStore, **options: Any
) -> CopyReport:
    """Copy by the function of a face."""
    if face == "sync":
        return copy_sessions(source, target, **options)
    return await acopy_sessions(source, target, **options)


def known(store: SessionStore, session: str = "t") -> SessionInfo:
    """What is known of a session that must be there."""
    info = store.info(session)
    assert info is not None
    return info


def sessions_of(store: SessionStore) -> set[str]:
    """The sessions of a store."""
    return {info.session for info in store.list_sessions().sessions}


@pytest.fixture(params=BACKENDS)
def other(request: pytest.FixtureRequest, backend: Backend) -> Iterator[Backend]:
    """A second place; on Redis another prefix of the same database."""
    found = Backend(request.param, place(request.param, request))
    if backend.name == found.name == "file":
        found.url = f"{found.url}.other"
    found.clock = backend.clock
    yield found
    for store in found._opened:
        store.close()


def opened(other: Backend) -> SessionStore:
    """A store on the second place."""
    if other.name == "redis":
        from wren_sessions import RedisStore

        other._opened.append(RedisStore.from_url(other.url, prefix="other"))
        return other._opened[-1]
    return other.store()


async def test_between_all_backends(backend: Backend, other: Backend, face: str) -> None:
    """A session goes with all that is in it, in no more bytes, and the graph goes on."""
    source, target = backend.store(), opened(other)
    grow_up(SessionSaver(source))
    source.pin("t")
    report = await copied(face, source, target)
    assert [found.session for found in report.copied] == ["t"]
    assert report.copied[0].checkpoints == len(held(SessionSaver(source)))
    assert report.copied[0].size_bytes == known(target).size_bytes
    assert held(SessionSaver(target)) == held(SessionSaver(source))
    assert dict(target.heads("t")) == dict(source.heads("t"))
    assert known(target).state == known(source).state
    assert known(target).life.created_ms == known(source).life.created_ms
    assert known(target).life.pinned
    assert sessions_of(target) == {"t"}
    copy_sessions(target, back := MemoryStore())
    assert held(SessionSaver(back)) == held(SessionSaver(source))
    if backend.name == "memory":
        packed_anew = 0.05 if other.name == "sealed" else 0.001
        assert known(back).size_bytes == pytest.approx(known(source).size_bytes, rel=packed_anew)


async def test_what_checkpoints_share_stays_shared(
    backend: Backend, other: Backend, face: str
) -> None:
    """A long conversation takes as much in the target as if it had been led there."""
    source, target = backend.store(), opened(other)
    talk(SessionSaver(source), 25)
    report = await copied(face, source, target)
    target.delete("t")
    talk(SessionSaver(target), 25)
    native, size_bytes = known(target).size_bytes, report.copied[0].size_bytes
    if native is not None and size_bytes is not None:
        assert size_bytes <= 1.05 * native


@pytest.fixture(scope="module")
def thousand() -> MemoryStore:
    """A session of 1,000 checkpoints."""
    store = MemoryStore()
    talk(SessionSaver(store), 250)
    return store


def test_1000_checkpoints(thousand: MemoryStore, backend: Backend) -> None:
    """1,000 full lists do not come of it, on the way there and back."""
    target, back = backend.store(), MemoryStore()
    seen: list[Progress] = []
    copy_sessions(thousand, target, on_progress=seen.append)
    assert seen[-1] == Progress("t", 1_000, 1_000)
    copy_sessions(target, back)
    packed_anew = 0.01 if backend.name == "sealed" else 0.001
    assert known(back).size_bytes == pytest.approx(known(thousand).size_bytes, rel=packed_anew)
    assert held(SessionSaver(back)) == held(SessionSaver(thousand))


async def test_a_session_that_was_pruned(backend: Backend, other: Backend, face: str) -> None:
    """Only what is referred to goes, and a value whose parts lie apart now reads the same."""
    source, target = backend.store(), opened(other)
    saver = SessionSaver(source, retention=Retention(keep_last=5))
    talk(saver, 20)
    graph = chat(saver)
    graph.update_state(list(graph.get_state_history(THREAD))[2].config, {"notes": [TEXT * 9]})
    saver.prune(["t"], keep_last=4)
    await copied(face, source, target)
    assert held(SessionSaver(target)) == held(SessionSaver(source))
    ours, theirs = MemoryStore(), known(target).size_bytes
    copy_sessions(target, ours)
    assert held(SessionSaver(ours)) == held(SessionSaver(source))
    assert theirs is None or theirs < 60_000


async def test_sessions_without_checkpoints(backend: Backend, other: Backend, face: str) -> None:
    """A session that was made and not used yet goes as well."""
    source, target = backend.store(), opened(other)
    Sessions(source).create("empty")
    Sessions(source).save("saved", {"turn": 1})
    report = await copied(face, source, target)
    assert {found.session for found in report.copied} == {"empty", "saved"}
    assert known(target, "empty").state == known(source, "empty").state
    assert Sessions(target).load("saved").state == {"turn": 1}


# --- what is there --------------------------------------------------------------------------------


async def test_again(backend: Backend, face: str) -> None:
    """What was copied before is skipped; what differs is an error, or is replaced."""
    source, target = backend.store(), MemoryStore()
    talk(SessionSaver(source), 3)
    await copied(face, source, target)
    before = known(target).life
    assert (await copied(face, source, target)).skipped == ("t",)
    assert known(target).life.incarnation == before.incarnation
    chat(SessionSaver(source)).invoke({"notes": ["and now?"]}, THREAD)
    with pytest.raises(SessionExistsError, match="replace=True"):
        await copied(face, source, target)
    assert known(target).life.revision == before.revision
    assert (await copied(face, source, target, replace=True)).copied
    assert held(SessionSaver(target)) == held(SessionSaver(source))
    asked = chat(SessionSaver(source)).get_state(THREAD).interrupts
    chat(SessionSaver(target)).invoke(Command(resume={asked[0].id: "half"}), THREAD)
    with pytest.raises(SessionExistsError):  # the same checkpoints, another pending write
        await copied(face, source, target)


SETTINGS: dict[str, Callable[[SessionStore], object]] = {
    "owner": lambda store: Sessions(store).annotate("t", owner="ann"),
    "title": lambda store: Sessions(store).annotate("t", title="one"),
    "pin": lambda store: store.pin("t"),
    "no pin": lambda store: store.pin("t", pinned=False),
    "timeout": lambda store: store.set_ttl("t", "2h"),
    "no timeout": lambda store: store.set_ttl("t", None),
    "no title": lambda store: Sessions(store).annotate("t", title=""),
}


def settings(store: SessionStore) -> tuple[object, ...]:
    """What is copied of a session besides its contents."""
    info = known(store)
    return info.notes, info.idle, info.life.pinned, info.life.created_ms


async def test_what_was_noted_or_set_since(backend: Backend, face: str) -> None:
    """It is no new revision, and makes another session all the same, on either side."""
    source, target = backend.store(), MemoryStore()
    Sessions(source).save("t", {"n": 1})
    await copied(face, source, target)
    for change in SETTINGS.values():
        change(source)
        with pytest.raises(SessionExistsError, match=r"other notes|another pin"):
            await copied(face, source, target)
        assert settings(target) != settings(source)
        assert (await copied(face, source, target, replace=True)).copied
        assert settings(target) == settings(source)
        assert (await copied(face, source, target)).skipped == ("t",)
    Sessions(target).annotate("t", tags=["theirs"])
    with pytest.raises(SessionExistsError):
        await copied(face, source, target)
    source.delete("t")  # it would not expire


def test_a_session_of_another_age() -> None:
    """A session that was imported as created now is not the one that is copied."""
    clock = FakeClock()
    source, target = MemoryStore(clock=clock), MemoryStore(clock=clock)
    Sessions(source).save("t", {"n": 1})
    lines = list(export_session(source, "t"))
    clock.advance("1h")
    import_session(target, lines, renew=True)
    with pytest.raises(SessionExistsError, match="another time of creation"):
        copy_sessions(source, target)


def test_what_is_the_same_is_not_read_again() -> None:
    """No byte of the arena; nor any record where it can be told without that it is not the same."""
    source, target = MemoryStore(), MemoryStore()
    talk(SessionSaver(source), 3)
    copy_sessions(source, target)
    with (
        mock.patch.object(source, "read") as read,
        mock.patch.object(source, "scan", wraps=source.scan) as scan,
    ):
        assert copy_sessions(source, target).skipped == ("t",)
        assert scan.call_count == 1
        source.pin("t")
        with pytest.raises(SessionExistsError):
            copy_sessions(source, target)
    assert (read.call_count, scan.call_count) == (0, 1)


@pytest.mark.parametrize("secrets_", [(None, b"t" * 16), (b"s" * 16, None), (b"s" * 16, b"t" * 16)])
async def test_an_owner_is_the_same_however_a_store_hides_it(
    face: str, secrets_: tuple[bytes | None, bytes | None]
) -> None:
    """A copy to a store that hides owners, or from one, is skipped the second time."""
    key = Encryption.generate_key("k")
    source, target = (
        ProtectedStore(MemoryStore(), encryption=Encryption([key], owner_secret=secret))
        if secret
        else MemoryStore()
        for secret in secrets_
    )
    Sessions(source).create("t", owner="ann", state={"n": 1})
    assert (await copied(face, source, target)).copied
    assert (await copied(face, source, target)).skipped == ("t",)
    Sessions(source).annotate("t", owner="bob")
    with pytest.raises(SessionExistsError, match="another owner"):
        await copied(face, source, target)


def test_the_target_went_on_elsewhere() -> None:
    """Another header or another latest checkpoint makes another session."""
    source, target = MemoryStore(), MemoryStore()
    talk(SessionSaver(source), 2)
    copy_sessions(source, target)
    talk(SessionSaver(target), 1)
    with pytest.raises(SessionExistsError):
        copy_sessions(source, target)
    target.commit(Commit(session="t", token=secrets.token_hex(8), state=known(source).state))
    with pytest.raises(SessionExistsError):
        copy_sessions(source, target)


async def test_some_sessions(backend: Backend, face: str) -> None:
    """Only those that are named go; one that is not there is an error."""
    source, target = backend.store(), MemoryStore()
    for name in ("one", "two"):
        talk(SessionSaver(source), 1, thread={"configurable": {"thread_id": name}})
    await copied(face, source, target, sessions=["two"])
    assert sessions_of(target) == {"two"}
    with pytest.raises(SessionNotFoundError, match="'none'"):
        await copied(face, source, target, sessions=["none"])
    with pytest.raises(ConfigurationError, match="several ids"):
        await copied(face, source, target, sessions="one")
    with pytest.raises(ConfigurationError, match="same store"):
        await copied(face, source, source)


# --- lifetimes ------------------------------------------------------------------------------------


def test_sessions_that_are_too_old() -> None:
    """A session past the target's maximum age is left out and told; a pinned one goes."""
    clock = FakeClock()
    source = MemoryStore(ttl=TTLPolicy(idle=None), clock=clock)
    target = MemoryStore(ttl=TTLPolicy(max_age="30d"), clock=clock)
    for name in ("old", "kept", "young"):
        if name == "young":
            clock.advance("40d")
        talk(SessionSaver(source), 1, thread={"configurable": {"thread_id": name}})
    source.pin("kept")
    report = copy_sessions(source, target)
    assert {found.session for found in report.copied} == {"kept", "young"}
    assert report.expired == ("old",)
    assert sessions_of(target) == {"kept", "young"}
    assert known(target, "kept").life.pinned
    again = copy_sessions(source, target)
    assert (again.skipped, again.expired) == (("kept", "young"), ("old",))  # its age was lost


# --- disturbances ---------------------------------------------------------------------------------


def when(count: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Do something after some checkpoints, once."""
    done: list[object] = []

    def progress(progress: Progress) -> None:
        if progress.done == count and not done:
            done.append(act())

    return progress


async def test_a_source_in_use(backend: Backend, face: str) -> None:
    """A session that is written while it is copied is copied anew; one that always is, an error."""
    source, target = backend.store(), MemoryStore()
    saver = SessionSaver(source)
    talk(saver, 2)

    def write(progress: Progress) -> None:
        if progress.done == 3:
            chat(saver).invoke({"notes": ["on"]}, THREAD)

    once = when(3, lambda: write(Progress("t", 3, 3)))
    await copied(face, source, target, on_progress=once)
    assert held(SessionSaver(target)) == held(saver)
    write(Progress("t", 3, 3))
    with pytest.raises(ConflictError, match="others kept writing it"):
        await copied(face, source, target, replace=True, on_progress=write)
    assert sessions_of(target) == {"t"}


@pytest.mark.parametrize("change", ["owner", "title", "timeout", "pin"])
async def test_a_source_that_is_changed_otherwise(change: str, face: str) -> None:
    """What is noted or set while a session is copied is copied as well."""
    source, target = MemoryStore(), MemoryStore()
    talk(SessionSaver(source), 2)
    once = when(3, lambda: SETTINGS[change](source))
    assert len((await copied(face, source, target, on_progress=once)).copied) == 1
    assert settings(target) == settings(source)
    assert (await copied(face, source, target)).skipped == ("t",)


async def test_a_source_that_goes_away(backend: Backend, face: str) -> None:
    """A session that is deleted while it is copied leaves nothing behind."""
    source, target = backend.store(), MemoryStore()
    talk(SessionSaver(source), 2)
    report = await copied(face, source, target, on_progress=when(3, lambda: source.delete("t")))
    assert report == CopyReport(copied=())
    assert sessions_of(target) == set()


async def test_an_interrupted_copy(backend: Backend, face: str) -> None:
    """Until it is complete nothing is there, and what was begun ends by itself."""
    source, target = MemoryStore(), backend.store()
    talk(SessionSaver(source), 2)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copied(face, source, target, on_progress=when(3, stop))
    assert target.info("t") is None
    assert sessions_of(target) == set()
    left = target.info(StagingId("t"))
    assert left is not None
    assert left.life.ttl_ms is not None
    assert left.life.ttl_ms <= STAGING_MS
    assert copy_sessions(target, MemoryStore()) == CopyReport(copied=())
    await copied(face, source, target)
    assert sessions_of(target) == {"t"}
    assert target.info(StagingId("t")) is None


def test_a_target_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the target goes to the caller, and what was begun is removed."""
    source, target = MemoryStore(), MemoryStore()
    talk(SessionSaver(source), 2)

    def full() -> None:
        raise StoreUnavailableError("full")

    with pytest.raises(StoreUnavailableError):
        copy_sessions(source, target, on_progress=when(3, full))
    assert sessions_of(target) == set()


def test_two_copies_of_one_session() -> None:
    """A second copy of the same session at the same time is told of, and nothing is half there."""
    source, target = MemoryStore(), MemoryStore()
    talk(SessionSaver(source), 2)
    second = when(3, lambda: copy_sessions(source, target))
    with pytest.raises(ConflictError, match="being copied twice"):
        copy_sessions(source, target, on_progress=second)
    assert held(SessionSaver(target)) == held(SessionSaver(source))


class Damaging(MemoryStore):
    """A store that gives back something else than it was given."""

    broken = ""

    def commit(self, commit: Commit) -> Committed:
        """Keep something else."""
        record = commit.record
        if self.broken == "record" and record is not None and record.parent_id:
            changed = Record(name=record.name, parent_id=record.parent_id, body=b"?")
            commit = Commit(session=commit.session, token=commit.token, record=changed)
        if self.broken == "header" and commit.state:
            commit = replace(commit, state=b"{}")
        return super().commit(commit)

    def read(self, session: str, spans: Any) -> ArenaParts | None:
        """Give back nothing."""
        if self.broken == "arena":
            return ArenaParts((span.offset, bytes(span.length)) for span in spans)
        return super().read(session, spans)

    def heads(self, session: str) -> Any:
        """Leave one out."""
        return super().heads(session)[: -1 if self.broken == "latest" else None]

    def scan(self, session: str, starts: Any, limit: int) -> Any:
        """Leave all out."""
        found = super().scan(session, starts, limit)
        return type(found)(records=(), life=found.life) if self.broken == "not there" else found

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """Forget the tags."""
        if self.broken == "notes":
            notes = Notes(notes.owner)
        return super().annotate(session, notes, expect)

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """Do not."""
        return super().pin(session, pinned=pinned and self.broken != "pin")

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """Set no limit."""
        return super().set_ttl(session, None if self.broken == "timeout" else idle)


@pytest.mark.parametrize(
    "broken", ["record", "header", "arena", "latest", "not there", "notes", "pin", "timeout"]
)
def test_what_the_target_holds_is_compared(broken: str) -> None:
    """A target that gives back something else is found out, and nothing of it is kept."""
    source, target = MemoryStore(), Damaging()
    talk(SessionSaver(source), 20)
    Sessions(source).annotate("t", owner="ann", tags=["old"])
    source.set_ttl("t", "9h")
    source.pin("t")
    target.broken = broken
    with pytest.raises(CorruptSessionError, match="was not copied"):
        copy_sessions(source, target)
    target.broken = ""
    assert sessions_of(target) == set()


def test_a_source_that_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that cannot be read stops the copy before anything is written."""
    source, target = MemoryStore(), MemoryStore()
    talk(SessionSaver(source), 2)
    source.commit(
        Commit(
            session="t",
            token=secrets.token_hex(8),
            record=Record(name=("", "damaged"), parent_id=None, body=b"?"),
        )
    )
    with pytest.raises(CorruptSessionError, match="'damaged' is damaged"):
        copy_sessions(source, target)
    assert sessions_of(target) == set()
    source.delete("t")
    talk(SessionSaver(source), 20)
    monkeypatch.setattr(source, "read", lambda *_: None)
    with pytest.raises(CorruptSessionError, match="is not there"):
        copy_sessions(source, target)


def test_arenas_are_compared_in_chunks() -> None:
    """A value of several megabytes goes, and no part of it is left out of the comparison."""
    source, target = MemoryStore(), Damaging()
    Sessions(source).save("t", {"text": "".join(map(str, range(500_000)))})
    asked: list[Span] = []
    original = target.read

    def read(session: str, spans: Any) -> ArenaParts | None:
        asked.extend(spans)
        return original(session, spans)

    target.read = read  # type: ignore[method-assign] # watched
    copy_sessions(source, target)
    assert len(asked) == 3
    assert Sessions(target).load("t").state == Sessions(source).load("t").state

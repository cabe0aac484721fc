"""The contract of whole sessions: info, delete, listings, many writers, headers, the store."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from wren_sessions.errors import ConfigurationError, ConflictError
from wren_sessions.keys import KeySpace
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.records import Span, Start
from wren_sessions.testing.build import (
    SESSION,
    add,
    appended,
    commit,
    done,
    info,
    listed,
    loaded,
    namespaces,
    pending,
    prune,
    put,
    scan_ids,
    seen,
    write,
)
from wren_sessions.testing.contract_base import THREADS, ContractBase, MakeStore, OpenFace, PassTime
from wren_sessions.ttl import Override, TTLPolicy

COMMITS = 25
TARGET = "the copy"
TWO_HOURS_MS = 7_200_000


def element(worker: int, number: int) -> bytes:
    """What a worker appends: of its own length, and told apart from all others."""
    return f"<{worker}.{number}>".encode() * (1 + 37 * worker + number)


class SessionContract(ContractBase):
    """Sessions as wholes, and the store as one."""

    # --- info and delete --------------------------------------------------------------------------

    async def test_info_of_a_session(self, face: AsyncSessionStore) -> None:
        """What is known of a session is its life, header and size."""
        assert await face.info(SESSION) is None
        committed = await done(face, put("1", state=b'{"turn_count": 8}'))
        found = await info(face)
        assert committed.life is not None
        assert found.session == SESSION
        assert found.state == b'{"turn_count": 8}'
        assert found.life.incarnation == committed.life.incarnation
        assert found.life.deadline_ms == committed.life.deadline_ms

    async def test_a_size_grows(self, face: AsyncSessionStore) -> None:
        """The size counts what was appended, unless the store cannot say."""
        await done(face, put("1"))
        small = (await info(face)).size_bytes
        added = bytes(100_000)
        await done(face, put("2", append=added, body=bytes(10_000)))
        large = (await info(face)).size_bytes
        assert (small is None) == (large is None)
        assert large is None or small is None or large - small >= len(added)

    async def test_a_session_is_deleted_whole(self, face: AsyncSessionStore) -> None:
        """Nothing of a deleted session is left, and another one may take its id."""
        old = (await done(face, put("1", ns="child", append=b"old", state=b"{}"))).life
        await done(face, put("1", append=b"old"))
        await done(face, add("2", write("t", 0, b"old"), write("t", -1, b"old", replaces=True)))
        await face.pin(SESSION)
        assert await face.delete(SESSION) is True
        assert await face.delete(SESSION) is False
        assert await face.info(SESSION) is None
        assert await face.load(SESSION) is None
        assert await face.read(SESSION, [Span(0, 1)]) is None
        assert await namespaces(face, SESSION) == ()
        new = (await done(face, put("2"))).life
        assert old is not None
        assert new is not None
        assert (new.incarnation != old.incarnation, new.revision, new.pinned) == (True, 1, False)
        assert await pending(face, "2") == {}
        assert await scan_ids(face, Start(""), Start("child")) == ["2"]

    async def test_deleting_leaves_the_others(self, face: AsyncSessionStore) -> None:
        """Deleting a session touches none whose id looks like it."""
        for session in ("a", "a:b", "ab", "*", "a*"):
            await done(face, put("1", session=session))
        assert await face.delete("a*")
        assert await face.delete("a")
        assert set(await listed(face)) == {"a:b", "ab", "*"}

    # --- listings ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 2, 3, 10, 100])
    async def test_a_listing_is_complete(self, face: AsyncSessionStore, limit: int) -> None:
        """Pages of any size, put together, give every session."""
        assert await listed(face, limit) == {}
        names = {f"session {number}" for number in range(30)}
        for name in sorted(names):
            await done(face, put("1", session=name, state=name.encode()))
        found = await listed(face, limit)
        assert set(found) == names
        assert all(entry.state == name.encode() for name, entry in found.items())
        assert all(entry.life.incarnation for entry in found.values())

    async def test_a_listing_goes_on_without_the_deleted(self, face: AsyncSessionStore) -> None:
        """A session that goes away during a listing does not end it."""
        for number in range(12):
            await done(face, put("1", session=f"s{number}"))
        page = await face.list_sessions(None, 3)
        found = {entry.session for entry in page.sessions}
        gone = set(found)
        for name in gone:
            await face.delete(name)
        while page.cursor is not None:
            page = await face.list_sessions(page.cursor, 3)
            found |= {entry.session for entry in page.sessions}
        assert found >= {f"s{number}" for number in range(12)} - gone

    async def test_a_listing_leaves_the_expired_out(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """Only sessions that are there are listed, with their own lives."""
        face = open_face(self.idle(4))
        for session in ("a", "b", "c"):
            await done(face, put("1", session=session))
        await face.pin("b")
        pass_time(self.ticks(5))
        await done(face, put("1", session="d"))
        found = await listed(face)
        assert {name: entry.life.pinned for name, entry in found.items()} == {"b": True, "d": False}

    @pytest.mark.parametrize("limit", [0, -1, True, "5", 1.5, None])
    async def test_a_limit_that_is_none_is_refused(
        self, face: AsyncSessionStore, limit: Any
    ) -> None:
        """It must be a whole number of at least 1; any larger one is fine."""
        await done(face, put("1"))
        with pytest.raises(ConfigurationError, match="limit"):
            await face.list_sessions(limit=limit)
        assert len((await face.list_sessions(limit=10**20)).sessions) == 1

    @pytest.mark.parametrize("cursor", ["junk", "💥", "after", "-1:", "0x1", " "])
    async def test_a_cursor_of_somebody_else_is_refused(
        self, face: AsyncSessionStore, cursor: str
    ) -> None:
        """A cursor that no page gave is an error."""
        await done(face, put("1"))
        with pytest.raises(ConfigurationError):
            await face.list_sessions(cursor)

    # --- many writers -----------------------------------------------------------------------------

    async def test_many_writers_lose_nothing(self, face: AsyncSessionStore) -> None:
        """Eight writers of one session, at once: every record is there, with its own bytes."""

        async def work(worker: int) -> None:
            for number in range(COMMITS):
                what = put(f"{number:02}-{worker}", append=element(worker, number))
                await done(face, what)
                await done(face, add("00-0", write(f"task{worker}", number, b"value")))

        await asyncio.gather(*(work(worker) for worker in range(THREADS)))
        ids = [f"{number:02}-{worker}" for number in range(COMMITS) for worker in range(THREADS)]
        assert await scan_ids(face) == ids[::-1]
        assert (await info(face)).life.revision == 2 * len(ids)
        assert len(await pending(face, "00-0")) == len(ids)
        for checkpoint_id in ids:
            number, worker = map(int, checkpoint_id.split("-"))
            own = element(worker, number)
            assert await appended(face, checkpoint_id, len(own)) == own

    async def test_one_writer_makes_a_session(self, face: AsyncSessionStore) -> None:
        """Of many that want to make the same session at once, one does."""
        answers = await asyncio.gather(
            *(face.commit(put(str(worker), new=True)) for worker in range(THREADS))
        )
        outcomes = sorted(answer.outcome for answer in answers)
        assert outcomes == ["done"] + ["exists"] * (THREADS - 1)
        assert len(await scan_ids(face)) == 1

    async def test_one_repeat_is_written(self, face: AsyncSessionStore) -> None:
        """The same commit many times at once is done once."""
        again = put("1", append=b"some")
        answers = await asyncio.gather(*(face.commit(again) for _ in range(THREADS)))
        assert {(answer.outcome, answer.base) for answer in answers} == {("done", answers[0].base)}
        assert (await info(face)).life.revision == 1

    # --- the store --------------------------------------------------------------------------------

    async def test_a_store_answers(self, face: AsyncSessionStore) -> None:
        """A store that can be used answers a ping."""
        await face.ping()

    async def test_a_store_may_be_closed_twice(self, face: AsyncSessionStore) -> None:
        """Closing a closed store does nothing."""
        await done(face, commit(state=b"{}"))
        await face.close()
        await face.close()

    async def test_a_store_may_be_closed_unused(self, face: AsyncSessionStore) -> None:
        """Closing a store that was never used does nothing."""
        await face.close()

    async def test_a_store_says_what_it_is(self, make_store: MakeStore) -> None:
        """A store has its policy, its names, and a place to show to people."""
        policy = TTLPolicy(idle="90m", max_age="9d", refresh="read")
        store = make_store(ttl=policy)
        assert store.ttl == policy
        assert store.keys == KeySpace(store.keys.prefix)
        assert ":" in store.location
        assert store.persistent in (True, False)
        store.close()

    @pytest.mark.parametrize(
        "method", sorted(name for name in vars(AsyncSessionStore) if not name.startswith("_"))
    )
    async def test_both_faces_have_every_method(self, make_store: MakeStore, method: str) -> None:
        """Each method takes, on both faces, what the protocol says it takes."""
        wanted = inspect.signature(getattr(SessionStore, method)).parameters.values()
        parameters = [
            (each.name, each.default, each.kind) for each in wanted if each.name != "self"
        ]
        store = make_store()
        for face in (store, store.aio):
            given = inspect.signature(getattr(face, method)).parameters.values()
            assert [(each.name, each.default, each.kind) for each in given] == parameters
        assert inspect.iscoroutinefunction(getattr(store.aio, method))
        store.close()


class HeaderContract(ContractBase):
    """Headers come with what is read, and go with what is changed."""

    async def test_a_checkpoint_comes_with_the_header(self, face: AsyncSessionStore) -> None:
        """The header is the session's, whichever checkpoint is loaded."""
        await done(face, put("1", state=b"one"))
        await done(face, put("1", ns="child"))
        await done(face, put("2", state=b"two"))
        assert (await loaded(face, "1")).state == b"two"
        assert (await loaded(face, "1", ns="child")).state == b"two"

    async def test_a_session_without_a_header(self, face: AsyncSessionStore) -> None:
        """It is empty, not missing."""
        await done(face, put("1"))
        assert (await loaded(face, "1")).state == b""

    async def test_a_prune_brings_a_header(self, face: AsyncSessionStore) -> None:
        """It replaces the header with the records, or not at all."""
        await done(face, put("1", state=b"one"))
        life = (await done(face, put("2", state=b"two"))).life
        pruning = prune(life, ("", "2"), state=b"one again")
        stale = await face.prune(replace(pruning, revision=pruning.revision - 1))
        assert (stale.outcome, (await info(face)).state) == ("conflict", b"two")
        assert (await face.prune(pruning)).outcome == "done"
        assert (await info(face)).state == b"one again"

    async def test_a_prune_without_a_header_leaves_it(self, face: AsyncSessionStore) -> None:
        """None is no header."""
        await face.prune(prune((await done(face, put("1", state=b"one"))).life))
        assert (await info(face)).state == b"one"

    async def test_a_copy_has_the_header_it_is_given(self, face: AsyncSessionStore) -> None:
        """The source keeps its own."""
        await done(face, put("1", state=b"one"))
        await face.copy(SESSION, TARGET, state=b"another")
        assert (await info(face, TARGET)).state == b"another"
        assert (await info(face)).state == b"one"

    async def test_a_copy_of_what_was_known(self, face: AsyncSessionStore) -> None:
        """A source that was written since is not copied; one that was not is."""
        known = (await done(face, put("1"))).life
        life = (await done(face, put("2"))).life
        with pytest.raises(ConflictError):
            await face.copy(SESSION, TARGET, expect=known)
        assert await face.info(TARGET) is None
        assert await face.copy(SESSION, TARGET, expect=life) is not None

    async def test_a_copy_over_what_was_known(self, face: AsyncSessionStore) -> None:
        """A target that was written or deleted since is not replaced; one that was not is."""
        await done(face, put("1"))
        known = (await done(face, put("2", session=TARGET))).life
        assert known is not None
        life = (await done(face, put("3", session=TARGET))).life
        assert life is not None
        with pytest.raises(ConflictError):
            await face.copy(SESSION, TARGET, replace=known)
        assert (await loaded(face, session=TARGET)).stored.name == ("", "3")
        assert await face.copy(SESSION, TARGET, replace=life) is not None
        assert (await loaded(face, session=TARGET)).stored.name == ("", "1")
        await face.delete(TARGET)
        with pytest.raises(ConflictError):
            await face.copy(SESSION, TARGET, replace=life)
        assert await face.info(TARGET) is None

    async def test_a_copy_over_what_was_seen(self, face: AsyncSessionStore) -> None:
        """Nor is a target that was pinned since, or has another timeout."""
        await done(face, put("1"))
        await done(face, put("2", session=TARGET))
        changes: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: face.pin(TARGET),
            lambda: face.set_ttl(TARGET, "2h"),
            lambda: face.set_ttl(TARGET, None),
            lambda: face.set_ttl(TARGET, "2h"),
            lambda: face.pin(TARGET, pinned=False),
        )
        for change in changes:
            before = await seen(face, TARGET)
            await change()
            with pytest.raises(ConflictError):
                await face.copy(SESSION, TARGET, replace=before)
            assert (await loaded(face, session=TARGET)).stored.name == ("", "2")
        as_it_is = await seen(face, TARGET)
        assert await face.copy(SESSION, TARGET, replace=as_it_is) is not None
        assert (await loaded(face, session=TARGET)).stored.name == ("", "1")

    async def test_an_idle_timeout_of_its_own_is_told(self, face: AsyncSessionStore) -> None:
        """None where the session follows the policy; listings tell it, too."""

        async def told() -> Override:
            found = (await info(face)).idle
            assert (await listed(face))[SESSION].idle == found
            return found

        await done(face, commit(new=True))
        assert await told() is None
        await face.set_ttl(SESSION, "2h")
        assert await told() == TWO_HOURS_MS
        await face.set_ttl(SESSION, None)
        assert await told() == "none"
        await face.set_ttl(SESSION, "2h")  # so that it does not stay behind

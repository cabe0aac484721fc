"""The contract of prefixes: stores with different prefixes on one storage never see each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import pytest

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Name, Span, Start
from wren_sessions.testing.build import (
    SESSION,
    add,
    commit,
    done,
    head,
    info,
    listed,
    loaded,
    namespaces,
    pending,
    prune,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, OpenTenant, PassTime

PREFIXES: Final = ("tenant", "tenant:b", "tenant2")
"""Each begins with the first one, and a session ``b:x`` of the first is not ``x`` of the second."""

EVERYTHING: Final = (Start(""), Start("child"))

Seen: TypeAlias = tuple[object, ...]


async def fill(face: AsyncSessionStore, session: str = SESSION, body: bytes = b"body") -> None:
    """A session with a little of everything."""
    await done(face, put("1", session=session, body=body, append=body * 9, state=body))
    await done(face, put("2", session=session, body=body, parent="1"))
    await done(face, put("1", session=session, body=body, ns="child"))
    await done(face, add("2", write("task", 0, body), session=session))


async def seen(face: AsyncSessionStore, session: str = SESSION) -> Seen:
    """All that there is to be seen of a session that is there."""
    found = await face.scan(session, EVERYTHING, 99)
    arena = await face.read(session, [Span(0, 9)])
    assert arena is not None
    return (
        await info(face, session),
        found.records,
        arena.get(Span(0, 9)),
        await head(face, session=session),
        await namespaces(face, session),
        await pending(face, "2", session=session),
    )


async def check_nothing_is_seen(face: AsyncSessionStore, session: str = SESSION) -> None:
    """Make sure that a store knows nothing of a session."""
    assert await face.load(session) is None
    assert await face.load(session, "", "1") is None
    assert await face.load(session, "child") is None
    assert (await face.scan(session, EVERYTHING, 99)).records == ()
    assert await face.read(session, [Span(0, 1)]) is None
    assert await face.heads(session) == ()
    assert await face.info(session) is None
    assert session not in await listed(face)


class PrefixContract(ContractBase):
    """Prefixes: no operation of one sees, counts or changes a session of another."""

    @pytest.fixture(params=["begins", "goes on", "differs"])
    def pair(
        self, request: pytest.FixtureRequest, open_tenant: OpenTenant
    ) -> tuple[AsyncSessionStore, AsyncSessionStore]:
        """Two stores with different prefixes; one may be the beginning of the other."""
        first, longer, other = PREFIXES
        pairs = {"begins": (first, longer), "goes on": (longer, first), "differs": (first, other)}
        mine, theirs = pairs[request.param]
        return open_tenant(mine), open_tenant(theirs)

    async def test_a_session_of_another_prefix_is_not_seen(
        self, pair: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        """Every way to read it finds nothing, and a listing counts nothing."""
        mine, theirs = pair
        for session in (SESSION, "b:x", "x"):
            await fill(mine, session)
            await check_nothing_is_seen(theirs, session)
        assert await listed(theirs) == {}
        assert set(await listed(mine)) == {SESSION, "b:x", "x"}

    async def test_a_session_of_another_prefix_is_not_changed(
        self, pair: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        """Every way to change it finds nothing to change, and it stays as it is."""
        mine, theirs = pair
        await fill(mine)
        before = await seen(mine)
        life = (await info(mine)).life
        assert await theirs.touch(SESSION) is None
        assert await theirs.set_ttl(SESSION, "5d") is None
        assert await theirs.pin(SESSION) is None
        assert (await theirs.prune(prune(life, ("", "1"), free=(Span(0, 9),)))).outcome == "gone"
        assert await theirs.copy(SESSION, "copy") is None
        assert await theirs.delete(SESSION) is False
        assert await seen(mine) == before
        await check_nothing_is_seen(theirs, "copy")

    async def test_a_commit_does_not_build_on_another_prefix(
        self, pair: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        """Its conditions ask about a session of its own prefix, which is not there."""
        mine, theirs = pair
        await fill(mine)
        life = (await info(mine)).life
        witnesses: Sequence[Name] = (("", "2"),)
        for condition in (
            {"incarnation": life.incarnation},
            {"revision": life.revision},
            {"witnesses": witnesses},
        ):
            answer = await theirs.commit(put("3", **condition))
            assert answer.outcome == "gone"
        await check_nothing_is_seen(theirs)
        assert (await theirs.commit(put("3", new=True))).outcome == "done"
        assert await scan_ids(mine) == ["2", "1"]

    async def test_one_id_under_each_prefix_is_a_session_each(
        self, pair: tuple[AsyncSessionStore, AsyncSessionStore]
    ) -> None:
        """Writing, pruning, copying over and deleting one leaves the other as it is."""
        mine, theirs = pair
        await fill(mine, body=b"mine")
        before = await seen(mine)
        await fill(theirs, body=b"theirs")
        assert (await loaded(theirs)).stored.body == b"theirs"
        assert await seen(mine) == before
        life = (await info(theirs)).life
        assert (await theirs.prune(prune(life, ("", "1")))).outcome == "done"
        await done(theirs, put("1", session="source", body=b"source"))
        assert await theirs.copy("source", SESSION, replace=True) is not None
        assert await theirs.pin(SESSION) is not None
        assert (await loaded(theirs)).stored.body == b"source"
        assert await seen(mine) == before
        assert await theirs.delete(SESSION)
        assert await seen(mine) == before
        assert set(await listed(mine)) == {SESSION}
        assert set(await listed(theirs)) == {"source"}

    async def test_a_prefix_does_not_end_where_an_id_begins(self, open_tenant: OpenTenant) -> None:
        """The same characters, divided in another way, are another session."""
        first, longer, _ = map(open_tenant, PREFIXES)
        await fill(first, "b:x", b"first")
        await fill(longer, "x", b"longer")
        assert (await loaded(first, session="b:x")).stored.body == b"first"
        assert (await loaded(longer, session="x")).stored.body == b"longer"
        assert (set(await listed(first)), set(await listed(longer))) == ({"b:x"}, {"x"})
        assert await first.delete("b:x")
        assert (await loaded(longer, session="x")).stored.body == b"longer"

    async def test_listings_page_through_one_prefix(self, open_tenant: OpenTenant) -> None:
        """Pages hold the sessions of their prefix, each once, whatever lies between them."""
        faces = [open_tenant(prefix) for prefix in PREFIXES]
        for number in range(30):
            await done(faces[number % 3], commit(f"s{number:02}", state=b"{}"))
        for at, face in enumerate(faces):
            wanted = {f"s{number:02}" for number in range(at, 30, 3)}
            assert set(await listed(face, limit=4)) == wanted

    async def test_lifetimes_are_those_of_the_prefix(
        self, open_tenant: OpenTenant, pass_time: PassTime
    ) -> None:
        """What expires under one prefix, and is cleared away, stays under another."""
        mine = open_tenant(PREFIXES[0], ttl=self.idle(9))
        theirs = open_tenant(PREFIXES[1], ttl=self.idle())
        for face in (mine, theirs):
            await fill(face)
        before = await seen(mine)
        pass_time(self.ticks(5))
        await check_nothing_is_seen(theirs)
        await done(theirs, commit("another", state=b"{}"))
        assert await seen(mine) == before

    async def test_a_prefix_without_sessions_is_empty(self, open_tenant: OpenTenant) -> None:
        """A store whose prefix nobody has used yet answers, and can be written."""
        await fill(open_tenant(PREFIXES[0]))
        face = open_tenant("unused")
        await face.ping()
        assert await listed(face) == {}
        await fill(face)
        assert set(await listed(face)) == {SESSION}

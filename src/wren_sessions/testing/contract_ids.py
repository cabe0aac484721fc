"""The contract of ids: any text is a name, no two meet, and other values are refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from wren_sessions.errors import InvalidSessionIdError
from wren_sessions.keys import MAX_ID_BYTES, MAX_NAMESPACE_BYTES
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Start
from wren_sessions.testing.build import (
    SESSION,
    add,
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
from wren_sessions.testing.contract_base import ContractBase

NASTY_IDS = (
    "a",
    "A",
    "a:b",
    "a%3Ab",
    "a%3ab",
    ":",
    "::",
    "a:",
    ":a",
    "a/b",
    "/",
    "../a",
    "a%2Fb",
    "%",
    "%%",
    "%25",
    "*",
    "?",
    "[a]",
    "{a}",
    "}{",
    "\\",
    "^",
    ",",
    " ",
    "  a b ",
    "\t",
    "\n",
    "\r\n",
    "\x00",
    "a\x00b",
    "\x7f",
    "\xa0",
    "\u2028",
    "\ufeff",
    "latest",
    "Latest",
    "state",
    "%6Catest",
    ":meta",
    ":head/",
    ":a0",
    ":w/a/b",
    "-",
    "0",
    "00",
    "-1",
    "None",
    "null",
    "é",
    "e\u0301",
    "日本語",
    "🐦",
    "ß",
    "ss",
    "'; DROP TABLE sessions; --",
    '"',
    "$1",
    "x" * MAX_ID_BYTES,
    "é" * (MAX_ID_BYTES // 2),
    ":" * MAX_ID_BYTES,
)
"""Ids that a store may confuse with its own names, with patterns, or with each other."""

DEEP = [
    "|".join(f"{name}:{number:08x}-0000-4000-8000-000000000000" for number in range(depth))
    for name, depth in (
        ("customer_support_escalation", 18),
        ("研究助理" * 12, 40),
        ("{a}/*", 1_000),
    )
]
"""Namespaces as long as those of graphs within graphs."""

NO_TEXT: tuple[Any, ...] = ("\ud800", "a\udfff", 5, b"a")
INVALID: tuple[Any, ...] = ("x" * (MAX_ID_BYTES + 1), "é" * 513, *NO_TEXT)
NO_NAMESPACE: tuple[Any, ...] = ("x" * (MAX_NAMESPACE_BYTES + 1), *NO_TEXT)
NO_SESSION: tuple[Any, ...] = ("", None, *INVALID)

WITH_A_SESSION: dict[str, Callable[[AsyncSessionStore, Any], Awaitable[object]]] = {
    "commit": lambda face, bad: face.commit(put("1", session=bad)),
    "load": lambda face, bad: face.load(bad),
    "scan": lambda face, bad: face.scan(bad, [Start("")], 10),
    "read": lambda face, bad: face.read(bad, []),
    "heads": lambda face, bad: face.heads(bad),
    "info": lambda face, bad: face.info(bad),
    "touch": lambda face, bad: face.touch(bad),
    "set_ttl": lambda face, bad: face.set_ttl(bad, "24h"),
    "pin": lambda face, bad: face.pin(bad),
    "delete": lambda face, bad: face.delete(bad),
    "copy": lambda face, bad: face.copy(bad, "target"),
    "copy to": lambda face, bad: face.copy(SESSION, bad, replace=True),
}
WITH_A_NAMESPACE: dict[str, Callable[[AsyncSessionStore, Any], Awaitable[object]]] = {
    "commit": lambda face, bad: face.commit(put("1", ns=bad)),
    "writes": lambda face, bad: face.commit(add("1", write("task", 0, b"v"), ns=bad)),
    "load": lambda face, bad: face.load(SESSION, bad),
    "load one": lambda face, bad: face.load(SESSION, bad, "1"),
    "scan": lambda face, bad: face.scan(SESSION, [Start(bad)], 10),
}
WITH_A_CHECKPOINT: dict[str, Callable[[AsyncSessionStore, Any], Awaitable[object]]] = {
    "commit": lambda face, bad: face.commit(put(bad)),
    "writes": lambda face, bad: face.commit(add(bad, write("task", 0, b"v"))),
    "load": lambda face, bad: face.load(SESSION, "", bad),
}


def short(value: object) -> str:
    """The name of a test case."""
    return ascii(value)[:24]


class IdContract(ContractBase):
    """Ids: any text of at most 1,024 bytes, and nothing else; namespaces may have 1 MiB."""

    @pytest.mark.parametrize("nasty", NASTY_IDS, ids=short)
    async def test_any_text_is_an_id(self, face: AsyncSessionStore, nasty: str) -> None:
        """Session, namespace, checkpoint and task may be any text, and come back as they were."""
        for ns in ("", nasty):
            await done(face, put(nasty, ns=ns, parent=nasty, session=nasty, append=b"some"))
            entries = (write(nasty, 0, b"a"), write(nasty, 1, b"b", replaces=True))
            await done(face, add(nasty, *entries, ns=ns, session=nasty))
            found = (await loaded(face, nasty, ns=ns, session=nasty)).stored
            assert found.name == (ns, nasty)
            assert {entry.body for entry in found.writes} == {b"a", b"b"}
            assert await head(face, ns, nasty) == nasty
            assert await scan_ids(face, Start(ns), session=nasty) == [nasty]
        assert await namespaces(face, nasty) == ("", nasty)
        assert set(await listed(face)) == {nasty}
        assert (await info(face, nasty)).session == nasty
        assert await face.touch(nasty) is not None
        assert await face.copy(nasty, "copy of it") is not None
        assert await face.delete(nasty)

    async def test_no_two_sessions_meet(self, face: AsyncSessionStore) -> None:
        """Sessions with names that look alike are different sessions."""
        for nasty in NASTY_IDS:
            await done(face, put("1", session=nasty, body=nasty.encode(), new=True))
        for nasty in NASTY_IDS:
            found = await loaded(face, session=nasty)
            assert found.stored.body == nasty.encode()
        assert set(await listed(face, limit=7)) == set(NASTY_IDS)
        for gone, nasty in enumerate(NASTY_IDS, 1):
            assert await face.delete(nasty)
            assert len(await listed(face)) == len(NASTY_IDS) - gone

    async def test_no_two_checkpoints_meet(self, face: AsyncSessionStore) -> None:
        """Checkpoints and namespaces with names that look alike are different ones."""
        names = [(ns, "1") for ns in ("", *NASTY_IDS)]
        names += [("", nasty) for nasty in NASTY_IDS] + [("a", "b"), ("", "a/1"), ("a", "a/1")]
        for ns, checkpoint_id in names:
            body = f"{ns}|{checkpoint_id}".encode()
            await done(face, put(checkpoint_id, ns=ns, body=body))
            await done(face, add(checkpoint_id, write("task", 0, body), ns=ns))
        for ns, checkpoint_id in names:
            body = f"{ns}|{checkpoint_id}".encode()
            assert (await loaded(face, checkpoint_id, ns=ns)).stored.body == body
            assert await pending(face, checkpoint_id, ns=ns) == {"task/0": body}

    @pytest.mark.parametrize("bad", NO_SESSION, ids=short)
    @pytest.mark.parametrize("call", WITH_A_SESSION)
    async def test_what_is_no_session_id_is_refused(
        self, face: AsyncSessionStore, call: str, bad: Any
    ) -> None:
        """A session id that cannot be a name is an error, and changes nothing."""
        await self.refused_id(face, WITH_A_SESSION[call], bad)

    async def test_namespaces_may_be_long(self, face: AsyncSessionStore) -> None:
        """Namespaces that differ at their ends alone are two; each is read, listed, and dropped."""
        spaces = [f"{deep}{end}" for deep in DEEP for end in ("", "|a", "|b", "/1")]
        for space in spaces:
            body = space.encode()
            await done(face, put("1", ns=space, body=body, append=b"some"))
            await done(face, put("2", ns=space, parent="1", body=body))
            entries = (write("task", 0, body), write("task", 1, body, replaces=True))
            await done(face, add("2", *entries, ns=space))
        assert await namespaces(face) == tuple(spaces)
        for space in spaces:
            assert (await loaded(face, ns=space)).stored.body == space.encode()
            assert await head(face, space) == "2"
            assert await scan_ids(face, Start(space)) == ["2", "1"]
            found = await pending(face, "2", ns=space)
            assert found == {"task/0": space.encode(), "task/1": space.encode()}
        assert await face.copy(SESSION, "copy of it") is not None
        assert await namespaces(face, "copy of it") == tuple(spaces)
        life = (await info(face)).life
        dropped = await face.prune(prune(life, (spaces[0], "1"), (spaces[0], "2")))
        assert dropped.outcome == "done"
        assert await namespaces(face) == tuple(spaces[1:])

    @pytest.mark.parametrize("bad", NO_NAMESPACE, ids=short)
    @pytest.mark.parametrize("call", WITH_A_NAMESPACE)
    async def test_what_is_no_namespace_is_refused(
        self, face: AsyncSessionStore, call: str, bad: Any
    ) -> None:
        """A namespace that cannot be a name is an error, and changes nothing."""
        await self.refused_id(face, WITH_A_NAMESPACE[call], bad)

    @pytest.mark.parametrize("bad", ["", *INVALID], ids=short)
    @pytest.mark.parametrize("call", WITH_A_CHECKPOINT)
    async def test_what_is_no_checkpoint_id_is_refused(
        self, face: AsyncSessionStore, call: str, bad: Any
    ) -> None:
        """A checkpoint id that cannot be a name is an error, and changes nothing."""
        await self.refused_id(face, WITH_A_CHECKPOINT[call], bad)

    async def refused_id(
        self,
        face: AsyncSessionStore,
        call: Callable[[AsyncSessionStore, Any], Awaitable[object]],
        bad: object,
    ) -> None:
        """Make a call that must be refused, and make sure that nothing changed."""
        await done(face, put("3"))
        before = await info(face)
        with pytest.raises(InvalidSessionIdError) as caught:
            await call(face, bad)
        assert caught.value.value == bad
        assert await info(face) == before
        assert set(await listed(face)) == {SESSION}

"""The contract of records: load, the head, namespaces."""

from __future__ import annotations

import pytest

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.testing.build import (
    SESSION,
    add,
    done,
    head,
    loaded,
    namespaces,
    pending,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase

BYTE_ORDER = ("0", "1", "B", "a", "a9", "a:", "aa", "b", "~", "é", "ÿ", "～", "𝄞")
"""Ids as their UTF-8 bytes are ordered: not as a locale, UTF-16 or encoded names order them."""

SHUFFLED = ("aa", "𝄞", "1", "a:", "ÿ", "0", "é", "a", "～", "b", "B", "~", "a9")


class RecordContract(ContractBase):
    """Records: what goes in comes out, and the head leads."""

    async def test_a_record_comes_back_as_it_was(self, face: AsyncSessionStore) -> None:
        """A checkpoint is loaded by its id, with the bytes it was committed with."""
        body = bytes(range(256)) * 3
        committed = await done(face, put("1", body=body))
        found = await loaded(face, "1")
        assert found.stored.name == ("", "1")
        assert found.stored.body == body
        assert found.stored.base == committed.base
        assert found.stored.writes == ()
        assert committed.life is not None
        assert found.life.incarnation == committed.life.incarnation

    async def test_a_body_may_be_empty(self, face: AsyncSessionStore) -> None:
        """A record with an empty body is a record."""
        await done(face, put("1", body=b""))
        assert (await loaded(face)).stored.body == b""

    async def test_what_is_not_there_is_a_miss(self, face: AsyncSessionStore) -> None:
        """A session, namespace or checkpoint that is not there loads as None."""
        assert await face.load(SESSION) is None
        assert await face.load(SESSION, "", "1") is None
        await done(face, put("1"))
        assert await face.load(SESSION, "", "2") is None
        assert await face.load(SESSION, "child", None) is None
        assert await face.load(SESSION, "child", "1") is None
        assert await face.load("another") is None

    async def test_a_record_written_again_is_replaced(self, face: AsyncSessionStore) -> None:
        """A second commit of a checkpoint replaces its body and keeps its pending writes."""
        await done(face, put("1", body=b"old"))
        await done(face, add("1", write("task", 0, b"kept")))
        await done(face, put("2"))
        await done(face, put("1", body=b"new"))
        assert (await loaded(face, "1")).stored.body == b"new"
        assert list((await pending(face, "1")).values()) == [b"kept"]
        assert await scan_ids(face) == ["2", "1"]

    # --- the head ---------------------------------------------------------------------------------

    async def test_the_head_is_the_highest_id(self, face: AsyncSessionStore) -> None:
        """A record with a higher id becomes the head, whatever its parent."""
        await done(face, put("1"))
        await done(face, put("3", parent="nowhere"))
        assert await head(face) == "3"

    async def test_a_lower_id_does_not_become_the_head(self, face: AsyncSessionStore) -> None:
        """A record with a lower id that does not continue the head leaves it where it is."""
        await done(face, put("3"))
        await done(face, put("1"))
        await done(face, put("2", parent="1"))
        assert await head(face) == "3"

    async def test_a_lower_id_that_continues_the_head_becomes_it(
        self, face: AsyncSessionStore
    ) -> None:
        """A machine whose clock is behind continues the head, although its ids are lower."""
        await done(face, put("5"))
        await done(face, put("3", parent="5"))
        assert await head(face) == "3"
        await done(face, put("2", parent="3"))
        assert await head(face) == "2"
        assert await scan_ids(face) == ["5", "3", "2"]

    async def test_the_head_is_compared_with_the_head_only(self, face: AsyncSessionStore) -> None:
        """After the head moved to a lower id, an id between it and the highest leads again."""
        await done(face, put("5"))
        await done(face, put("2", parent="5"))
        await done(face, put("4", parent="1"))
        assert await head(face) == "4"

    async def test_the_head_written_again_stays_the_head(self, face: AsyncSessionStore) -> None:
        """Replacing a record moves the head neither away from it nor to it."""
        await done(face, put("1"))
        await done(face, put("2", parent="1"))
        await done(face, put("2", parent="1"))
        assert await head(face) == "2"
        await done(face, put("1"))
        assert await head(face) == "2"

    async def test_each_namespace_has_its_head(self, face: AsyncSessionStore) -> None:
        """A record moves the head of its own namespace only."""
        await done(face, put("1"))
        await done(face, put("9", ns="child"))
        await done(face, put("5", ns="child:grandchild"))
        assert [await head(face, ns) for ns in ("", "child", "child:grandchild")] == ["1", "9", "5"]

    @pytest.mark.parametrize("ids", [BYTE_ORDER, BYTE_ORDER[::-1], SHUFFLED])
    async def test_ids_are_compared_as_bytes(
        self, face: AsyncSessionStore, ids: tuple[str, ...]
    ) -> None:
        """Head and scan follow the bytes of UTF-8, whatever the order of arrival."""
        for checkpoint_id in ids:
            await done(face, put(checkpoint_id))
        assert await head(face) == BYTE_ORDER[-1]
        assert await scan_ids(face) == list(BYTE_ORDER[::-1])

    # --- namespaces -------------------------------------------------------------------------------

    async def test_namespaces_come_in_the_order_of_their_first_record(
        self, face: AsyncSessionStore
    ) -> None:
        """A session names its namespaces in the order in which they got a checkpoint."""
        assert await namespaces(face, SESSION) == ()
        for ns in ("z", "", "a", "z", "m", ""):
            await done(face, put("1", ns=ns))
        assert await namespaces(face, SESSION) == ("z", "", "a", "m")

    async def test_heads_are_named(self, face: AsyncSessionStore) -> None:
        """Each namespace is named with its head, which need not be its highest id."""
        await done(face, put("5"))
        await done(face, put("1", ns="child"))
        await done(face, put("3", parent="5"))
        await done(face, put("2", ns="child"))
        assert await face.heads(SESSION) == (("", "3"), ("child", "2"))

    async def test_pending_writes_make_no_namespace(self, face: AsyncSessionStore) -> None:
        """A namespace that only has pending writes is not named."""
        await done(face, add("1", write("task", 0, b"value"), ns="child"))
        assert await namespaces(face, SESSION) == ()

    async def test_namespaces_do_not_mix(self, face: AsyncSessionStore) -> None:
        """The same id in two namespaces is two records."""
        await done(face, put("1", body=b"root"))
        await done(face, put("1", ns="child", body=b"child"))
        assert (await loaded(face, "1")).stored.body == b"root"
        assert (await loaded(face, "1", ns="child")).stored.body == b"child"
        assert await scan_ids(face) == ["1"]

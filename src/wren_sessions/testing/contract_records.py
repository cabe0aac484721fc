"""The contract of records: load, the head, namespaces; and scans, page by page."""

from __future__ import annotations

import pytest

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Start
from wren_sessions.testing.build import (
    SESSION,
    add,
    done,
    head,
    info,
    loaded,
    namespaces,
    pending,
    prune,
    put,
    scan_ids,
    scan_pages,
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


class ScanContract(ContractBase):
    """Scans: every record once, in the order asked for."""

    async def test_a_scan_brings_records_and_writes(self, face: AsyncSessionStore) -> None:
        """A scan gives each record whole, with its pending writes."""
        await done(face, put("1", body=b"one"))
        await done(face, add("1", write("task", 0, b"value")))
        committed = await done(face, put("2", body=b"two", append=b"own"))
        page = await face.scan(SESSION, [Start("")], 10)
        two, one = page.records
        assert (two.name, two.body, two.base) == (("", "2"), b"two", committed.base)
        assert two.spans == ((committed.base, 3),)
        assert (one.name, one.body) == (("", "1"), b"one")
        assert [entry.body for entry in one.writes] == [b"value"]
        assert page.rest == ()
        assert page.life is not None
        assert page.life.revision == committed.life.revision  # type: ignore[union-attr]

    async def test_a_record_tells_which_one_is_below_it(self, face: AsyncSessionStore) -> None:
        """Of its namespace, among those that are there: in loads and scans, and after a prune."""
        for ns in ("", "child"):
            for checkpoint_id in ("4", "6", "2", "a:b", "8"):
                await done(face, put(checkpoint_id, ns=ns))
        expected: dict[str, str | None] = {"a:b": "8", "8": "6", "6": "4", "4": "2", "2": None}
        await self._tells(face, "", expected)
        life = (await info(face)).life
        names = (("child", "2"), ("child", "6"), ("child", "8"))
        assert (await face.prune(prune(life, *names))).outcome == "done"
        await self._tells(face, "child", {"a:b": "4", "4": None})
        await self._tells(face, "", expected)

    async def _tells(
        self, face: AsyncSessionStore, ns: str, expected: dict[str, str | None]
    ) -> None:
        head = await loaded(face, ns=ns)
        assert head.stored.below == expected[head.stored.name[1]]
        for checkpoint_id, below in expected.items():
            assert (await loaded(face, checkpoint_id, ns=ns)).stored.below == below
        for limit in (1, 2, 10):
            found: dict[str, str | None] = {}
            rest: tuple[Start, ...] = (Start(ns),)
            while rest:
                page = await face.scan(SESSION, rest, limit)
                found |= {stored.name[1]: stored.below for stored in page.records}
                rest = page.rest
            assert found == expected

    async def test_a_scan_of_nothing_is_empty(self, face: AsyncSessionStore) -> None:
        """A scan of what is not there finds nothing and has no rest."""
        for starts in ([], [Start("")], [Start("", "1"), Start("child")]):
            page = await face.scan(SESSION, starts, 10)
            assert (page.records, page.rest, page.life) == ((), (), None)
        await done(face, put("1"))
        page = await face.scan(SESSION, [Start("child"), Start("", "1")], 10)
        assert (page.records, page.rest) == ((), ())

    @pytest.mark.parametrize(
        ("before", "ids"),
        [
            (None, ["6", "4", "2"]),
            ("7", ["6", "4", "2"]),
            ("6", ["4", "2"]),
            ("5", ["4", "2"]),
            ("4", ["2"]),
            ("2", []),
            ("1", []),
        ],
    )
    async def test_a_scan_starts_below_an_id(
        self, face: AsyncSessionStore, before: str | None, ids: list[str]
    ) -> None:
        """The id below which a scan starts need not be there."""
        for checkpoint_id in ("4", "6", "2"):
            await done(face, put(checkpoint_id))
        assert await scan_ids(face, Start("", before)) == ids

    async def test_a_scan_starts_at_the_highest_id_not_at_the_head(
        self, face: AsyncSessionStore
    ) -> None:
        """Records above the head are found too."""
        await done(face, put("5"))
        await done(face, put("3", parent="5"))
        assert await scan_ids(face) == ["5", "3"]

    async def test_a_scan_names_the_heads(self, face: AsyncSessionStore) -> None:
        """Each page names the latest checkpoint of the namespaces that it reached, there or not."""
        await done(face, put("5"))
        await done(face, put("3", parent="5"))
        await done(face, put("1", ns="child"))
        starts = [Start("nowhere"), Start("", "3"), Start("child")]
        assert (await face.scan(SESSION, starts, 10)).heads == {"": "3", "child": "1"}
        page = await face.scan(SESSION, [Start(""), Start("child")], 1)
        assert page.heads == {"": "3"}
        assert (await face.scan(SESSION, page.rest, 10)).heads == {"": "3", "child": "1"}
        assert (await face.scan(SESSION, [Start("", "0")], 1)).heads == {"": "3"}
        assert (await face.scan("nobody", [Start("")], 1)).heads == {}

    async def test_the_next_higher_id_starts_with_the_id(self, face: AsyncSessionStore) -> None:
        """A scan from an id and a NUL brings that id first, whether it is there or not."""
        for checkpoint_id in ("2", "4", "4\0", "6"):
            await done(face, put(checkpoint_id))
        assert await scan_ids(face, Start("", "4\0")) == ["4", "2"]
        assert await scan_ids(face, Start("", "4\0\0")) == ["4\0", "4", "2"]
        assert await scan_ids(face, Start("", "5\0")) == ["4\0", "4", "2"]

    @pytest.mark.parametrize("limit", range(1, 9))
    async def test_a_scan_goes_on_where_it_stopped(
        self, face: AsyncSessionStore, limit: int
    ) -> None:
        """Pages of any size, put together, give every record of each namespace once, in order."""
        for ns, ids in (("", "2413"), ("b", "12"), ("a", "1")):
            for checkpoint_id in ids:
                await done(face, put(checkpoint_id, ns=ns))
        starts = [Start("a"), Start("nowhere"), Start("", "4"), Start("b")]
        pages = await scan_pages(face, starts, limit)
        assert all(len(page) <= limit for page in pages)
        found = [stored.name for page in pages for stored in page]
        wanted = [("a", "1"), ("", "3"), ("", "2"), ("", "1"), ("b", "2"), ("b", "1")]
        assert found == wanted

    async def test_a_scan_that_ends_with_its_page_has_no_rest(
        self, face: AsyncSessionStore
    ) -> None:
        """There is a rest if, and only if, there are more records."""
        await done(face, put("1"))
        await done(face, put("2"))
        assert (await face.scan(SESSION, [Start("")], 2)).rest == ()
        page = await face.scan(SESSION, [Start("")], 1)
        assert page.rest != ()
        assert page.life is not None

    async def test_a_record_that_comes_late_is_scanned_in_its_place(
        self, face: AsyncSessionStore
    ) -> None:
        """Records that arrive in any order are scanned by descending id."""
        for checkpoint_id in ("5", "1", "3", "9", "2", "7", "0"):
            await done(face, put(checkpoint_id))
        assert await scan_ids(face) == ["9", "7", "5", "3", "2", "1", "0"]

"""The contract of the arena: bytes that are appended once and read in spans."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Held, Span, merge_spans, missing
from wren_sessions.testing.build import SESSION, appended, arena, commit, done, loaded, put
from wren_sessions.testing.contract_base import ContractBase

SIZES = (1, 2_031, 1, 2_032, 2_033, 4_064, 5, 60_000, 70_000)
"""Lengths that meet the edges of whatever a store cuts its arena into."""


def noise(length: int, seed: int = 0) -> bytes:
    """Bytes of every value, the same for the same seed."""
    return random.Random(seed).randbytes(length)  # noqa: S311 -- test data


class ArenaContract(ContractBase):
    """The arena: offsets are the store's, bytes are the caller's."""

    async def test_appended_bytes_start_at_the_base(self, face: AsyncSessionStore) -> None:
        """A record's own bytes are found at the base that its commit answered."""
        for number, size in enumerate(SIZES):
            committed = await done(face, put(str(number), append=noise(size, number)))
            assert (await loaded(face, str(number))).stored.base == committed.base
        for number, size in enumerate(SIZES):
            assert await appended(face, str(number), size) == noise(size, number)

    async def test_appends_do_not_overlap(self, face: AsyncSessionStore) -> None:
        """Each record has a range of the arena for itself, which `load` names."""
        spans = []
        for number, size in enumerate(SIZES):
            base = (await done(face, put(str(number), append=noise(size, number)))).base
            spans.append(Span(base, size))
            assert (await loaded(face)).stored.spans == (spans[-1],)
        assert all(one.end <= other.offset for one, other in pairwise(spans))

    async def test_load_brings_the_spans_of_a_record(self, face: AsyncSessionStore) -> None:
        """What a record refers to comes with it, its own bytes included."""
        a = (await done(face, put("1", append=b"aaaa"))).base
        b = (await done(face, put("2", append=b"bbbb"))).base
        spans = (Span(b, 2), Span(a + 1, 2))
        c = (await done(face, put("3", append=b"cc", spans=spans))).base
        found = await loaded(face, "3")
        parts = await arena(face, found)
        assert [parts.get(span) for span in (*spans, Span(c, 2))] == [b"bb", b"aa", b"cc"]
        assert found.stored.spans == (Span(a + 1, 2), Span(b, 2), Span(c, 2))

    async def test_a_list_that_grows_is_read_in_one_piece(self, face: AsyncSessionStore) -> None:
        """A record may refer to all that was appended before it, over many commits."""
        whole, span = b"", Span(0, 0)
        for number in range(60):
            element = noise(150, number)
            spans = (span,) if span.length else ()
            base = (await done(face, put(f"{number:03}", append=element, spans=spans))).base
            whole += element
            span = Span(base + len(element) - len(whole), len(whole))
        found = await loaded(face)
        assert (await arena(face, found)).get(span) == whole

    async def test_a_record_may_append_nothing(self, face: AsyncSessionStore) -> None:
        """A record without bytes of its own leaves the arena as it is."""
        base = (await done(face, put("1", append=b"some"))).base
        await done(face, put("2"))
        found = await loaded(face, "2")
        assert found.stored.spans == ()
        assert (await done(face, put("3", spans=(Span(base, 4),)))).life is not None
        assert (await arena(face, await loaded(face, "3"))).get(Span(base, 4)) == b"some"

    async def test_a_commit_without_record_has_base_0(self, face: AsyncSessionStore) -> None:
        """A header alone takes nothing of the arena."""
        await done(face, put("1", append=b"some"))
        assert (await done(face, commit(state=b"{}"))).base == 0

    async def test_a_large_value_comes_back(self, face: AsyncSessionStore) -> None:
        """Three megabytes are appended and read, with the record or in a second call."""
        large = noise(3_000_000)
        await done(face, put("1", append=b"before"))
        base = (await done(face, put("2", append=large))).base
        await done(face, put("3", append=b"behind", spans=(Span(base, len(large)),)))
        assert await appended(face, "2", len(large)) == large
        found = await loaded(face)
        assert (await arena(face, found)).get(Span(base, len(large))) == large

    async def test_a_large_body_comes_back(self, face: AsyncSessionStore) -> None:
        """The body of a record may be a megabyte."""
        body = noise(1_000_000)
        await done(face, put("1", body=body))
        assert (await loaded(face)).stored.body == body

    async def test_any_part_can_be_read(self, face: AsyncSessionStore) -> None:
        """Spans are read across the borders of commits, in any order."""
        whole = noise(30_000)
        bases = [
            (await done(face, put(f"{at:05}", append=whole[at : at + 1_000]))).base
            for at in range(0, 30_000, 1_000)
        ]
        assert bases == [bases[0] + at for at in range(0, 30_000, 1_000)]
        spans = [Span(20_000, 9_999), Span(0, 1), Span(1_999, 2), Span(4_063, 8_130)]
        parts = await face.read(SESSION, [Span(bases[0] + at, length) for at, length in spans])
        assert parts is not None
        for at, length in spans:
            assert parts.get(Span(bases[0] + at, length)) == whole[at : at + length]

    async def test_reading_what_is_not_there_is_a_miss(self, face: AsyncSessionStore) -> None:
        """A read is None if the session is not there, or the arena does not reach that far."""
        assert await face.read(SESSION, [Span(0, 1)]) is None
        assert await face.read(SESSION, []) is None
        base = (await done(face, put("1", append=b"four"))).base
        assert await face.read(SESSION, [Span(base, 5)]) is None
        assert await face.read(SESSION, [Span(base, 2), Span(base + 4, 1)]) is None
        assert await face.read(SESSION, [Span(base + 100_000, 1)]) is None

    async def test_reading_no_spans_is_no_miss(self, face: AsyncSessionStore) -> None:
        """A read of nothing from a session that is there gives nothing."""
        await done(face, put("1"))
        parts = await face.read(SESSION, [])
        assert parts is not None
        assert parts.get(Span(0, 1)) is None

    async def test_a_record_written_again_appends_again(self, face: AsyncSessionStore) -> None:
        """A replaced record has new bytes of its own; the old ones stay readable."""
        old = (await done(face, put("1", append=b"old"))).base
        new = (await done(face, put("1", append=b"newer"))).base
        assert (await loaded(face)).stored.spans == (Span(new, 5),)
        assert await appended(face, "1", 5) == b"newer"
        parts = await face.read(SESSION, [Span(old, 3)])
        assert parts is not None
        assert parts.get(Span(old, 3)) == b"old"

    @pytest.mark.parametrize("other", ["another", "cli_20251108_145739 "])
    async def test_sessions_do_not_share_an_arena(
        self, face: AsyncSessionStore, other: str
    ) -> None:
        """Appending to one session leaves the offsets and bytes of another alone."""
        await done(face, put("1", append=b"mine"))
        await done(face, put("1", session=other, append=b"theirs"))
        assert await appended(face, "1", 4) == b"mine"
        assert await appended(face, "1", 6, session=other) == b"theirs"

    async def test_what_the_caller_holds_may_be_left_out(self, face: AsyncSessionStore) -> None:
        """All else comes, and the spans are named in full."""
        sizes = (9_000, 3_000, 7_000)
        spans: list[Span] = []
        for number, size in enumerate(sizes):
            record = put(str(number), append=noise(size, number), spans=tuple(spans))
            spans.append(Span((await done(face, record)).base, size))
        whole = await loaded(face)
        assert whole.stored.spans == merge_spans(spans)
        for held in (spans[:1], spans[1:2], [Span(spans[1].offset - 500, 4_000)], spans):
            there = Held(whole.life.incarnation, tuple(held))
            found = await face.load(SESSION, "", None, there)
            assert found is not None
            assert found.stored == whole.stored
            for span in missing(found.stored.spans, there, found.life.incarnation):
                given = (await arena(face, found)).get(span)
                assert given == (await arena(face, whole)).get(span)

    async def test_what_is_held_of_another_session_does_not_count(
        self, face: AsyncSessionStore
    ) -> None:
        """Of one that was there before, under the same id."""
        await done(face, put("1", append=noise(5_000)))
        before = (await loaded(face)).life
        await face.delete(SESSION)
        base = (await done(face, put("1", append=noise(5_000, 1)))).base
        found = await face.load(SESSION, "", None, Held(before.incarnation, (Span(0, 5_000),)))
        assert found is not None
        assert (await arena(face, found)).get(Span(base, 5_000)) == noise(5_000, 1)

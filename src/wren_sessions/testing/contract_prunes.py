"""The contract of pruning: records go with what only they need, and nothing else goes."""

from __future__ import annotations

import pytest

from wren_sessions.errors import InvalidSessionIdError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Committed, Name, Span
from wren_sessions.testing.build import (
    SESSION,
    add,
    appended,
    arena,
    commit,
    done,
    head,
    info,
    listed,
    loaded,
    pending,
    prune,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, OpenFace, PassTime

LARGE = bytes(range(256)) * 2_000


class PruneContract(ContractBase):
    """Pruning: whole records, worked out from a session that did not change since."""

    async def pruned(
        self,
        face: AsyncSessionStore,
        *names: Name,
        keep: tuple[Span, ...] = (),
        free: tuple[Span, ...] = (),
        heads: tuple[Name, ...] = (),
    ) -> Committed:
        """Prune the session as it is now, and make sure that it was done."""
        life = (await info(face)).life
        committed = await face.prune(prune(life, *names, keep=keep, free=free, heads=heads))
        assert committed.outcome == "done"
        return committed

    async def test_a_record_is_dropped_with_its_writes(self, face: AsyncSessionStore) -> None:
        """Nothing of a dropped checkpoint is left, and the others stay as they are."""
        for checkpoint_id in ("1", "2", "3", "4"):
            await done(face, put(checkpoint_id, body=checkpoint_id.encode()))
            entries = (write("task", 0, b"a"), write("task", -1, b"b", replaces=True))
            await done(face, add(checkpoint_id, *entries))
        await self.pruned(face, ("", "3"), ("", "1"))
        assert await scan_ids(face) == ["4", "2"]
        assert await face.load(SESSION, "", "1") is None
        assert (await loaded(face, "2")).stored.body == b"2"
        assert await pending(face, "2") == {"task/0": b"a", "task/-1": b"b"}
        await done(face, put("3"))
        assert await pending(face, "3") == {}
        assert await scan_ids(face) == ["4", "3", "2"]

    async def test_many_records_are_dropped_at_once(self, face: AsyncSessionStore) -> None:
        """A long history is pruned in one call."""
        ids = [f"{number:04}" for number in range(600)]
        for checkpoint_id in ids:
            await done(face, put(checkpoint_id))
        await self.pruned(face, *(("", checkpoint_id) for checkpoint_id in ids[:-5]))
        assert await scan_ids(face) == ids[:-6:-1]

    async def test_writes_that_wait_are_dropped(self, face: AsyncSessionStore) -> None:
        """Pending writes of a checkpoint that never came can be dropped too."""
        await done(face, put("1"))
        await done(face, add("2", write("task", 0, b"early")))
        await self.pruned(face, ("", "2"))
        await done(face, put("2"))
        assert await pending(face, "2") == {}

    async def test_writes_whose_record_can_come_stay(self, face: AsyncSessionStore) -> None:
        """Whatever is dropped below: in their own namespace or in another one."""
        for checkpoint_id in ("1", "2", "4"):
            await done(face, put(checkpoint_id))
        places = (("", "3"), ("", "5"), ("child", "1"))
        for ns, checkpoint_id in places:
            await done(face, add(checkpoint_id, write("task", 0, b"early"), ns=ns))
        await self.pruned(face, ("", "1"))
        await self.pruned(face, heads=(("", "2"),))
        for ns, checkpoint_id in places:
            await done(face, put(checkpoint_id, ns=ns))
            assert await pending(face, checkpoint_id, ns=ns) == {"task/0": b"early"}

    async def test_a_record_that_is_not_there_is_no_error(self, face: AsyncSessionStore) -> None:
        """Dropping what is not there changes no record."""
        await done(face, put("1"))
        await done(face, put("1", ns="child"))
        await self.pruned(face, ("", "2"), ("child", "2"), ("nowhere", "1"))
        assert await scan_ids(face) == ["1"]
        assert await face.heads(SESSION) == (("", "1"), ("child", "1"))

    # --- heads ------------------------------------------------------------------------------------

    async def test_the_highest_id_left_becomes_the_head(self, face: AsyncSessionStore) -> None:
        """A namespace that loses its head gets another one; one that does not keeps it."""
        for checkpoint_id, parent in (("1", None), ("6", "1"), ("3", "6"), ("2", "3")):
            await done(face, put(checkpoint_id, parent=parent))
        await self.pruned(face, ("", "6"), ("", "1"))
        assert await head(face) == "2"
        await self.pruned(face, ("", "2"))
        assert await head(face) == "3"
        await done(face, put("4"))
        assert await head(face) == "4"
        assert await scan_ids(face) == ["4", "3"]

    async def test_a_prune_names_heads(self, face: AsyncSessionStore) -> None:
        """What is named leads its namespace, whatever its id, also if nothing is dropped there."""
        for ns in ("", "child", "other"):
            for checkpoint_id in ("2", "4", "6"):
                await done(face, put(checkpoint_id, ns=ns))
        await self.pruned(face, ("", "6"), heads=(("", "2"), ("child", "4")))
        assert await face.heads(SESSION) == (("", "2"), ("child", "4"), ("other", "6"))
        assert (await loaded(face)).stored.name == ("", "2")
        await done(face, put("1", parent="2"))
        assert await head(face) == "1"
        assert await scan_ids(face) == ["4", "2", "1"]

    async def test_a_head_that_is_not_there_does_not_count(self, face: AsyncSessionStore) -> None:
        """One that never was, or that goes with the same prune, is no head."""
        for checkpoint_id in ("2", "4", "6"):
            await done(face, put(checkpoint_id))
        await self.pruned(face, ("", "4"), heads=(("", "4"), ("nowhere", "2")))
        assert await face.heads(SESSION) == (("", "6"),)
        await self.pruned(face, ("", "6"), heads=(("", "5"),))
        assert await face.heads(SESSION) == (("", "2"),)

    async def test_a_namespace_may_go(self, face: AsyncSessionStore) -> None:
        """A namespace that loses its last record is not named, until it gets one again."""
        for ns in ("a", "b", "", "c"):
            await done(face, put("1", ns=ns))
        await self.pruned(face, ("b", "1"))
        assert await face.heads(SESSION) == (("a", "1"), ("", "1"), ("c", "1"))
        assert await face.load(SESSION, "b") is None
        await self.pruned(face, ("a", "1"), ("c", "1"))
        assert await face.heads(SESSION) == (("", "1"),)
        await done(face, put("0", ns="a"))
        assert await face.heads(SESSION) == (("", "1"), ("a", "0"))

    async def test_a_session_without_records_is_deleted(self, face: AsyncSessionStore) -> None:
        """A session that loses its last record goes, with its header, settings and writes."""
        await done(face, put("1", append=b"some", state=b"{}"))
        await done(face, put("1", ns="child"))
        await done(face, add("9", write("task", 0, b"waits")))
        await face.pin(SESSION)
        committed = await self.pruned(face, ("", "1"), ("child", "1"))
        assert committed.life is None
        assert await face.info(SESSION) is None
        assert await listed(face) == {}
        life = (await done(face, put("9"))).life
        assert life is not None
        assert (life.revision, life.pinned) == (1, False)
        assert await pending(face, "9") == {}

    async def test_a_session_that_had_no_records_stays(self, face: AsyncSessionStore) -> None:
        """Writes that wait for their checkpoint are not lost because nothing was dropped."""
        await done(face, add("1", write("task", 0, b"early"), state=b"{}"))
        committed = await self.pruned(face, ("", "2"))
        assert committed.life is not None
        await done(face, put("1"))
        assert await pending(face, "1") == {"task/0": b"early"}

    # --- the arena --------------------------------------------------------------------------------

    async def test_offsets_do_not_move(self, face: AsyncSessionStore) -> None:
        """What stays is read where it was, and what comes is appended behind all that ever was."""
        bases = [
            (await done(face, put(str(at), append=bytes([at]) * 5_000))).base for at in range(6)
        ]
        spans = [Span(base, 5_000) for base in bases]
        keep, free = (spans[1], *spans[3:]), (spans[0], spans[2])
        await self.pruned(face, ("", "0"), ("", "2"), keep=keep, free=free)
        for at in (1, 3, 4, 5):
            assert await appended(face, str(at), 5_000) == bytes([at]) * 5_000
        assert (await done(face, put("6", append=b"new", spans=(spans[4],)))).base == spans[5].end
        found = await loaded(face)
        assert (await arena(face, found)).get(spans[4]) == bytes([4]) * 5_000
        assert await appended(face, "6", 3) == b"new"

    async def test_what_is_kept_counts_more(self, face: AsyncSessionStore) -> None:
        """Bytes that are to be kept stay, also where they lie in what is to be freed."""
        base = (await done(face, put("1", append=LARGE))).base
        middle = Span(base + 100_000, 50_000)
        await done(face, put("2", spans=(middle,)))
        free = (Span(base, 100_000), Span(middle.end, len(LARGE) - 150_000))
        await self.pruned(face, ("", "1"), keep=(middle,), free=free)
        found = await loaded(face, "2")
        assert (await arena(face, found)).get(middle) == LARGE[100_000:150_000]

    async def test_room_is_given_back(self, face: AsyncSessionStore) -> None:
        """A session from which much was dropped takes less, unless the store cannot say."""
        base = (await done(face, put("1", append=LARGE))).base
        await done(face, put("2", append=b"small"))
        before = (await info(face)).size_bytes
        own = (await loaded(face, "2")).stored.spans
        await self.pruned(face, ("", "1"), keep=own, free=(Span(base, len(LARGE)),))
        after = (await info(face)).size_bytes
        assert before is None or after is None or before - after > len(LARGE) // 2
        assert await appended(face, "2", 5) == b"small"

    async def test_a_session_goes_on_after_all_was_freed(self, face: AsyncSessionStore) -> None:
        """Appending works where the whole arena was freed."""
        base = (await done(face, put("1", append=LARGE))).base
        await done(face, put("2"))
        await self.pruned(face, ("", "1"), free=(Span(base, len(LARGE)),))
        await done(face, put("3", append=b"more"))
        await done(face, put("4", append=LARGE))
        assert await appended(face, "3", 4) == b"more"
        assert await appended(face, "4", len(LARGE)) == LARGE

    # --- conditions and life ----------------------------------------------------------------------

    async def test_a_session_that_changed_is_a_conflict(self, face: AsyncSessionStore) -> None:
        """A prune that was worked out before a commit drops nothing."""
        life = (await done(face, put("1"))).life
        await done(face, put("2", append=b"some"))
        before = await info(face)
        committed = await face.prune(prune(life, ("", "1"), free=(Span(0, 4),)))
        assert committed.outcome == "conflict"
        assert committed.life is not None
        assert committed.life.revision == before.life.revision
        assert await info(face) == before
        assert await scan_ids(face) == ["2", "1"]

    async def test_a_prune_is_a_change(self, face: AsyncSessionStore) -> None:
        """Of two prunes that were worked out from the same session, one is done."""
        for checkpoint_id in ("1", "2", "3"):
            await done(face, put(checkpoint_id))
        life = (await info(face)).life
        first = await face.prune(prune(life, ("", "1")))
        assert (first.outcome, (await info(face)).life.revision) == ("done", 4)
        assert (await face.prune(prune(life, ("", "2")))).outcome == "conflict"
        assert (await face.prune(prune(first.life, ("", "2")))).outcome == "done"
        assert (await face.commit(put("4", revision=life.revision))).outcome == "conflict"
        assert await scan_ids(face) == ["3"]

    async def test_another_session_is_gone(self, face: AsyncSessionStore) -> None:
        """A session that was deleted, or made again, is not pruned."""
        life = (await done(face, put("1"))).life
        assert (await face.prune(prune(life, ("", "1"), session="other"))).outcome == "gone"
        await face.delete(SESSION)
        assert (await face.prune(prune(life, ("", "1")))).outcome == "gone"
        assert await face.info(SESSION) is None
        await done(face, put("1"))
        assert (await face.prune(prune(life, ("", "1")))).outcome == "gone"
        assert await scan_ids(face) == ["1"]

    async def test_an_expired_session_is_not_pruned(
        self, open_face: OpenFace, pass_time: PassTime
    ) -> None:
        """A session past its deadline is gone."""
        face = open_face(self.idle(4))
        life = (await done(face, put("1"))).life
        pass_time(self.ticks(5))
        assert (await face.prune(prune(life, ("", "1")))).outcome == "gone"

    async def test_pruning_is_no_use(self, open_face: OpenFace, pass_time: PassTime) -> None:
        """A prune leaves the deadline, the age and the header as they are."""
        face = open_face(self.idle(4))
        await done(face, put("1"))
        before = (await done(face, put("2", state=b"{}"))).life
        pass_time(self.ticks(1))
        after = (await self.pruned(face, ("", "1"))).life
        assert before is not None
        assert after is not None
        assert after.deadline_ms == before.deadline_ms
        assert after.created_ms == before.created_ms
        assert after.incarnation == before.incarnation
        assert (await info(face)).state == b"{}"

    async def test_a_dropped_record_is_no_witness(self, face: AsyncSessionStore) -> None:
        """A commit that builds on a dropped record is refused."""
        await done(face, put("1"))
        await done(face, put("2"))
        await self.pruned(face, ("", "1"))
        assert (await face.commit(put("3", witnesses=(("", "1"),)))).outcome == "stale"

    @pytest.mark.parametrize("bad", [("", ""), ("\ud800", "1"), ("", "x" * 1_025)], ids=ascii)
    async def test_ids_that_are_none_are_refused(self, face: AsyncSessionStore, bad: Name) -> None:
        """A name that cannot be one is an error, and nothing is dropped."""
        life = (await done(face, put("1"))).life
        with pytest.raises(InvalidSessionIdError):
            await face.prune(prune(life, ("", "1"), bad))
        with pytest.raises(InvalidSessionIdError):
            await face.prune(prune(life, ("", "1"), session=""))
        assert await scan_ids(face) == ["1"]

    async def test_a_copy_does_not_notice(self, face: AsyncSessionStore) -> None:
        """Pruning a session leaves a copy of it alone, and the other way round."""
        base = (await done(face, put("1", append=LARGE))).base
        await done(face, put("2"))
        await done(face, commit(state=b"{}"))
        await face.copy(SESSION, "copy")
        await self.pruned(face, ("", "1"), free=(Span(base, len(LARGE)),))
        assert await scan_ids(face, session="copy") == ["2", "1"]
        assert await appended(face, "1", len(LARGE), session="copy") == LARGE
        await face.copy(SESSION, "copy of less")
        assert await scan_ids(face, session="copy of less") == ["2"]

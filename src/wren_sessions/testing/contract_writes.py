"""The contract of pending writes: first wins, or replace; before or after their checkpoint."""

from __future__ import annotations

import pytest

from wren_sessions.keys import write_key
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import Record, Span
from wren_sessions.testing.build import (
    SESSION,
    add,
    arena,
    commit,
    done,
    loaded,
    pending,
    put,
    write,
)
from wren_sessions.testing.contract_base import ContractBase

KEY = write_key("task", 0)
BULK = 2_000
TASKS = 60


class WriteContract(ContractBase):
    """Pending writes: one per key, and none is lost."""

    async def test_writes_come_with_their_checkpoint(self, face: AsyncSessionStore) -> None:
        """Loading a checkpoint brings its pending writes, by key."""
        await done(face, put("1"))
        await done(face, add("1", write("task", 0, b"zero"), write("task", 1, bytes(range(256)))))
        await done(face, add("1", write("other", 0, b"")))
        assert await pending(face, "1") == {
            "task/0": b"zero",
            "task/1": bytes(range(256)),
            "other/0": b"",
        }

    async def test_writes_may_come_before_their_checkpoint(self, face: AsyncSessionStore) -> None:
        """Writes make the session, and wait in it for their checkpoint."""
        await done(face, add("1", write("task", 0, b"early")))
        assert await face.load(SESSION) is None
        assert await face.load(SESSION, "", "1") is None
        await done(face, put("1"))
        assert await pending(face, "1") == {KEY: b"early"}

    async def test_a_record_may_bring_writes(self, face: AsyncSessionStore) -> None:
        """One commit writes a record and writes, also those of another checkpoint."""
        record = Record(name=("", "2"), parent_id="1", body=b"body")
        await done(face, put("1"))
        both = add("1", write("task", 0, b"value"), write("task", 1, b"value", replaces=True))
        await done(face, commit(record=record, writes=both.writes))
        assert set(await pending(face, "1")) == {"task/0", "task/1"}
        assert await pending(face, "2") == {}

    async def test_the_first_write_of_a_key_counts(self, face: AsyncSessionStore) -> None:
        """A regular write of a key that is there already changes nothing."""
        await done(face, put("1"))
        await done(face, add("1", write("task", 0, b"first")))
        await done(face, add("1", write("task", 0, b"second"), write("task", 1, b"new")))
        assert await pending(face, "1") == {KEY: b"first", "task/1": b"new"}

    async def test_a_replacing_write_counts_last(self, face: AsyncSessionStore) -> None:
        """Of writes that replace, the last one stays."""
        await done(face, put("1"))
        for body in (b"first", b"second", b"third"):
            await done(face, add("1", write("task", -3, body, replaces=True)))
        assert await pending(face, "1") == {"task/-3": b"third"}

    @pytest.mark.parametrize("at_once", [False, True])
    @pytest.mark.parametrize(
        ("replaces", "left"),
        [
            ((False, False), b"0"),
            ((False, True), b"1"),
            ((True, False), b"0"),
            ((True, True), b"1"),
            ((False, True, False), b"1"),
            ((True, False, True), b"2"),
            ((False, False, True, True, False), b"3"),
        ],
    )
    async def test_each_write_decides_for_itself(
        self, face: AsyncSessionStore, replaces: tuple[bool, ...], left: bytes, *, at_once: bool
    ) -> None:
        """A write replaces what is there or not, however that came, in one commit or several."""
        await done(face, put("1"))
        entries = [
            write("task", 0, str(at).encode(), replaces=flag) for at, flag in enumerate(replaces)
        ]
        for some in [entries] if at_once else [[entry] for entry in entries]:
            await done(face, add("1", *some))
        assert await pending(face, "1") == {KEY: left}

    async def test_many_writes(self, face: AsyncSessionStore) -> None:
        """Two thousand writes of one checkpoint, in one commit and in many, are all there."""
        await done(face, put("1"))
        await done(face, add("1", *(write("bulk", at, b"%d" % at) for at in range(BULK))))
        for at in range(TASKS):
            await done(face, add("1", write(f"task{at}", 0, bytes(500))))
        found = await pending(face, "1")
        assert len(found) == BULK + TASKS
        assert found["bulk/1999"] == b"1999"
        assert found["task59/0"] == bytes(500)

    async def test_a_large_write_comes_back(self, face: AsyncSessionStore) -> None:
        """A write may be a megabyte, in both kinds."""
        large = bytes(range(250)) * 4_000
        await done(face, put("1"))
        await done(face, add("1", write("a", 0, large), write("b", 0, large, replaces=True)))
        assert await pending(face, "1") == {"a/0": large, "b/0": large}

    async def test_spans_of_writes_come_with_the_checkpoint(self, face: AsyncSessionStore) -> None:
        """What pending writes refer to in the arena is loaded with their checkpoint."""
        a = (await done(face, put("1", append=b"aaaa"))).base
        b = (await done(face, put("2", append=b"bbbb"))).base
        await done(face, add("2", write("task", 0, b"link"), spans=(Span(a + 1, 2),)))
        again = (Span(a + 2, 2), Span(b, 4))
        await done(face, add("2", write("task", -1, b"link", replaces=True), spans=again))
        found = await loaded(face, "2")
        parts = await arena(face, found)
        assert [parts.get(span) for span in (Span(a + 1, 2), *again)] == [b"aa", b"aa", b"bbbb"]
        assert found.stored.spans[-1].end == b + 4

    async def test_writes_belong_to_one_checkpoint(self, face: AsyncSessionStore) -> None:
        """The same key in another checkpoint or namespace is another write."""
        for ns in ("", "child"):
            for checkpoint_id in ("1", "2"):
                await done(face, put(checkpoint_id, ns=ns))
                body = f"{ns}{checkpoint_id}".encode()
                await done(face, add(checkpoint_id, write("task", 0, body), ns=ns))
        assert await pending(face, "1") == {KEY: b"1"}
        assert await pending(face, "2") == {KEY: b"2"}
        assert await pending(face, "1", ns="child") == {KEY: b"child1"}

    async def test_keys_may_hold_any_task(self, face: AsyncSessionStore) -> None:
        """Tasks are told apart whatever their names hold."""
        await done(face, put("1"))
        tasks = ["a", "a/0", "a:b", "a b", "*", "{a}", "ä", "a%2F0", "a,b", "~__pregel_pull, x"]
        for replaces in (False, True):
            entries = [
                write(f"{task}{replaces}", 1, task.encode(), replaces=replaces) for task in tasks
            ]
            await done(face, add("1", *entries))
        found = await pending(face, "1")
        for replaces in (False, True):
            for task in tasks:
                assert found[write_key(f"{task}{replaces}", 1)] == task.encode()

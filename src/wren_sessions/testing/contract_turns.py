"""The contract of turns: one writer at a time, for stores that have them."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, cast

import pytest

from wren_sessions.protocols import AsyncSessionStore, AsyncTurnStore
from wren_sessions.records import TurnState, TurnStep
from wren_sessions.testing.build import (
    SESSION,
    add,
    done,
    info,
    listed,
    prune,
    put,
    scan_ids,
    write,
)
from wren_sessions.testing.contract_base import ContractBase, FaceOf, MakeStore, OpenFace, PassTime
from wren_sessions.ttl import TTLPolicy, to_ms

What = Literal["take", "keep", "leave"]


class TurnContract(ContractBase):
    """Turns: who has one alone writes, and it ends by itself."""

    @pytest.fixture
    def open_turns(self, face_of: FaceOf, make_store: MakeStore) -> OpenFace:
        """Makes stores that hold nothing; skips where they have no turns."""
        lacking = "the store has no turns (protocols.TurnStore)"
        return self._opening(face_of, make_store, "turn", lacking)

    async def step(
        self, face: AsyncSessionStore, what: What, token: str, ticks: float = 3, **more: Any
    ) -> TurnState:
        """One step of a turn that lasts some ticks; its place in the queue is kept for four."""
        step = TurnStep(
            session=more.pop("session", SESSION),
            token=token,
            what=what,
            ttl_ms=to_ms(self.ticks(ticks)),
            patience_ms=to_ms(self.ticks(4)),
            holder=f"holder of {token}",
        )
        return await cast("AsyncTurnStore", face).turn(step)

    async def test_one_at_a_time_has_the_turn(self, open_turns: OpenFace) -> None:
        """Whoever comes second is told who has it, and since when; to take it again is fine."""
        face = open_turns()
        await done(face, put("1"))
        mine = await self.step(face, "take", "a")
        again = await self.step(face, "take", "a")
        other = await self.step(face, "take", "b")
        assert (mine.mine, mine.holder, mine.since_ms) == (True, "holder of a", mine.now_ms)
        assert (again.mine, again.since_ms) == (True, mine.since_ms)
        assert (other.mine, other.holder, other.since_ms) == (False, "holder of a", mine.since_ms)
        assert (await self.step(face, "leave", "a")).mine
        assert (await self.step(face, "take", "b")).mine

    async def test_a_commit_of_somebody_else_is_held(self, open_turns: OpenFace) -> None:
        """While there is a turn, only commits that carry its token are written."""
        face = open_turns()
        await done(face, put("1"))
        await self.step(face, "take", "a")
        before = await info(face)
        for turn in (None, "b"):
            for refused in (
                put("2", parent="1", turn=turn),
                add("1", write("t", 0, b"v"), turn=turn),
            ):
                held = await face.commit(refused)
                assert held.outcome == "held"
                assert held.turn is not None
                assert (held.turn.mine, held.turn.holder) == (False, "holder of a")
        assert await info(face) == before
        await done(face, put("2", parent="1", turn="a"))
        await done(face, add("2", write("t", 0, b"v"), turn="a"))
        await self.step(face, "leave", "a")
        await done(face, put("3", parent="2"))

    async def test_a_repeated_commit_answers_as_before(self, open_turns: OpenFace) -> None:
        """A commit that was written in a turn is known again when the turn is over."""
        face = open_turns()
        await done(face, put("1"))
        await self.step(face, "take", "a")
        written = put("2", parent="1", append=b"some", turn="a")
        first = await done(face, written)
        await self.step(face, "leave", "a")
        assert (await done(face, written)).base == first.base

    async def test_a_turn_that_is_over_cannot_be_written_in(
        self, open_turns: OpenFace, pass_time: PassTime
    ) -> None:
        """It ends when it is not kept, also where nobody has taken it since."""
        face = open_turns()
        await done(face, put("1"))
        await self.step(face, "take", "a")
        pass_time(self.ticks(4))
        late = await face.commit(put("2", parent="1", turn="a"))
        assert (late.outcome, late.turn and late.turn.holder) == ("held", "")
        assert not (await self.step(face, "keep", "a")).mine
        await done(face, put("2", parent="1"))
        assert (await self.step(face, "take", "b")).mine
        late = await face.commit(put("3", parent="2", turn="a"))
        assert (late.outcome, late.turn and late.turn.holder) == ("held", "holder of b")
        await self.step(face, "leave", "a")
        await done(face, put("3", parent="2", turn="b"))

    async def test_a_turn_that_is_kept_goes_on(
        self, open_turns: OpenFace, pass_time: PassTime
    ) -> None:
        """Keeping it counts from then; it is the same turn."""
        face = open_turns()
        await done(face, put("1"))
        since_ms = (await self.step(face, "take", "a")).since_ms
        for _ in range(3):
            pass_time(self.ticks(2))
            kept = await self.step(face, "keep", "a")
            assert (kept.mine, kept.since_ms) == (True, since_ms)
        await done(face, put("2", parent="1", turn="a"))

    async def test_who_comes_first_gets_it_first(self, open_turns: OpenFace) -> None:
        """The queue is in the order of asking; asking again keeps the place."""
        face = open_turns()
        await done(face, put("1"))
        await self.step(face, "take", "a")
        asked = [await self.step(face, "take", token) for token in ("b", "c", "b", "d")]
        assert [state.ahead for state in asked] == [0, 1, 0, 2]
        await self.step(face, "leave", "a")
        assert not (await self.step(face, "take", "d")).mine
        assert not (await self.step(face, "take", "e")).mine
        await done(face, put("2", parent="1"))  # who wants no turn waits for nobody
        assert (await self.step(face, "take", "b")).mine
        await self.step(face, "leave", "c")  # it waits no longer
        await self.step(face, "leave", "b")
        assert not (await self.step(face, "take", "e")).mine
        assert (await self.step(face, "take", "d")).mine

    async def test_who_does_not_ask_again_loses_the_place(
        self, open_turns: OpenFace, pass_time: PassTime
    ) -> None:
        """A place is kept for as long as its owner said."""
        face = open_turns()
        await done(face, put("1"))
        await self.step(face, "take", "a", ticks=8)
        await self.step(face, "take", "gone")
        pass_time(self.ticks(2))
        await self.step(face, "take", "b")
        pass_time(self.ticks(3))
        await self.step(face, "leave", "a")
        assert (await self.step(face, "take", "b")).mine

    async def test_a_session_begins_in_a_turn(self, open_turns: OpenFace) -> None:
        """One that is not there is made, empty; what is written first may want it to be new."""
        face = open_turns(self.idle(9))
        assert (await self.step(face, "take", "a")).mine
        assert (await self.step(face, "take", "b")).mine is False
        assert await scan_ids(face) == []
        assert (await face.commit(put("1", new=True))).outcome == "held"
        written = await done(face, put("1", new=True, turn="a", state=b"{}"))
        assert written.life is not None
        assert written.life.revision == 1
        assert written.life.deadline_ms == written.now_ms + to_ms(self.ticks(9))
        assert (await face.commit(put("1b", new=True, turn="a"))).outcome == "exists"
        await self.step(face, "leave", "a")
        await self.step(face, "leave", "b")
        assert await scan_ids(face) == ["1"]

    async def test_a_session_that_a_turn_alone_made_goes_with_it(
        self, open_turns: OpenFace, pass_time: PassTime
    ) -> None:
        """Nothing was written: nothing is left, whether the turn was left or ended."""
        face = open_turns(TTLPolicy(idle=None))
        await self.step(face, "take", "a")
        await self.step(face, "leave", "a")
        assert await face.info(SESSION) is None
        await self.step(face, "take", "b")
        pass_time(self.ticks(2))
        await self.step(face, "keep", "b")
        pass_time(self.ticks(2))
        assert await face.info(SESSION) is not None
        pass_time(self.ticks(2))
        assert await face.info(SESSION) is None
        assert await listed(face) == {}
        assert (await face.commit(put("1", turn="b"))).outcome == "gone"

    async def test_only_to_take_a_turn_makes_a_session(self, open_turns: OpenFace) -> None:
        """Keeping or leaving what was never taken does nothing."""
        face = open_turns()
        for what in ("keep", "leave"):
            assert not (await self.step(face, what, "a")).mine
        assert await face.info(SESSION) is None

    async def test_a_turn_is_use(self, open_turns: OpenFace, pass_time: PassTime) -> None:
        """A session does not run out of idle time in a turn that is kept."""
        face = open_turns(self.idle(4))
        await done(face, put("1"))
        await self.step(face, "take", "a", ticks=5)
        for _ in range(3):
            pass_time(self.ticks(3))
            assert (await self.step(face, "keep", "a", ticks=5)).mine
        await done(face, put("2", parent="1", turn="a"))

    async def test_a_copy_is_nobodys(self, open_turns: OpenFace) -> None:
        """A turn stays with its session: a copy can be written by all."""
        face = open_turns()
        await done(face, put("1"))
        await self.step(face, "take", "a")
        await face.copy(SESSION, "copy")
        await done(face, put("2", parent="1", session="copy"))
        assert (await face.commit(put("2", parent="1"))).outcome == "held"

    async def test_a_prune_leaves_the_turn(self, open_turns: OpenFace) -> None:
        """What is dropped meanwhile does not end it."""
        face = open_turns()
        await done(face, put("1"))
        life = (await done(face, put("2", parent="1"))).life
        await self.step(face, "take", "a")
        assert (await face.prune(prune(life, ("", "1")))).outcome == "done"
        assert (await face.commit(put("3", parent="2"))).outcome == "held"
        await done(face, put("3", parent="2", turn="a"))
        await self.step(face, "leave", "a")
        assert await scan_ids(face) == ["3", "2"]

    async def test_a_deleted_session_is_gone_for_its_turn(self, open_turns: OpenFace) -> None:
        """What its holder writes then does not bring it back."""
        face = open_turns()
        await done(face, put("1"))
        await self.step(face, "take", "a")
        await face.delete(SESSION)
        assert (await face.commit(put("2", turn="a"))).outcome == "gone"
        assert not (await self.step(face, "keep", "a")).mine
        assert await face.info(SESSION) is None

    async def test_of_many_that_ask_at_once_one_gets_it(self, open_turns: OpenFace) -> None:
        """There is one turn, whoever is asked."""
        face = open_turns()
        await done(face, put("1"))
        states = await asyncio.gather(*(self.step(face, "take", f"t{n}") for n in range(8)))
        assert sum(state.mine for state in states) == 1

    async def test_what_must_continue_the_latest_does(self, open_turns: OpenFace) -> None:
        """With `Commit.latest`, a record whose parent is not the head is a conflict."""
        face = open_turns()
        await done(face, put("1", latest=True))
        await done(face, put("2", parent="1", latest=True))
        before = await info(face)
        for refused in (put("3", parent="1", latest=True), put("3", latest=True)):
            assert (await face.commit(refused)).outcome == "conflict"
        assert await info(face) == before
        await done(face, put("3", ns="sub", latest=True))
        await done(face, put("3", parent="2", latest=True))

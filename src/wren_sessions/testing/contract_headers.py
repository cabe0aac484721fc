"""The contract of headers: who sees them, and how they are replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from wren_sessions.errors import ConflictError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.testing.build import (
    SESSION,
    commit,
    done,
    info,
    listed,
    loaded,
    prune,
    put,
    seen,
)
from wren_sessions.testing.contract_base import ContractBase
from wren_sessions.ttl import Override

TARGET = "the copy"
TWO_HOURS_MS = 7_200_000


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

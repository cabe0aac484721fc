"""A store's calls, with records and headers sealed on the way in and opened on the way out.

All data of a session is sealed with its uid, which is in its header. So a commit needs to know the
header. This process remembers the incarnation and uid of each session that it has seen. For other
sessions, it asks the store first. Another process may create, delete or encrypt the session in the
meantime. The commit's conditions make sure that a session never has two uids.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, TypeVar

from wren_sessions._blocking import LRU, Lock
from wren_sessions._walks import RecordWalk
from wren_sessions.checkpoints.order import from_id
from wren_sessions.delta.extents import digest
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    DecryptionError,
)
from wren_sessions.keys import check_owner
from wren_sessions.protocols import AsyncOwnerStore, AsyncSessionStore, AsyncTurnStore
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Held,
    Life,
    Loaded,
    Name,
    Notes,
    Prune,
    Scanned,
    Seen,
    SessionInfo,
    SessionPage,
    Span,
    Start,
    Stored,
    TurnState,
    TurnStep,
)
from wren_sessions.serializers.compression import Compression
from wren_sessions.serializers.keyring import UID_BYTES, Keyring
from wren_sessions.stores._checks import check_commit, check_notes, noted_meanwhile
from wren_sessions.stores._copies import Copy
from wren_sessions.stores.protected import headers
from wren_sessions.stores.protected.bodies import Bodies
from wren_sessions.stores.protected.headers import Header
from wren_sessions.stores.protected.owner_keys import OwnerKeys
from wren_sessions.ttl import Duration

ATTEMPTS: Final = 5
PAGE: Final = 100
MAX_KNOWN: Final = 10_000

T = TypeVar("T")


class _Known(NamedTuple):
    """What is known of a session: its incarnation, its keys, and a commit's conditions."""

    incarnation: str
    uid: bytes | None
    revision: int
    state: bytes
    owner_key: str | None
    owner: str | None = None  # also if it was not looked up

    def fits(self, commit: Commit) -> bool:
        """Whether a commit is for this incarnation, as far as it says."""
        return not commit.new and commit.incarnation in {None, self.incarnation}


class AsyncProtectedStore:
    """A protected store, to await. Over `Unsuspended`, it does the work of the blocking one.

    Without a keyring it seals nothing, without compression it compresses nothing, and without keys
    of owners, sessions are sealed with the app's keys.
    """

    def __init__(
        self,
        store: AsyncSessionStore,
        keyring: Keyring | None,
        compression: Compression | None,
        owner_keys: OwnerKeys | None = None,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._bodies = Bodies(keyring, compression)
        self.owner_keys = owner_keys
        self._lock = Lock()
        self._sessions: LRU[str, _Known] = LRU(MAX_KNOWN)

    def over(
        self, store: AsyncSessionStore, owner_keys: OwnerKeys | None = None
    ) -> AsyncProtectedStore:
        """The same, with the same memory, over the other API of the stores."""
        twin = copy(self)
        twin._store, twin.owner_keys = store, owner_keys  # noqa: SLF001 -- its own class
        return twin

    # --- writing ---

    async def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        if self._keyring is None:
            return await self._store.commit(self._bodies.seal(commit, None))
        check_commit(commit)  # before its names are bound to what is sealed
        if commit.owner is not None:
            commit = replace(commit, owner=self._hidden(commit.owner))
        for _ in range(ATTEMPTS):
            known = self._recall(commit.session)
            if known is None or _lacks_header(commit) or not known.fits(commit):
                known = await self._look(commit.session)  # it takes no earlier one's keys
            owner = key = None
            if self.owner_keys is not None:
                owner, key = await self._owner_key(commit, known)
            work = partial(self._sealed, self._keyring, commit, known, key)
            made = await self._unless_gone(commit.session, known and known.incarnation, work)
            if made is None:
                continue
            sealed, uid = made
            done = await self._store.commit(sealed)
            if done.outcome == "done" and done.life is not None:
                self._remember(commit.session, _known(done.life, uid, owner_key=key))
                if self.owner_keys is not None and (owner is not None or key is None):
                    await self._check_owner(commit.session, done.owner, owner, key)
                return done
            self._forget(commit.session)
            if not _was_ours(commit, sealed, done):
                return done
        raise self._busy(commit.session)

    async def _owner_key(
        self, commit: Commit, known: _Known | None
    ) -> tuple[str | None, str | None]:
        """The owner's key to seal a commit with, and who that is if the key was not known yet.

        A commit to a session that is gone is refused: no key is made for it, perhaps of an owner
        who was erased.
        """
        assert self.owner_keys is not None  # noqa: S101 -- checked by the caller
        if known is not None and known.owner_key is not None:
            return None, known.owner_key
        if commit.incarnation not in {None, known and known.incarnation}:
            return None, None
        if known is not None and known.owner is None and commit.owner is not None:
            known = await self._look(commit.session)  # is it somebody else's?
        owner = (known and known.owner) or commit.owner
        return owner, None if owner is None else await self.owner_keys.of(owner)

    async def _check_owner(
        self, session: str, there: str | None, owner: str | None, key: str | None
    ) -> None:
        """Look again before the next commit if somebody became the owner during this one."""
        if there is None or there == owner:
            return
        self._forget(session)
        if key is not None and self.owner_keys is not None:
            await self.owner_keys.lend(key)

    async def _with_keys(self, work: Callable[[], T]) -> T:
        """Seal or open something, and fetch the owner keys that it needs."""
        return work() if self.owner_keys is None else await self.owner_keys.call(work)

    async def _unless_gone(
        self, session: str, incarnation: str | None, work: Callable[[], T]
    ) -> T | None:
        """Seal or open something of a session; None if it went away meanwhile: look again.

        An erasure deletes the sessions of an owner before it destroys the key. Who has read such a
        session, or knows it, learns of both only now.
        """
        try:
            return await self._with_keys(work)
        except DecryptionError:
            info = await self._store.info(session)
            if info is not None and info.life.incarnation == incarnation:
                raise
        self._forget(session)
        return None

    def _sealed(
        self, keyring: Keyring, commit: Commit, known: _Known | None, key: str | None
    ) -> tuple[Commit, bytes]:
        """The commit as it is stored, and the uid it is sealed with."""
        uid = (known.uid if known else None) or secrets.token_bytes(UID_BYTES)
        sealed = self._bodies.seal(commit, uid, key)
        if known is None:
            sealed = replace(sealed, new=True)
        elif not commit.new and commit.incarnation is None:
            sealed = replace(sealed, incarnation=known.incarnation)
        if known is not None and known.uid is None and commit.revision is None:
            # No other process may choose another uid in the meantime.
            sealed = replace(sealed, revision=known.revision)
        state = commit.state
        if state is None and (known is None or known.uid is None or _lacks_header(commit)):
            state = known.state if known else b""
        if state is None:
            return sealed, uid
        record = sealed.record
        if record is None or record.name[0] != "":
            header = Header(state=state, uid=uid, head=headers.head_of(state), owner_key=key)
        else:
            sums = digest(record.body)
            header = Header(state=state, uid=uid, head=record.name[1], digest=sums, owner_key=key)
        return replace(sealed, state=headers.seal(keyring, commit.session, header)), uid

    async def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`. The header gets another checkpoint if its own is pruned."""
        if self._keyring is not None:
            info, header = await self._header(prune.session)
            if info is not None and header is not None and header.uid is not None:
                after = await self._header_after(prune, header)
                if after != header:
                    work = partial(headers.seal, self._keyring, prune.session, after)
                    sealed = await self._unless_gone(prune.session, info.life.incarnation, work)
                    if sealed is None:
                        return await self.prune(prune)
                    prune = replace(prune, state=sealed)
        return await self._store.prune(prune)

    async def _header_after(self, prune: Prune, header: Header) -> Header:
        """The header after a prune, with the digest of the checkpoint that it names."""
        after = header if prune.state is None else replace(header, state=prune.state)
        if header.head is None:
            return after
        named = dict(prune.heads).get("")
        if named is not None and ("", named) not in prune.drop:
            scanned = await self._store.scan(prune.session, [from_id("", named)], 1)
            if [stored.name[1] for stored in scanned.records] == [named]:
                return after.naming(scanned.records[0])
        if ("", header.head) not in prune.drop:
            return after
        return after.naming(await self._highest_left(prune))

    async def _highest_left(self, prune: Prune) -> Stored | None:
        """The checkpoint of the highest id of the root namespace that a prune leaves."""
        walk = RecordWalk(partial(self._store.scan, prune.session), [Start("")], PAGE)
        while (page := await walk.next_page()) is not None:
            for stored in page.records:
                if stored.name not in prune.drop:
                    return stored
        return None

    async def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`. The copy has the same uid, but its own header."""
        copy = Copy(source, target, replace=replace, state=state, expect=expect)
        self._forget(target)
        for _ in range(ATTEMPTS):
            try:
                return await self._copied(copy)
            except ConflictError:
                if expect is not None or isinstance(replace, Life):
                    raise
        raise self._busy(source)

    async def _copied(self, copy: Copy) -> Life | None:
        """Try once; a `ConflictError` if the source was written since its header was read."""
        state, expect = copy.state, copy.expect
        if self._keyring is not None:
            info, header = await self._header(copy.source)
            if info is None or header is None:
                return None
            expect = expect or info.life  # what is sealed for the source, no other session can open
            if header.uid is not None:
                copied = header if state is None else replace(header, state=state)
                work = partial(headers.seal, self._keyring, copy.target, copied)
                state = await self._unless_gone(copy.source, info.life.incarnation, work)
                if state is None:
                    raise copy.conflict()
        target = copy.replace
        if isinstance(target, Seen):
            target = replace(target, notes=await self._notes_below(copy, target.notes))
        return await self._store.copy(
            copy.source, copy.target, replace=target, state=state, expect=expect
        )

    async def _notes_below(self, copy: Copy, seen: Notes) -> Notes:
        """The notes of what is to be replaced, as the store below has them, if they are as seen."""
        info, header = await self._header(copy.target)
        if info is None or header is None:
            return seen
        if not await self._noted(info, header, seen):
            raise copy.conflict()
        return info.notes

    async def _noted(self, info: SessionInfo, header: Header, expect: Notes) -> bool:
        """Whether a session has these notes: the owner as `info` or as `list_owned` says it."""
        there = await self._with_keys(partial(self._bodies.open_notes, info.notes, header.uid))
        owners = {expect.owner, self._hidden(expect.owner)}
        return there.owner in owners and there.about == expect.about

    async def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`. The annotations are sealed for the session's uid.

        A session that one owner's key has sealed gets a new incarnation with the next owner. So a
        run that began before cannot write with the former key, which may be destroyed by then.
        """
        store: AsyncOwnerStore = self._store  # type: ignore[assignment] # the caller has looked
        if self._keyring is None:
            return await store.annotate(session, notes, expect)
        check_notes(session, notes)
        info, header = await self._header(session)
        if info is None or header is None:
            return None
        if notes.about and header.uid is None:
            raise ConfigurationError(
                f"nothing of session {session!r} is encrypted yet, and notes about it would be "
                "readable: save it first, and note something then"
            )
        if not await self._noted(info, header, expect):
            raise noted_meanwhile(session)
        owner = info.notes.owner if notes.owner == expect.owner else self._hidden(notes.owner)
        given, renew = self.owner_keys is not None and owner != info.notes.owner, False
        if given and self.owner_keys is not None:
            await self.owner_keys.lend(header.owner_key, info.notes.owner)
            key = None if owner is None else await self.owner_keys.of(owner)
            renew = (header.owner_key or info.notes.owner) is not None
            header = replace(header, owner_key=key)
        # First whose it is: stopped in between, no key of somebody else's has sealed anything.
        life = await self._note(info, header, notes._replace(owner=owner))
        if not given or life is None:
            return life
        return await self._given_to(session, owner, header.owner_key, renew=renew)

    async def _note(self, info: SessionInfo, header: Header, notes: Notes) -> Life | None:
        """Note something. A session that was replaced meanwhile has another uid to seal it for."""
        store: AsyncOwnerStore = self._store  # type: ignore[assignment] # the caller has looked
        for _ in range(ATTEMPTS):
            sealed = notes
            if notes.about and header.uid is not None:
                args = notes.about, header.uid, header.owner_key
                work = partial(self._bodies.seal_notes, *args)
                about = await self._unless_gone(info.session, info.life.incarnation, work)
                if about is None:
                    raise noted_meanwhile(info.session)
                sealed = notes._replace(about=about)
            life = await store.annotate(info.session, sealed, info.notes)
            if not notes.about or life is None or life.incarnation == info.life.incarnation:
                return life
            again, there = await self._header(info.session)
            if again is None or there is None:
                return None
            info = replace(again, notes=sealed)
            header = replace(header, uid=there.uid)
        raise self._busy(info.session)

    async def _given_to(
        self, session: str, owner: str | None, key: str | None, *, renew: bool
    ) -> Life | None:
        """Seal a header with the key of the session's new owner, so that all use it from now on."""
        assert self._keyring is not None  # noqa: S101 -- checked by the caller
        for _ in range(ATTEMPTS):
            info, header = await self._header(session)
            self._forget(session)
            if info is None or header is None or header.uid is None or info.notes.owner != owner:
                return None if info is None else info.life
            life, header = info.life, replace(header, owner_key=key)
            work = partial(headers.seal, self._keyring, session, header)
            sealed = await self._unless_gone(session, life.incarnation, work)
            if sealed is None:
                continue
            prune = Prune(
                session=session,
                incarnation=life.incarnation,
                revision=life.revision,
                drop=(),
                state=sealed,
                renew=renew,
            )
            done = await self._store.prune(prune)
            if done.outcome == "done":
                return done.life
        raise self._busy(session)

    async def list_owned(
        self, owner: str, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        store: AsyncOwnerStore = self._store  # type: ignore[assignment] # the caller has looked
        check_owner(owner)
        page = await store.list_owned(self._hidden(owner) or owner, cursor, limit)
        if self._keyring is None:
            return page
        listed = [await self._with_keys(partial(self._listed, info)) for info in page.sessions]
        sessions = (replace(info, notes=info.notes._replace(owner=owner)) for info in listed)
        return replace(page, sessions=tuple(sessions))

    def _hidden(self, owner: str | None) -> str | None:
        """An owner as the store below knows it."""
        if self._keyring is None or owner is None:
            return owner
        return self._keyring.encryption.hidden_owner(owner)

    async def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        self._forget(session)
        return await self._store.delete(session)

    async def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        store: AsyncOwnerStore = self._store  # type: ignore[assignment] # the caller has looked
        check_owner(owner)
        self._forget(session)
        return await store.delete_owned(session, self._hidden(owner) or owner)

    # --- reading ---

    async def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`."""
        for _ in range(ATTEMPTS):
            loaded = await self._store.load(session, namespace, checkpoint_id, held)
            if loaded is None or self._keyring is None:
                return loaded
            if not loaded.state:  # of a store that does not return it
                info = await self._store.info(session)
                if info is None:
                    return None
                now, then = info.life, loaded.life
                if (now.incarnation, now.revision) != (then.incarnation, then.revision):
                    continue  # it was written in between, or deleted and another one made
                loaded = replace(loaded, state=info.state)
            latest = namespace == "" and checkpoint_id is None
            work = partial(self._opened, self._keyring, session, loaded, latest=latest)
            opened = await self._unless_gone(session, loaded.life.incarnation, work)
            if opened is not None:
                return opened
        raise self._busy(session)

    def _opened(self, keyring: Keyring, session: str, loaded: Loaded, *, latest: bool) -> Loaded:
        """What was loaded, opened with the header that came with it."""
        header = headers.read(keyring, session, loaded.state)
        if latest:
            headers.check_head(session, header, loaded.stored)
        known = _known(loaded.life, header.uid, header.state, header.owner_key)
        self._remember(session, known)
        stored = self._bodies.open(session, header.uid, loaded.stored)
        return replace(loaded, stored=stored, state=header.state)

    async def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        for _ in range(ATTEMPTS):
            scanned = await self._store.scan(session, starts, limit)
            if self._keyring is None or scanned.life is None or not scanned.records:
                return scanned
            incarnation, known = scanned.life.incarnation, self._recall(session)
            if known is None or known.incarnation != incarnation:
                known = await self._look(session)
            if known is None or known.incarnation != incarnation:
                continue  # it was deleted in between, and perhaps another one made
            work = partial(self._bodies.open_all, session, known.uid, scanned.records)
            records = await self._unless_gone(session, incarnation, work)
            if records is not None:
                return replace(scanned, records=records)
        raise self._busy(session)

    async def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        info, header = await self._header(session)
        if info is None or header is None:
            return info
        notes = await self._with_keys(partial(self._bodies.open_notes, info.notes, header.uid))
        return replace(info, state=header.state, notes=notes)

    async def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`. A header that cannot be opened is shown as it is."""
        page = await self._store.list_sessions(cursor, limit)
        if self._keyring is None:
            return page
        listed = [await self._with_keys(partial(self._listed, info)) for info in page.sessions]
        return replace(page, sessions=tuple(listed))

    def _listed(self, info: SessionInfo) -> SessionInfo:
        assert self._keyring is not None  # noqa: S101 -- checked by the caller
        try:
            header = headers.read(self._keyring, info.session, info.state)
        except DecryptionError:
            return replace(info, notes=self._bodies.open_notes(info.notes, None))
        return replace(
            info, state=header.state, notes=self._bodies.open_notes(info.notes, header.uid)
        )

    # --- what needs no key ---

    async def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return await self._store.read(session, spans)

    async def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        return await self._store.heads(session)

    async def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return await self._store.touch(session)

    async def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return await self._store.set_ttl(session, idle)

    async def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return await self._store.pin(session, pinned=pinned)

    async def turn(self, step: TurnStep) -> TurnState:
        """See `TurnStore.turn`. The holder of a turn is not content, so it is not encrypted."""
        store: AsyncTurnStore = self._store  # type: ignore[assignment] # if the blocking API has it
        return await store.turn(step)

    async def ping(self) -> None:
        """See `SessionStore.ping`."""
        await self._store.ping()

    async def close(self) -> None:
        """See `SessionStore.close`."""
        await self._store.close()
        if self.owner_keys is not None:
            await self.owner_keys.store.close()

    # --- what is known of sessions ---

    async def _look(self, session: str) -> _Known | None:
        """Ask the store for a session's uid; None if there is no such session."""
        info, header = await self._header(session)
        if info is None or header is None:
            self._forget(session)
            return None
        known = _known(info.life, header.uid, header.state, header.owner_key)
        known = known._replace(owner=info.notes.owner)
        self._remember(session, known)
        return known

    async def _header(self, session: str) -> tuple[SessionInfo | None, Header | None]:
        for _ in range(ATTEMPTS):
            info = await self._store.info(session)
            if info is None or self._keyring is None:
                return info, None
            if not info.life.revision and not info.state:  # a turn created it: it is still empty
                return info, Header(state=b"", uid=None)
            reading = partial(headers.read, self._keyring, session, info.state)
            header = await self._unless_gone(session, info.life.incarnation, reading)
            if header is not None:
                return info, header
        raise self._busy(session)

    def _recall(self, session: str) -> _Known | None:
        with self._lock:
            return self._sessions.get(session)

    def _remember(self, session: str, known: _Known) -> None:
        if known.uid is None:  # nothing is sure of it for longer than a moment
            return
        with self._lock:
            self._sessions.keep(session, known)

    def _forget(self, session: str) -> None:
        with self._lock:
            self._sessions.pop(session, None)

    def _busy(self, session: str) -> ConflictError:
        return ConflictError(
            f"session {session!r} was made, deleted or encrypted by others each time it was to be "
            "read or written; nothing was: try again",
            session=session,
        )


def _known(
    life: Life, uid: bytes | None, state: bytes = b"", owner_key: str | None = None
) -> _Known:
    return _Known(life.incarnation, uid, life.revision, state, owner_key)


def _lacks_header(commit: Commit) -> bool:
    """Whether a commit moves the root namespace's head without a header for it."""
    record = commit.record
    return record is not None and record.name[0] == "" and commit.state is None


def _was_ours(commit: Commit, sealed: Commit, done: Committed) -> bool:
    """Whether a commit failed because of a condition added here, and can be retried."""
    if done.outcome == "exists":
        return not commit.new
    if done.outcome == "gone":
        return commit.incarnation is None and sealed.incarnation is not None
    return done.outcome == "conflict" and commit.revision != sealed.revision

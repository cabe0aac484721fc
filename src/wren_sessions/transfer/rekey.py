"""Encrypting sessions again with the newest key.

To change a key, put the new one before the old one in every process. From then on, new data is
encrypted with it. `rekey` rewrites older data. When it leaves out nothing, remove the old key. It
also encrypts sessions that are not encrypted yet (``migrate=True``)::

    store = open_store(url, encryption=Encryption([new, old]))
    report = rekey(store)

Where owners have keys of their own, their sessions are not rewritten when a key changes: only the
keys of owners are. Sessions that got an owner later on are rewritten with the owner's key.

A session is first written under a temporary name. Then it replaces the original in one step, if
nobody has written that meanwhile. It is then another incarnation, so a graph that is running on it
gets a `SessionGoneError`. That is why sessions in use are left for the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self

from wren_sessions._blocking import run
from wren_sessions._walks import RecordWalk, aall_sessions
from wren_sessions.checkpoints.codec import is_sealed_body, opened_frame, writes_of
from wren_sessions.checkpoints.snapshots import body_of
from wren_sessions.delta.protection import chunk_key_id
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    FormatVersionError,
    SessionNotFoundError,
    WrenSessionsError,
)
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.records import SessionInfo, Start, Stored
from wren_sessions.serializers.keyring import is_owner_key, key_id_of
from wren_sessions.stores.protected.headers import key_id
from wren_sessions.transfer._api import StoreApi
from wren_sessions.transfer._rebasing import ranged
from wren_sessions.transfer._repacking import Repacking
from wren_sessions.transfer._reports import OnProgress
from wren_sessions.transfer._staging import PAGE, ChangedError, Staging
from wren_sessions.ttl import Duration, to_ms

_UNREADABLE: Final = (DecryptionError, CorruptSessionError, FormatVersionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeyReport:
    """What `rekey` did.

    Attributes:
        rewritten: the sessions that were rewritten.
        current: the sessions without data of an older key.
        busy: the sessions that were in use, and are left for another call.
        owner_keys: how many keys of owners were encrypted again with the newest key.
        unreadable: the sessions that cannot be read, and why: a key is missing, such as the key of
            an owner who was erased, or stored data was changed. They stay as they are.
    """

    rewritten: tuple[str, ...]
    current: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    owner_keys: int = 0
    unreadable: Mapping[str, str] = field(default_factory=dict, hash=False)


def rekey(
    store: SessionStore,
    *,
    sessions: Iterable[str] | None = None,
    unused_for: Duration | None = "1m",
    on_progress: OnProgress | None = None,
) -> RekeyReport:
    """Encrypt sessions again with the newest key of their store.

    Age, lifetime, pin, history and pending writes stay the same. Sessions that already use the
    newest key are only read.

    Args:
        store: a store with encryption.
        sessions: which sessions; None (default) for all.
        unused_for: sessions that were written this recently are left out; None leaves out none.
        on_progress: called with a `Progress` after every checkpoint that was rewritten.

    Raises:
        ConfigurationError: the store has no encryption, or the duration is not valid.
        SessionNotFoundError: a requested session does not exist.
        DecryptionError: a key of an owner is damaged; nothing was rewritten.
    """
    api = StoreApi.blocking(store, "rekey")
    return run(_Rekeying.of(api, unused_for, on_progress).run(sessions))


async def arekey(
    store: SessionStore,
    *,
    sessions: Iterable[str] | None = None,
    unused_for: Duration | None = "1m",
    on_progress: OnProgress | None = None,
) -> RekeyReport:
    """See `rekey`; uses the store's async API."""
    api = StoreApi.awaitable(store, "arekey")
    return await _Rekeying.of(api, unused_for, on_progress).run(sessions)


async def give_back(api: StoreApi, key_ids: set[str]) -> dict[str, str]:
    """Seal anew what some keys of owners sealed, whoever has it now, so that they can go.

    Args:
        api: of the store of the sessions.
        key_ids: of the keys.

    Returns:
        The sessions that nobody can read any more, because another owner's key was destroyed, and
        why. They stay as they are.

    Raises:
        ConflictError: a session is in use; everything can still be read.
        DecryptionError: a session cannot be read now, but perhaps with another key of the app; all
            others are done.
        CorruptSessionError: a session is damaged; all others are done.
        FormatVersionError: a newer version wrote a session; all others are done.
    """
    rekeying = _Rekeying.of(api, None, None, only=key_ids)
    await rekeying.run_each(await rekeying.all_sessions(), asked=False)
    unreadable = {}
    there = await api.owner_keys.ids() if rekeying.unreadable and api.owner_keys else set()
    for session, error in rekeying.unreadable.items():
        lacks = await rekeying.lacks_owner_key(session, there)
        if lacks is False:
            raise error
        if lacks:
            unreadable[session] = error.message
    if rekeying.busy:
        raise ConflictError(
            f"session {rekeying.busy[0]!r} is in use, and was an erased owner's before: it is "
            "written anew before their key is destroyed. Erase once more when it is not in use",
            session=rekeying.busy[0],
        )
    return unreadable


@dataclass(slots=True)
class _Rekeying:
    api: StoreApi
    unused_ms: int
    on_progress: OnProgress | None
    only: set[str] | None  # rewrite what these keys sealed, and nothing else
    _rewritten: list[str] = field(default_factory=list)
    _current: list[str] = field(default_factory=list)
    unreadable: dict[str, WrenSessionsError] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        api: StoreApi,
        unused_for: Duration | None,
        on_progress: OnProgress | None,
        *,
        only: set[str] | None = None,
    ) -> Self:
        """The work, with checked arguments."""
        if api.protection.encryption is None:
            raise ConfigurationError(
                "the store has no encryption: open it with encryption=Encryption([new, old]), or "
                "set WREN_SESSIONS_ENCRYPTION_KEYS"
            )
        unused_ms = 0 if unused_for is None else to_ms(unused_for, "unused_for", least_ms=0)
        return cls(api, unused_ms, on_progress, only)

    async def run(self, sessions: Iterable[str] | None) -> RekeyReport:
        if isinstance(sessions, str):
            raise ConfigurationError(f"sessions must be several ids, not one text: [{sessions!r}]")
        keys = 0
        if sessions is None:
            keys = 0 if self.api.owner_keys is None else await self.api.owner_keys.rewrap()
            sessions = await self.all_sessions()
            await self.run_each(sessions, asked=False)
        else:
            await self.run_each(sessions, asked=True)
        return RekeyReport(
            rewritten=tuple(self._rewritten),
            current=tuple(self._current),
            busy=tuple(self.busy),
            owner_keys=keys,
            unreadable={id_: error.message for id_, error in self.unreadable.items()},
        )

    async def all_sessions(self) -> list[str]:
        """All sessions; what is written while they are rewritten has the newest key already."""
        return [info.session async for info in aall_sessions(self.api.below)]

    async def run_each(self, sessions: Iterable[str], *, asked: bool) -> None:
        for session in sessions:
            try:
                if self.only is not None and await self._is_current(session):
                    continue  # without opening it, which may not be possible
                found = await self._one(session, asked=asked)
            except _UNREADABLE as error:
                self.unreadable[session] = error
            else:
                found.append(session)

    async def _one(self, session: str, *, asked: bool) -> list[str]:
        """Rewrite a session if it is there and needs it; the list that it belongs to."""
        info = await self.api.store.info(session)
        if info is None and asked:
            raise SessionNotFoundError(
                f"session {session!r} was not found, or has expired", session=session
            )
        return [] if info is None else await self._session(info)

    async def _session(self, info: SessionInfo) -> list[str]:
        """Rewrite a session if it needs it; the list that it belongs to."""
        if await self._is_current(info.session):
            return self._current
        if info.life.now_ms - info.life.updated_ms < self.unused_ms:
            return self.busy
        store, protection = self.api.store, self.api.protection
        repacking = Repacking(protection, protection)
        staging = Staging(store, store, info, self.on_progress, repacking)
        try:
            await staging.copy(replace=info.life)
        except (ChangedError, ConflictError):
            return self.busy
        return self._rewritten

    async def _is_current(self, session: str) -> bool:
        """Whether everything of a session is sealed with the newest key, or with its owner's."""
        api, keyring = self.api, self.api.protection.keyring
        raw = await api.below.info(session)
        if keyring is None or raw is None:
            return False
        key = keyring.encryption.newest
        if self.only is None and api.owner_keys is not None and raw.notes.owner is not None:
            key = await api.owner_keys.find(raw.notes.owner) or ""  # made when it is rewritten
        if self._stale({key_id(raw.state)}, key):
            return False
        looks = [(api.below, _keys_of_bodies, key)]
        if self.only is None:
            looks.append((api.store, partial(_keys_of_values, session), keyring.chunk_key))
        for store, keys_of, right in looks:
            if await self._any(store, session, keys_of, partial(self._stale, right=right)):
                return False
        return True

    async def _any(
        self,
        store: AsyncSessionStore,
        session: str,
        keys_of: Callable[[Stored], set[str | None]],
        test: Callable[[set[str | None]], bool],
    ) -> bool:
        """Whether the keys of a record of a session are so."""
        starts = [Start(namespace) for namespace, _ in await self.api.below.heads(session)]
        walk = RecordWalk(partial(store.scan, session), starts, PAGE)
        while (page := await walk.next_page()) is not None:
            if any(test(keys_of(stored)) for stored in page.records):
                return True
        return False

    async def lacks_owner_key(self, session: str, there: set[str]) -> bool | None:
        """Whether a part of a session is sealed with an owner's key that is not there any more.

        Args:
            session: its id.
            there: the ids of all keys of owners.

        Returns:
            None if the session was deleted in between.
        """

        def lacking(found: set[str | None]) -> bool:
            return any(is_owner_key(key) for key in found - there if key)

        if await self._any(self.api.below, session, _keys_of_bodies, lacking):
            return True
        raw = await self.api.below.info(session)
        return None if raw is None else lacking({key_id(raw.state)})

    def _stale(self, found: set[str | None], right: str) -> bool:
        """Whether what was sealed with these keys is to be sealed anew."""
        return not found <= {right} if self.only is None else bool(found & self.only)


def _keys_of_bodies(stored: Stored) -> set[str | None]:
    """The keys that a record and its pending writes are sealed with; None for none."""
    bodies = (stored.body, *(write.body for write in stored.writes))
    return {key_id_of(opened_frame(b)) if is_sealed_body(b) else None for b in bodies}


def _keys_of_values(session: str, stored: Stored) -> set[str | None]:
    """The keys that their values in the arena are sealed with; None for none."""
    values = [*body_of(session, stored).values.values()]
    values += [write.value for write in writes_of(session, stored)]
    return {chunk_key_id(value.kind, value.pieces) for value in values if any(ranged(value))}

"""What is noted and set while a session is being rewritten: none of it is a new revision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from saver import graphs
from wren_sessions import (
    FileStore,
    MemoryStore,
    RedisStore,
    Sessions,
    SessionSaver,
    copy_sessions,
    erase_owner,
    export_session,
)
from wren_sessions.errors import ConflictError, SessionGoneError, SessionNotFoundError
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Loaded, SessionInfo, Start
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.stores.protected import ProtectedStore
from wren_sessions.stores.protected.headers import key_id
from wren_sessions.transfer.rekey import rekey
from wren_sessions.ttl import FOREVER

OLD, NEW = Encryption.generate_key("old"), Encryption.generate_key("new")
CONFIG: Final[Any] = {"configurable": {"thread_id": "t"}}
ANNS: Final[Any] = {"configurable": {"thread_id": "t", "user_id": "ann"}}
HOUR_MS: Final = 3_600_000

Change = tuple[Callable[[SessionStore], object], Callable[[SessionInfo], object], object]

CHANGES: Final[dict[str, Change]] = {
    "owner": (lambda s: Sessions(s).annotate("t", owner="bob"), lambda i: i.owner, "bob"),
    "title": (lambda s: Sessions(s).annotate("t", title="two"), lambda i: i.title, "two"),
    "pin": (lambda s: s.pin("t"), lambda i: i.life.pinned, True),
    "timeout": (lambda s: s.set_ttl("t", "1h"), lambda i: i.idle, HOUR_MS),
}


@pytest.fixture(params=["memory", "redis"])
def below(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    """A store that encrypts nothing, on which sessions expire after a day."""
    if request.param == "memory":
        yield MemoryStore()
        return
    with RedisStore.from_url(request.getfixturevalue("redis_url")) as store:
        yield store


def opened(
    below: SessionStore, *keys: str, owner_keys: SessionStore | None = None
) -> ProtectedStore:
    """The store as an application with these keys has it."""
    return ProtectedStore(below, encryption=Encryption(keys), owner_keys=owner_keys)


def talk(store: SessionStore) -> list[Any]:
    """A chat of some turns; everything that a saver tells of it."""
    saver = SessionSaver(store)
    graph: Any = graphs.chat().compile(checkpointer=saver)
    for turn in range(3):
        graph.invoke({"messages": [graphs.said(turn, "human")]}, CONFIG)
    return list(saver.list(CONFIG))


def before_the_next(store: SessionStore, name: str, change: Callable[[], object]) -> None:
    """Change something right before a call of the store."""
    real = getattr(store, name)

    def late(*args: Any, **options: Any) -> Any:
        setattr(store, name, real)
        change()
        return real(*args, **options)

    setattr(store, name, late)


def before_each(store: SessionStore, names: tuple[str, ...], change: Callable[[], object]) -> None:
    """Change something right before each call of these, but for those that the change makes."""
    changing = False

    def late(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        nonlocal changing
        if not changing:
            changing = True
            change()
            changing = False
        return real(*args, **options)

    for name in names:
        setattr(store, name, partial(late, getattr(store, name)))


def looked_at(store: SessionStore) -> SessionInfo:
    """What is known of the session."""
    info = store.info("t")
    assert info is not None
    return info


@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_new_key_takes_nothing_back(below: SessionStore, change: str, *, noted: bool) -> None:
    """A session that changed in the last moment is left as it is, for the next call."""
    make, look, expected = CHANGES[change]
    history = talk(opened(below, OLD))
    if noted:
        Sessions(opened(below, OLD)).annotate("t", owner="ann", title="one", tags=["kept"])
    both = opened(below, NEW, OLD)
    before_the_next(below, "copy", lambda: make(opened(below, NEW, OLD)))
    assert rekey(both, unused_for=None).busy == ("t",)
    assert look(looked_at(both)) == expected
    assert rekey(both, unused_for=None).rewritten == ("t",)
    new = opened(below, NEW)
    assert look(looked_at(new)) == expected
    assert looked_at(new).tags == (("kept",) if noted else ())
    assert list(SessionSaver(new).list(CONFIG)) == history
    new.pin("t", pinned=False)


def test_a_session_that_is_handed_over_meanwhile_is_sealed_for_its_owner(
    below: SessionStore, tmp_path: Path
) -> None:
    """Nothing of it goes with the key of the one who had it before."""
    keys = FileStore(tmp_path / "keys.db", ttl=FOREVER)
    talk(opened(below, OLD, owner_keys=keys))
    both = opened(below, NEW, OLD, owner_keys=keys)
    Sessions(both).annotate("t", owner="ann")
    history = talk(both)
    other = opened(below, NEW, OLD, owner_keys=keys)
    before_the_next(below, "copy", lambda: Sessions(other).annotate("t", owner="bob"))
    assert rekey(both, unused_for=None).busy == ("t",)
    assert looked_at(both).owner == "bob"
    (bobs,) = keys.list_owned("bob").sessions
    assert key_id(looked_at(below).state) == bobs.session
    before_the_next(below, "copy", lambda: Sessions(other).annotate("t", title="two"))
    with pytest.raises(ConflictError, match="is in use"):
        erase_owner(both, "ann", settle=None)
    assert erase_owner(both, "ann", settle=None).keys == 1
    last = opened(below, NEW, OLD, owner_keys=keys)
    assert (looked_at(last).owner, looked_at(last).title) == ("bob", "two")
    assert list(SessionSaver(last).list(CONFIG)) == history


@pytest.mark.parametrize("owner", [None, "ann"])
def test_what_is_noted_about_a_session_that_is_rewritten_can_be_read(
    below: SessionStore, owner: str | None
) -> None:
    """It is sealed for the session that is there then."""
    talk(opened(below, OLD))
    if owner is not None:
        Sessions(opened(below, OLD)).annotate("t", owner=owner)
    both = opened(below, NEW, OLD)
    before_the_next(below, "annotate", lambda: rekey(opened(below, NEW, OLD), unused_for=None))
    info = Sessions(both).annotate("t", title="two")
    assert (info.title, looked_at(both).title, looked_at(both).owner) == ("two", "two", owner)
    assert looked_at(both).life.incarnation == info.life.incarnation


@pytest.mark.parametrize("anew", [False, True])
def test_a_session_that_is_deleted_while_it_is_listed_is_not_there(
    below: SessionStore, *, anew: bool
) -> None:
    """Or the one is listed that was begun in its place: nothing in it was moved there."""
    talk(opened(below, OLD))
    found: list[Any] = []

    def delete() -> None:
        below.delete("t")
        if anew:
            found.extend(talk(opened(below, OLD)))

    before_the_next(below, "info", delete)
    assert list(SessionSaver(opened(below, OLD)).list(CONFIG)) == found
    assert bool(found) is anew


def without_headers(store: SessionStore) -> None:
    """Let a store load no header: it may leave it out."""
    load = store.load

    def without_state(*args: Any, **options: Any) -> Loaded | None:
        loaded = load(*args, **options)
        return loaded and replace(loaded, state=b"")

    store.load = without_state  # type: ignore[method-assign]


def test_a_session_that_is_written_before_its_header_is_read_is_read_anew(
    below: SessionStore,
) -> None:
    """The header is not of the checkpoint that was loaded: nobody put an older one in its place."""
    writer, reader = opened(below, OLD), opened(below, OLD)
    Sessions(writer).save("t", {"n": 1})
    without_headers(below)
    before_the_next(below, "info", lambda: Sessions(writer).save("t", {"n": 2}))
    assert Sessions(reader).load("t").state == {"n": 2}


@pytest.mark.parametrize("call", ["load", "scan"])
def test_a_session_that_is_made_anew_at_each_look_is_told(below: SessionStore, call: str) -> None:
    """A read ends, also of a store that loads no header, and says nothing of a moved checkpoint."""

    def make_anew() -> None:
        below.delete("t")
        Sessions(opened(below, OLD)).save("t", {"n": 1})

    without_headers(below)
    make_anew()
    before_each(below, ("load", "scan", "info"), make_anew)
    store = opened(below, OLD)
    reads: dict[str, Callable[[], object]] = {
        "load": lambda: store.load("t"),
        "scan": lambda: store.scan("t", [Start("")], 10),
    }
    with pytest.raises(ConflictError, match="nothing was: try again"):
        reads[call]()


# --- an owner who is erased while their session is used -------------------------------------------

Use = Callable[[ProtectedStore], object]


def ask(store: ProtectedStore) -> object:
    """One more turn of the owner's chat."""
    graph: Any = graphs.chat().compile(checkpointer=SessionSaver(store, owner_key="user_id"))
    return graph.invoke({"messages": [graphs.said(9, "human")]}, ANNS, durability="sync")


def update(store: ProtectedStore) -> object:
    """Change the state of the chat."""
    graph: Any = graphs.chat().compile(checkpointer=SessionSaver(store, owner_key="user_id"))
    return graph.update_state(ANNS, {"messages": [graphs.said(9, "human")]})


def copied(store: ProtectedStore) -> object:
    """Copy all sessions to another store."""
    return copy_sessions(store, MemoryStore())


USES: Final[dict[str, Use]] = {
    "turn": ask,
    "update": update,
    "history": lambda store: list(SessionSaver(store).list(CONFIG)),
    "load": lambda store: Sessions(store).get("t"),
    "save": lambda store: Sessions(store).save("t", {"n": 1}),
    "annotate": lambda store: Sessions(store).annotate("t", title="two"),
    "hand over": lambda store: Sessions(store).annotate("t", owner="bob"),
    "fork": lambda store: Sessions(store).fork("t", "fork"),
    "prune": lambda store: SessionSaver(store).prune(["t"], keep_last=1),
    "export": lambda store: list(export_session(store, "t")),
    "copy": copied,
}


CALLS: Final = ("load", "commit", "scan", "info", "annotate", "prune", "heads", "read", "copy")


def behind(store: SessionStore, number: int, change: Callable[[], object]) -> list[str]:
    """Change something right behind a call of the store; the calls, as they are made."""
    made: list[str] = []
    changing = False

    def call(name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        nonlocal changing
        found = real(*args, **options)
        if not changing:
            made.append(name)
            if len(made) == number:
                changing = True
                change()
                changing = False
        return found

    for name in CALLS:
        setattr(store, name, partial(call, name, getattr(store, name)))
    return made


@pytest.mark.parametrize("same", [False, True], ids=["another process", "the same"])
@pytest.mark.parametrize("use", USES)
def test_who_uses_a_session_whose_owner_is_erased_is_told_that_it_is_gone(
    use: str, *, same: bool
) -> None:
    """Behind whichever call: not that its key is missing. No key of the owner is made anew."""
    for number in count(1):
        below, keys = MemoryStore(ttl=FOREVER), MemoryStore(ttl=FOREVER)
        store = opened(below, OLD, owner_keys=keys)
        user = store if same else opened(below, OLD, owner_keys=keys)
        ask(store)
        made = behind(below, number, partial(erase_owner, store, "ann", settle=None))
        left = 0
        try:
            USES[use](user)
        except (SessionGoneError, SessionNotFoundError, ConflictError):
            left = len(keys.list_owned("ann").sessions)
        assert left == 0, made
        if len(made) < number:
            break
    assert number > 1

"""The order of checkpoints where machines have clocks of their own: the latest first."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint

from saver.backends import Backend
from wren_sessions import InvalidSessionIdError, Retention, Sessions, SessionSaver
from wren_sessions.checkpoints import order
from wren_sessions.keys import MAX_ID_BYTES

THREAD: Final[Any] = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

AHEAD: Final = ("91", "92", "11", "12", "13", "93", "94", "14", "15")
"""Two machines take turns; one is ahead. Each checkpoint continues the one before it."""

FORKED: Final = (*AHEAD[:5], ("16", "12"), "17", ("95", "92"), ("18", "95"), "19")
"""Branches as well: some continue another one than the one before."""

ONE_TURN: Final = ("91", "92", *(f"{number}" for number in range(11, 40)))
"""One machine was ahead once."""

PLAIN: Final = ("1", "2", "3", ("4", "2"), "5", ("6", "3"))
"""One clock, with branches: descending ids are the order."""

HISTORIES: Final = {"ahead": AHEAD, "forked": FORKED, "one turn": ONE_TURN, "plain": PLAIN}


def write(saver: SessionSaver, history: tuple[Any, ...], namespace: str = "") -> None:
    """Put checkpoints as they are described."""
    before: str | None = None
    for number, entry in enumerate(history):
        id_, before = entry if isinstance(entry, tuple) else (entry, before)
        saver.put(at(before, namespace), checkpoint(id_), {"step": number, "source": "loop"}, {})
        before = id_


def checkpoint(id_: str) -> Any:
    """A checkpoint of one value."""
    values = {"messages": [id_]}
    return {**empty_checkpoint(), "id": id_, "channel_values": values}


def at(id_: str | None, namespace: str = "") -> Any:
    """The config of a checkpoint."""
    named = {"thread_id": "t", "checkpoint_ns": namespace}
    return {"configurable": named if id_ is None else {**named, "checkpoint_id": id_}}


def ids(found: Any) -> list[str]:
    """The ids of some checkpoints."""
    return [item.checkpoint["id"] for item in found]


def latest(saver: SessionSaver, namespace: str = "") -> str:
    """The latest checkpoint's id."""
    found = saver.get_tuple(at(None, namespace))
    assert isinstance(found, CheckpointTuple)
    found_id: str = found.checkpoint["id"]
    return found_id


@pytest.fixture(params=list(HISTORIES))
def history(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """Each history."""
    return HISTORIES[request.param]


async def test_the_first_is_the_latest(saver: SessionSaver, history: tuple[Any, ...]) -> None:
    """After each put, what is listed first is what is read without an id."""
    for count in range(1, len(history) + 1):
        write(saver, history[:count])
        found = [item async for item in saver.alist(THREAD, limit=1)]
        assert ids(found) == [latest(saver)]
        assert found[0] == await saver.aget_tuple(THREAD)


async def test_pages_of_any_size_are_the_whole(
    saver: SessionSaver, history: tuple[Any, ...]
) -> None:
    """Going on behind the last one of a page gives every checkpoint once, in the same order."""
    write(saver, history)
    whole = ids([item async for item in saver.alist(THREAD)])
    assert sorted(whole) == sorted(
        entry[0] if isinstance(entry, tuple) else entry for entry in history
    )
    for size in (1, 2, 3, 7):
        paged: list[str] = []
        before = None
        while page := ids([i async for i in saver.alist(THREAD, limit=size, before=before)]):
            paged += page
            before = at(page[-1])
        assert paged == whole
    for number, id_ in enumerate(whole):
        assert ids(saver.list(THREAD, before=at(id_))) == whole[number + 1 :]
        assert ids(saver.list(THREAD, limit=number)) == whole[:number]


def test_a_history_without_forks_is_listed_as_it_went(backend: Backend) -> None:
    """Whatever the clocks, each checkpoint is followed by the one that it continues."""
    saver = SessionSaver(backend.store())
    write(saver, AHEAD)
    line = [*AHEAD[:1:-1], "92", "91"]
    assert ids(saver.list(THREAD)) == line
    assert ids(SessionSaver(backend.store()).list(THREAD)) == line


def test_one_clock_gives_descending_ids(backend: Backend) -> None:
    """As in LangGraph's own savers, also with forks."""
    saver = SessionSaver(backend.store())
    write(saver, PLAIN)
    assert ids(saver.list(THREAD)) == ["6", "5", "4", "3", "2", "1"]


def test_an_id_that_is_not_there_leaves_out_what_is_not_lower(backend: Backend) -> None:
    """LangGraph names the graph's checkpoint where it asks for the subgraph's one before it."""
    saver = SessionSaver(backend.store())
    write(saver, FORKED)
    whole = ids(saver.list(THREAD))
    for foreign in ("0", "125", "13x", "5", "925", "99"):
        wanted = [id_ for id_ in whole if id_ < foreign]
        assert ids(saver.list(THREAD, before=at(foreign))) == wanted
        assert ids(saver.list(THREAD, before=at(foreign), limit=2)) == wanted[:2]


def test_namespaces_and_filters_keep_the_order(backend: Backend) -> None:
    """Each namespace has its latest first, and what is left out changes nothing else."""
    saver = SessionSaver(backend.store())
    for namespace, history in (("", AHEAD), ("child", PLAIN), ("other", FORKED)):
        write(saver, history, namespace)
    every: Any = {"configurable": {"thread_id": "t"}}
    parts = [ids(saver.list(at(None, namespace))) for namespace in ("", "child", "other")]
    assert [part[0] for part in parts] == [latest(saver, ns) for ns in ("", "child", "other")]
    assert ids(saver.list(every)) == [id_ for part in parts for id_ in part]
    assert ids(saver.list(every, limit=11)) == [id_ for part in parts for id_ in part][:11]
    assert ids(saver.list(None)) == ids(saver.list(every))
    steps = {item.checkpoint["id"]: item.metadata["step"] for item in saver.list(THREAD)}
    for step in (0, 4, len(AHEAD) - 1):
        wanted = [id_ for id_ in parts[0] if steps[id_] == step]
        assert ids(saver.list(THREAD, filter={"step": step})) == wanted


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_a_prune_keeps_the_first_ones(
    backend: Backend, history: tuple[Any, ...], keep: int
) -> None:
    """What is kept is what is listed first, whose first is the latest; and so with retention."""
    saver = SessionSaver(backend.store())
    write(saver, history)
    before = ids(saver.list(THREAD))
    saver.prune(["t"], strategy="keep_last", keep_last=keep)
    assert ids(saver.list(THREAD)) == before[:keep]
    assert latest(saver) == before[0]


def test_retention_never_drops_the_latest(backend: Backend, history: tuple[Any, ...]) -> None:
    """While a session is written, what was written last on its line stays."""
    saver = SessionSaver(backend.store(), retention=Retention(keep_last=1))
    plain = SessionSaver(backend.store())
    write(saver, history)
    found = plain.get_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"messages": [found.checkpoint["id"]]}
    assert latest(saver) == ids(saver.list(THREAD))[0]


def test_a_long_history_is_listed_in_few_calls(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of one clock's history takes one scan; of two clocks', a few, whatever its length."""
    store = backend.store()
    saver = SessionSaver(store, cache_bytes=0)
    write(saver, tuple(f"5{number:03}" for number in range(150)))
    calls = count_scans(store, monkeypatch)
    assert next(saver.list(THREAD, limit=1)).checkpoint["id"] == "5149"
    assert len(ids(saver.list(THREAD, limit=20, before=at("5100")))) == 20
    assert len(calls) == 2
    write(
        saver,
        tuple((f"1{number:03}", f"{(5149, 999 + number)[number > 0]}") for number in range(150)),
    )
    calls.clear()
    assert next(saver.list(THREAD, limit=1)).checkpoint["id"] == "1149"
    assert len(ids(saver.list(THREAD, limit=20))) == 20
    assert len(calls) <= 6


def count_scans(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows with each scan, by how many records it asks for."""
    calls: list[Any] = []
    original = store.scan

    def counted(session: str, starts: Any, limit: int) -> Any:
        calls.append(limit)
        return original(session, starts, limit)

    monkeypatch.setattr(store, "scan", counted)
    return calls


async def test_the_latest_is_one_thing(backend: Backend) -> None:
    """State, transcript, history, a fork and an archive's export go by the same checkpoint."""
    store = backend.store()
    saver = SessionSaver(store)
    write(saver, AHEAD)
    sessions = Sessions(store)
    assert latest(saver) == "15"
    assert sessions.load("t").checkpoint_id == "15"
    assert sessions.transcript("t").checkpoint_id == "15"
    assert dict(store.heads("t"))[""] == "15"
    assert sessions.fork("t", "copy").checkpoint_id == "15"


async def test_a_fork_has_the_checkpoint_that_was_asked_for(backend: Backend) -> None:
    """As its latest, whatever the ids of those before it, and with those alone."""
    store = backend.store()
    write(SessionSaver(store), FORKED)
    sessions = Sessions(store)
    for number, (id_, line) in enumerate(
        {
            "11": ["11", "92", "91"],
            "16": ["16", "12", "11", "92", "91"],
            "95": ["95", "92", "91"],
        }.items()
    ):
        fork = sessions.fork("t", f"fork{number}", at=id_)
        assert fork.checkpoint_id == id_
        assert fork.state == {"messages": [id_]}
        forked: Any = {"configurable": {"thread_id": f"fork{number}"}}
        assert ids(SessionSaver(store).list(forked)) == line


async def test_what_is_left_of_runs_begins_with_their_latest(
    backend: Backend, saver: SessionSaver
) -> None:
    """Where the latest run goes, the one before it is the latest, not the one with higher ids."""
    before = None
    for run, id_ in (
        ("ahead", "91"),
        ("ahead", "92"),
        ("two", "11"),
        ("two", "12"),
        ("three", "13"),
    ):
        config: Any = {**at(before), "metadata": {"run_id": run}}
        saver.put(config, checkpoint(id_), {"source": "loop", "step": 0}, {})
        before = id_
    await saver.adelete_for_runs(["three"])
    assert latest(saver) == "12"
    info = backend.store().info("t")
    assert info is not None
    assert b'"checkpoint_id":"12"' in info.state
    await saver.adelete_for_runs(["two"])
    assert latest(saver) == "92"


# --- ids of the greatest length -------------------------------------------------------------------


@pytest.mark.parametrize("end", ["x", "\x7f", "é", "\U0010ffff"])
def test_ids_may_be_as_long_as_ids_can_be(backend: Backend, end: str) -> None:
    """Checkpoints whose ids leave no room for a higher id are listed, continued and pruned."""

    def longest(number: Any) -> str:
        ends = end * ((MAX_ID_BYTES - 4) // len(end.encode()))
        return f"{number}".ljust(MAX_ID_BYTES - len(ends.encode()), "0") + ends

    saver = SessionSaver(backend.store())
    write(saver, tuple(map(longest, (1, 2, 3))))
    write(saver, ((longest(4), longest(1)),))
    listed = ids(saver.list(THREAD))
    assert listed == [*map(longest, (4, 3, 2, 1))]
    for place, id_ in enumerate(listed, 1):
        assert ids(saver.list(THREAD, before=at(id_))) == listed[place:]
    found = saver.get_tuple(at(longest(4)))
    assert found is not None
    assert found.parent_config == at(longest(1))
    saver.prune(["t"], strategy="keep_last", keep_last=2)
    assert ids(saver.list(THREAD)) == listed[:2]


EDGES: Final = "\0a\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
SHORT: Final = st.text(EDGES, min_size=1, max_size=4).filter(lambda id_: len(id_.encode()) <= 4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id_=SHORT, other=SHORT)
def test_a_scan_starts_just_above_an_id(
    monkeypatch: pytest.MonkeyPatch, id_: str, other: str
) -> None:
    """No id is between one and where a scan starts that is to bring it first."""
    monkeypatch.setattr(order, "MAX_ID_BYTES", 4)
    above = order.from_id("", id_).before
    assert above is None or id_ < above
    assert above is None or len(above.encode()) <= 4
    assert not (id_ < other and (above is None or other < above))


@pytest.mark.parametrize("id_", ["x" * (MAX_ID_BYTES + 1), "\ud800", 5])
def test_what_is_no_id_is_refused(saver: SessionSaver, id_: Any) -> None:
    """A listing that is to go on behind it says what is wrong."""
    write(saver, ("1",))
    for config in (THREAD, at("1")):
        with pytest.raises(InvalidSessionIdError, match="an id must be"):
            list(saver.list(config, before=at(id_)))

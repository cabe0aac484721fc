"""Calls of a store as spans and measurements, by OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from recording import empty_environment, refusal
from remedies.proposals import tries
from saver.calls import Calls
from servers import start_server
from telemetry.conftest import Seen
from wren_sessions import (
    ConfigurationError,
    Encryption,
    MemoryStore,
    SessionExistsError,
    Sessions,
    SessionSaver,
    Settings,
    StoreUnavailableError,
    TracedStore,
    open_store,
    rekey,
)
from wren_sessions.protocols import SessionStore
from wren_sessions.records import TurnStep
from wren_sessions.stores.traced import OPERATIONS, _about
from wren_sessions.testing import FakeClock, MakeStore, MakeTenant, PassTime, StoreContract
from wren_sessions.ttl import TTLPolicy

CANARY = "canary"


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> str:
    """Which methods of a store are called."""
    name: str = request.param
    return name


def about(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes."""
    return dict(span.attributes or {})


async def use_all(store: SessionStore, face: str) -> None:
    """Do with sessions whatever can be done with them."""
    calls = Calls(Sessions(store), face)
    await calls.save(f"{CANARY}-1", {f"{CANARY}-key": f"{CANARY}-value"})
    await calls.update(f"{CANARY}-1", lambda state: state.update(n=1))
    await calls.fork(f"{CANARY}-1", f"{CANARY}-2")
    await calls.annotate(f"{CANARY}-1", owner=f"{CANARY}-owner", title=f"{CANARY} title")
    await calls.list()
    await calls.list(owner=f"{CANARY}-owner")
    await calls.prune(f"{CANARY}-1")
    await calls.touch(f"{CANARY}-1")
    await calls.set_ttl(f"{CANARY}-1", "1h")
    await calls.pin(f"{CANARY}-2")
    await calls.pin(f"{CANARY}-2", pinned=False)
    step = TurnStep(
        session=f"{CANARY}-1",
        token="token",
        what="take",
        ttl_ms=1_000,
        patience_ms=0,
        holder=f"{CANARY}-holder",
    )
    theirs = (f"{CANARY}-1", f"{CANARY}-owner")
    if face == "sync":
        store.ping()
        store.read(f"{CANARY}-1", [])
        store.turn(step)  # type: ignore[attr-defined] # these stores have turns
        store.delete_owned(*theirs)  # type: ignore[attr-defined] # and owners
    else:
        await store.aio.ping()
        await store.aio.read(f"{CANARY}-1", [])
        await store.aio.turn(step)  # type: ignore[attr-defined] # these stores have turns
        await store.aio.delete_owned(*theirs)  # type: ignore[attr-defined] # and owners
    await calls.get(f"{CANARY}-none")
    await calls.delete(f"{CANARY}-1")
    await calls.delete(f"{CANARY}-2")


async def test_every_call_is_a_span_and_a_measurement(
    store: SessionStore, url: str, face: str, seen: Seen
) -> None:
    """With the names of the conventions, below the span that the caller is in."""
    with seen.tracer.start_as_current_span("request") as request:
        await use_all(store, face)
    spans = seen.spans()
    assert set(seen.operations()) == set(OPERATIONS)
    scheme = urlsplit(url).scheme
    system = {"memory": "memory", "file": "sqlite", "redis": "redis"}[scheme]
    port = urlsplit(url).port
    expected: dict[str, Any] = {"db.system.name": system}
    if scheme == "redis":
        expected |= {"server.address": "127.0.0.1", "server.port": port, "db.namespace": "0"}
    for span in spans:
        told = about(span)
        operation, outcome = told.pop("db.operation.name"), told.pop("wren_sessions.outcome", None)
        assert told == expected
        assert (outcome is not None) == (operation in {"commit", "prune"})
        target = f"127.0.0.1:{port}" if port else system
        assert span.name == f"{operation} {target}"
        assert span.kind is (SpanKind.INTERNAL if scheme == "memory" else SpanKind.CLIENT)
        assert span.status.status_code is StatusCode.UNSET
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id
        assert span.context.trace_id == request.get_span_context().trace_id
    measured = seen.measured()
    assert {attributes["db.operation.name"] for attributes, _ in measured} == set(OPERATIONS)
    assert sum(point.count for _, point in measured) == len(spans)
    for attributes, point in measured:
        assert {**attributes, "db.operation.name": ""} == {**expected, "db.operation.name": ""}
        assert point.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
        assert 0 < point.max < 60


async def test_no_content_is_told(store: SessionStore, face: str, seen: Seen) -> None:
    """Neither ids, nor keys, values, owners, titles, holders: nothing that somebody stored."""
    await use_all(store, face)
    with pytest.raises(LookupError, match=CANARY):
        await Calls(Sessions(store), face).load(f"{CANARY}-none")
    assert CANARY not in seen.text()
    assert len(seen.spans()) > 20


async def test_ids_of_sessions_are_told_if_asked_for(url: str, face: str, seen: Seen) -> None:
    """In spans alone, and of one session: an owner is none, and metrics would never end."""
    with open_store(url, ttl="1h", telemetry=seen.telemetry(session_ids=True)) as store:
        await use_all(store, face)
        await store.aio.close()
    named = {about(span)["db.operation.name"] for span in seen.spans()
             if "gen_ai.conversation.id" in about(span)}  # fmt: skip
    assert named == set(OPERATIONS) - {"list_sessions", "list_owned", "ping"}
    ids = {about(span).get("gen_ai.conversation.id") for span in seen.spans()}
    assert ids == {None, f"{CANARY}-1", f"{CANARY}-2", f"{CANARY}-none"}
    assert "owner" not in seen.text()
    assert all("gen_ai.conversation.id" not in attributes for attributes, _ in seen.measured())


async def test_a_failure_is_told_without_its_text(face: str, seen: Seen) -> None:
    """Its class is, in the span and in the metric; the caller gets the error as it was."""
    with start_server() as server:
        store = open_store(server.url, telemetry=seen.telemetry(), retries=0)
        calls = Calls(Sessions(store), face)
        await calls.save(f"{CANARY}-1", {"n": 1})
    seen.forget()
    with pytest.raises(StoreUnavailableError):
        await calls.save(f"{CANARY}-1", {"n": 2})
    await store.aio.close()
    store.close()
    (span,) = seen.spans()
    kind = "wren_sessions.errors.StoreUnavailableError"
    assert about(span)["error.type"] == kind
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert not span.events
    failed = [point for attributes, point in seen.measured() if "error.type" in attributes]
    assert [point.attributes["error.type"] for point in failed] == [kind]
    assert CANARY not in seen.text()


async def test_a_failed_condition_is_no_error(face: str, seen: Seen) -> None:
    """What became of a commit is told by its outcome."""
    store = TracedStore(MemoryStore(), seen.telemetry())
    calls = Calls(Sessions(store), face)
    await calls.create("one")
    with pytest.raises(SessionExistsError):
        await calls.create("one")
    commits = [about(span) for span in seen.spans() if about(span)["db.operation.name"] == "commit"]
    assert [told["wren_sessions.outcome"] for told in commits] == ["done", "exists"]
    assert all(span.status.status_code is StatusCode.UNSET for span in seen.spans())


async def test_a_cancelled_call_is_told(seen: Seen) -> None:
    """Its span ends, and says so."""

    class Stuck(MemoryStore):
        """A store whose awaitable face does not answer."""

        @property
        def aio(self) -> Any:
            """The face."""

            class Face:
                """The face."""

                async def ping(self) -> None:
                    """Never come back."""
                    await asyncio.Event().wait()

            return Face()

    task = asyncio.ensure_future(TracedStore(Stuck(), seen.telemetry()).aio.ping())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = seen.spans()
    assert about(span)["error.type"] == "asyncio.exceptions.CancelledError"


# --- whose child a span is ------------------------------------------------------------------------


async def test_a_graph_is_one_trace(store: SessionStore, face: str, seen: Seen) -> None:
    """Whichever thread or task LangGraph saves in, the spans are below the request's."""
    builder: Any = StateGraph(MessagesState)
    for before, name in pairwise((START, "one", "two")):
        builder.add_node(name, lambda _: {"messages": [("ai", "hi")]})
        builder.add_edge(before, name)
    graph = builder.compile(checkpointer=SessionSaver(store))
    config: Any = {"configurable": {"thread_id": "t"}}

    def roots() -> set[int]:
        with seen.tracer.start_as_current_span("request") as request:
            asked: Any = {"messages": [("user", "hello")]}
            graph.invoke(asked, config)
            return {request.get_span_context().trace_id}

    if face == "sync":
        traces = await asyncio.to_thread(roots)
    else:
        with seen.tracer.start_as_current_span("request") as request:
            await graph.ainvoke({"messages": [("user", "hello")]}, config)
            traces = {request.get_span_context().trace_id}
    assert len(seen.spans()) > 4
    assert {span.context.trace_id for span in seen.spans()} == traces
    assert all(span.parent is not None for span in seen.spans())


async def test_calls_at_the_same_time_keep_their_own_parents(
    store: SessionStore, face: str, seen: Seen
) -> None:
    """Commits that a store makes together, in another thread, are below their own callers."""
    sessions = Sessions(store)

    async def save(number: int) -> None:
        with seen.tracer.start_as_current_span(f"request {number}"):
            await Calls(sessions, face).save(f"s{number}", {"n": number})

    if face == "sync":
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, save(n)) for n in range(8)))
    else:
        await asyncio.gather(*map(save, range(8)))
    requests = {span.context.span_id: span.name for span in seen.everything()}
    parents = [requests[span.parent.span_id] for span in seen.spans() if span.parent]
    assert len(parents) == len(seen.spans())
    own = seen.operations().count("commit")
    commits = {requests[span.parent.span_id] for span in seen.spans()
               if span.parent and about(span)["db.operation.name"] == "commit"}  # fmt: skip
    assert own == 8
    assert commits == {f"request {n}" for n in range(8)}


async def test_a_turn_that_is_renewed_stays_below_its_caller(face: str, seen: Seen) -> None:
    """The thread or task that renews it in the background is in the caller's context."""
    renewed = threading.Event()

    class Renewing(MemoryStore):
        """A store that says when a turn was renewed."""

        def turn(self, step: TurnStep) -> Any:
            """The same."""
            state = super().turn(step)
            if step.what == "keep":
                renewed.set()
            return state

    sessions = Sessions(TracedStore(Renewing(), seen.telemetry()))

    async def turn() -> None:
        with seen.tracer.start_as_current_span("request"):
            if face == "sync":
                with sessions.turn("one", ttl="60ms"):
                    assert renewed.wait(60)
            else:
                async with sessions.aio.turn("one", ttl="60ms"):
                    assert await asyncio.to_thread(renewed.wait, 60)

    await turn()
    traces = {span.context.trace_id for span in seen.everything()}
    assert seen.operations().count("turn") >= 3
    assert len(traces) == 1


# --- how it is switched on ------------------------------------------------------------------------


def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Nothing is wrapped then, and OpenTelemetry is not even loaded."""
    with empty_environment(tmp_path) as environment:
        with open_store("memory://") as store:
            assert type(store) is MemoryStore
        for value, kind in (("0", MemoryStore), ("", MemoryStore), ("1", TracedStore)):
            environment.setenv("WREN_SESSIONS_TELEMETRY", value)
            with open_store("memory://") as store, open_store() as found:
                assert type(store) is type(found) is kind
        with open_store("memory://", telemetry=False) as store:
            assert type(store) is MemoryStore
        environment.setenv("WREN_SESSIONS_TELEMETRY", "maybe")
        assert "WREN_SESSIONS_TELEMETRY must be 1, true" in refusal(lambda: open_store("memory://"))
    code = (
        "import sys\nfrom wren_sessions import Sessions, open_store\n"
        "Sessions(open_store('memory://')).save('a', {})\n"
        "print([name for name in sys.modules if 'opentelemetry' in name or 'traced' in name])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_it_is_a_setting_like_others(seen: Seen) -> None:
    """A saver takes it with its URL; something else than a flag or `Telemetry` is refused."""
    with SessionSaver.from_url("memory://", telemetry=seen.telemetry()) as saver:
        assert saver.get_tuple({"configurable": {"thread_id": "t"}}) is None
    assert seen.operations() == ["load"]
    assert "telemetry=True" in repr(Settings(telemetry=True))
    wrong: Any
    for wrong in (1, "on", object()):
        with pytest.raises(ConfigurationError, match="telemetry must be True, False or Telemetry"):
            open_store("memory://", telemetry=wrong)


@tries("telemetry needs OpenTelemetry: pip install 'wren-sessions[opentelemetry]'")
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was asked for, so that it is not there is an error."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'wren-sessions\[opentelemetry\]'"):
        open_store("memory://", telemetry=True)
    with open_store("memory://") as store:
        assert not isinstance(store, TracedStore)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:secret@h:7/3", ("redis", "h", 7, "3")),
        ("rediss://[::1]", ("redis", "::1", 6379, "0")),
        ("unix:///run/redis.sock", ("redis", None, None, None)),
        ("redis+cluster://a:1,b:2", ("redis", None, None, None)),
        ("redis+sentinel://a:1/main/1", ("redis", None, None, None)),
        ("file:sessions.db", ("sqlite", None, None, None)),
    ],
)
def test_a_server_is_named_if_there_is_one(
    url: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    """By host, port and database, and never by user, password or path."""
    with empty_environment(tmp_path), open_store(url) as store:
        told = _about(store.location)
    names = ("db.system.name", "server.address", "server.port", "db.namespace")
    assert tuple(told.get(name) for name in names) == expected
    assert set(told) <= set(names)


def test_without_an_sdk_a_store_works_as_before() -> None:
    """The API alone, without anybody who collects: nothing happens, and nothing fails."""
    with open_store("memory://", telemetry=True) as store:
        Sessions(store).save("one", {"n": 1})
        assert Sessions(store).load("one").state == {"n": 1}
        assert repr(store).endswith("traced>")


def test_an_encrypted_store_tells_of_the_calls_below(seen: Seen) -> None:
    """What the database is asked is what is measured; keys are changed as in any other store."""
    new, old = Encryption.generate_key("new"), Encryption.generate_key("old")
    with open_store(
        "memory://", encryption=Encryption([new, old]), telemetry=seen.telemetry()
    ) as store:
        Sessions(store).save("one", {CANARY: CANARY})
        rekey(store, unused_for=None)
        assert Sessions(store).load("one").state == {CANARY: CANARY}
    assert "commit" in seen.operations()
    assert CANARY not in seen.text()


class TestTracedStore(StoreContract):
    """A store that is told of keeps the contract of stores."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """One clock for all stores of a test."""
        return FakeClock()

    @pytest.fixture
    def make_store(self, clock: FakeClock, seen: Seen) -> MakeStore:
        """Stores in memory."""

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return TracedStore(MemoryStore(ttl=ttl, clock=clock), seen.telemetry(session_ids=True))

        return make

    @pytest.fixture
    def make_tenant(self, clock: FakeClock, seen: Seen) -> MakeTenant:
        """Stores with a prefix each."""

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            return TracedStore(
                MemoryStore(ttl=ttl, prefix=prefix, clock=clock), seen.telemetry(session_ids=True)
            )

        return make

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> PassTime:
        """Time passes when the test says so."""
        return clock.advance

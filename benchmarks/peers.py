"""The savers that are compared: how each is opened, at an address, on each of its faces.

What a peer needs is imported when it is opened: one that is not installed is told, and left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from benchmarks.faces import Saver

POOL: Final = 20
"""Connections to PostgreSQL for many tasks at once; its saver's own locks allow one call each."""
VALKEY_POOL: Final = 256
"""Its client raises where the pool is exhausted: with its default of 10, most of 200 tasks fail."""
SYNCHRONOUS: Final = "full"
"""Of all SQLite files: it is the default of both, and can be changed for ours and theirs alike."""

Opener = Callable[[str, str, bool], AbstractAsyncContextManager[Saver]]


@dataclass(frozen=True)
class Peer:
    """A saver that is compared.

    Attributes:
        name: for people.
        backend: ``"memory"``, ``"file"``, ``"redis"``, ``"postgres"`` or ``"modules"``.
        package: the distribution it comes from.
        open: opens it: address, face, and whether many tasks will use it at once.
        imports: the modules that this imports, on both faces.
        ours: whether it is this package's.
    """

    name: str
    backend: str
    package: str
    open: Opener
    imports: tuple[str, ...]
    ours: bool = False

    @property
    def served(self) -> bool:
        """Whether a server keeps its data."""
        return self.backend not in {"memory", "file"}


def load(module: str, name: str) -> Any:
    """Something that may not be installed.

    Raises:
        ImportError: it is not.
    """
    return getattr(import_module(module), name)


@asynccontextmanager
async def _memory(_: str, __: str, ___: bool) -> AsyncIterator[Saver]:  # noqa: FBT001 -- see Opener
    from langgraph.checkpoint.memory import InMemorySaver

    yield InMemorySaver()


@asynccontextmanager
async def _references(_: str, __: str, ___: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    yield load("benchmarks.references", "ReferenceSaver")()


@asynccontextmanager
async def _sqlite(at: str, face: str, _: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    if face == "async":
        factory = load("langgraph.checkpoint.sqlite.aio", "AsyncSqliteSaver")
        async with factory.from_conn_string(at) as saver:
            await saver.setup()
            await saver.conn.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
            yield saver
    else:
        with load("langgraph.checkpoint.sqlite", "SqliteSaver").from_conn_string(at) as saver:
            saver.setup()
            saver.conn.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
            yield saver


@asynccontextmanager
async def _postgres(at: str, face: str, many: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    awaits = face == "async"
    module, prefix = (
        ("langgraph.checkpoint.postgres.aio", "Async")
        if awaits
        else (
            "langgraph.checkpoint.postgres",
            "",
        )
    )
    factory = load(module, f"{prefix}PostgresSaver")
    if many:
        opened = load("psycopg_pool", f"{prefix}ConnectionPool")(
            at, min_size=POOL, max_size=POOL, open=False, kwargs=_postgres_options()
        )
    else:
        opened = factory.from_conn_string(at)
    if awaits:
        async with opened as found:
            saver = factory(found) if many else found
            await saver.setup()
            yield saver
    else:
        with opened as found:
            saver = factory(found) if many else found
            saver.setup()
            yield saver


def _postgres_options() -> dict[str, Any]:
    rows = load("psycopg.rows", "dict_row")
    return {"autocommit": True, "prepare_threshold": 0, "row_factory": rows}


@asynccontextmanager
async def _valkey(at: str, face: str, _: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    prefix = "Async" if face == "async" else ""
    factory = load("langgraph_checkpoint_aws", f"{prefix}ValkeySaver")
    opened = factory.from_conn_string(at.replace("redis://", "valkey://"), pool_size=VALKEY_POOL)
    if face == "async":
        async with opened as saver:
            yield saver
    else:
        with opened as saver:
            yield saver


@asynccontextmanager
async def _official(at: str, face: str, _: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    if face == "async":
        factory = load("langgraph.checkpoint.redis.aio", "AsyncRedisSaver")
        async with factory.from_conn_string(at) as saver:
            await saver.asetup()
            yield saver
    else:
        with load("langgraph.checkpoint.redis", "RedisSaver").from_conn_string(at) as saver:
            saver.setup()
            yield saver


@asynccontextmanager
async def _ours(at: str, face: str, _: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    from wren_sessions import SessionSaver, open_store

    options: dict[str, Any] = {"synchronous": SYNCHRONOUS} if at.startswith("file:") else {}
    store = open_store(at, **options)
    try:
        yield SessionSaver(store)
    finally:
        if face == "async":
            await store.aio.close()
        else:
            store.close()


@asynccontextmanager
async def _our_memory(_: str, face: str, many: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    async with _ours("memory://", face, many) as saver:
        yield saver


@asynccontextmanager
async def _our_file(at: str, face: str, many: bool) -> AsyncIterator[Saver]:  # noqa: FBT001
    async with _ours(f"file://{at}", face, many) as saver:
        yield saver


OURS: Final = "wren-sessions"
_LANGGRAPHS: Final = "langgraph.checkpoint"
_STORES: Final = "wren_sessions.stores"
_SAVER: Final = ("wren_sessions.config", "wren_sessions.langgraph")
PEERS: Final = (
    Peer("InMemorySaver", "memory", "langgraph-checkpoint", _memory, (f"{_LANGGRAPHS}.memory",)),
    Peer(
        "SqliteSaver",
        "file",
        "langgraph-checkpoint-sqlite",
        _sqlite,
        (f"{_LANGGRAPHS}.sqlite", f"{_LANGGRAPHS}.sqlite.aio"),
    ),
    Peer(
        "PostgresSaver",
        "postgres",
        "langgraph-checkpoint-postgres",
        _postgres,
        (f"{_LANGGRAPHS}.postgres", f"{_LANGGRAPHS}.postgres.aio"),
    ),
    Peer(
        "ValkeySaver",
        "redis",
        "langgraph-checkpoint-aws",
        _valkey,
        ("langgraph_checkpoint_aws.checkpoint.valkey",),
    ),
    Peer(
        "RedisSaver",
        "modules",
        "langgraph-checkpoint-redis",
        _official,
        (f"{_LANGGRAPHS}.redis", f"{_LANGGRAPHS}.redis.aio"),
    ),
    Peer("wren memory", "memory", OURS, _our_memory, (*_SAVER, f"{_STORES}.memory"), ours=True),
    Peer("wren file", "file", OURS, _our_file, (*_SAVER, f"{_STORES}.file"), ours=True),
    Peer("wren redis", "redis", OURS, _ours, (*_SAVER, f"{_STORES}.redis"), ours=True),
)


REFERENCE: Final = Peer("references only", "memory", "langgraph-checkpoint", _references, ())
"""What LangGraph itself takes: what others add is measured above it, where they add little."""


def peer_named(name: str) -> Peer:
    """The peer of this name."""
    return next(peer for peer in PEERS if peer.name == name)

"""What each call costs on a session file: SQL statements, waits for the disk, and pages written.

Statements are what SQLite's own trace reports, BEGIN and COMMIT among them. A wait for the disk
(an fsync) cannot be seen from Python. But in WAL mode with ``synchronous=FULL`` SQLite syncs the
log once per transaction that writes, and never in one that reads (https://sqlite.org/pragma.html,
"synchronous"); and the log tells how many there were: the last frame of each transaction carries
the size of the database, all others carry zero there. So the frames of the log are counted. The
syncs of a checkpoint, one per about 1,000 pages, come on top; no test here writes that much.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from backends.chats import THREAD, Chat
from wren_sessions import SessionSaver
from wren_sessions.records import Span, Start
from wren_sessions.stores.file import FileStore
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import SESSION, add, commit, prune, put, write

SHORT: Final = 20
LONG: Final = 200
SYNCHRONOUS: Final = {"off": 0, "normal": 1, "full": 2}


@dataclass(frozen=True)
class Cost:
    """What something cost: SQL statements, transactions that wrote, pages written to the log."""

    statements: int
    syncs: int
    pages: int


class Meter:
    """Counts on all connections of a store.

    Args:
        path: the session file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statements: list[str] = []

    async def of(self, call: Callable[[], Awaitable[object]]) -> Cost:
        """What a call costs."""
        syncs, pages = self.log()
        self.statements.clear()
        await call()
        later_syncs, later_pages = self.log()
        return Cost(len(self.statements), later_syncs - syncs, later_pages - pages)

    def log(self) -> tuple[int, int]:
        """How many transactions, and how many pages, the write-ahead log holds.

        Its format is https://sqlite.org/fileformat2.html#the_write_ahead_log. Reading it beside
        SQLite is safe: its locks are on the database and on the shared memory, not on the log.
        """
        log = self.path.with_name(f"{self.path.name}-wal").read_bytes()
        (page_bytes,) = struct.unpack(">I", log[8:12])
        syncs = pages = 0
        for at in range(32, len(log), 24 + page_bytes):
            if log[at + 8 : at + 16] != log[16:24]:  # left over from before a checkpoint
                break
            pages += 1
            syncs += log[at + 4 : at + 8] != bytes(4)
        return syncs, pages


@pytest.fixture
def meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """Traces all connections that are opened from now on."""
    meter = Meter(tmp_path / "sessions.db")
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(meter.statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return meter


@pytest_asyncio.fixture
async def store(meter: Meter) -> AsyncIterator[FileStore]:
    """A store that has swept, and is not going to again: its clock stands still."""
    async with FileStore(meter.path, clock=FakeClock()) as store:
        store.commit(put("1", session="warm"))
        store.load("warm")
        store.info("warm")  # a load uses the writer's connection; this one opens a reader's
        yield store


async def test_a_put_is_7_statements_and_one_sync(store: FileStore, meter: Meter) -> None:
    """Whatever the length of the thread, and it writes as many pages at message 200 as at 20."""
    chat = Chat(SessionSaver(store))
    costs: dict[int, list[Cost]] = {}
    for length in (SHORT, LONG):
        await chat.grow(length - len(chat.messages))
        costs[length] = [await meter.of(chat.put) for _ in range(10)]
    for cost in (*costs[SHORT], *costs[LONG]):
        assert cost.statements <= 7
        assert cost.syncs == 1
    most = [max(cost.pages for cost in costs[length]) for length in (SHORT, LONG)]
    assert most[0] <= 8
    assert most[1] <= most[0] + 2  # the trees of the tables have become deeper
    await chat.latest()


async def test_the_first_put_is_one_sync(store: FileStore, meter: Meter) -> None:
    """A session is made in the transaction that writes its first checkpoint."""
    cost = await meter.of(Chat(SessionSaver(store)).put)
    assert cost.statements <= 9
    assert cost.syncs == 1


async def test_a_cold_put_reads_the_parent_first(store: FileStore, meter: Meter) -> None:
    """A saver that has not seen the parent needs a read more, and no sync more."""
    chat = await Chat(SessionSaver(store)).grow(SHORT)
    other = chat.on(SessionSaver(store))
    cost = await meter.of(other.put)
    assert cost.statements <= 7 + 5
    assert cost.syncs == 1
    await other.latest()


async def test_pending_writes_are_5_statements_and_one_sync(store: FileStore, meter: Meter) -> None:
    """The first one, further ones, and those that replace."""
    chat = await Chat(SessionSaver(store)).grow(SHORT)
    for call in (chat.write, lambda: chat.write("another"), chat.interrupt, chat.interrupt):
        cost = await meter.of(call)
        assert cost.statements <= 5
        assert cost.syncs == 1
    found = await chat.latest()
    assert len(found.pending_writes or ()) == 3


async def test_a_get_is_5_statements_and_no_sync(store: FileStore, meter: Meter) -> None:
    """The latest and an earlier one, warm and cold, at any length."""
    chat = await Chat(SessionSaver(store)).grow(SHORT)
    early = chat.config
    await chat.grow(LONG - SHORT)
    for saver in (chat.saver, SessionSaver(store), SessionSaver(store, cache_bytes=0)):
        assert (await meter.of(chat.on(saver).latest)).statements <= 5
        cost = await meter.of(lambda saver=saver: saver.aget_tuple(early))  # type: ignore[misc]
        assert cost.statements <= 5
        assert (cost.syncs, cost.pages) == (0, 0)


async def test_a_warm_get_without_pending_writes_is_3_statements(
    store: FileStore, meter: Meter
) -> None:
    """BEGIN, one SELECT and COMMIT: the arena is known, and there are no writes to be read."""
    chat = await Chat(SessionSaver(store)).grow(SHORT)
    await chat.latest()
    assert (await meter.of(chat.latest)).statements <= 3
    await chat.write()
    assert (await meter.of(chat.latest)).statements <= 4


async def test_ten_checkpoints_are_listed_in_three_reads(store: FileStore, meter: Meter) -> None:
    """However long the history: statements do not grow with it, and nothing is written."""
    chat = Chat(SessionSaver(store))
    costs = []
    for length in (SHORT, LONG):
        await chat.grow(length - len(chat.messages))
        costs.append(await meter.of(lambda: chat.history(limit=10)))
    assert costs[0] == costs[1]
    assert costs[1].syncs == 0
    begun = [statement for statement in meter.statements if statement == "BEGIN"]
    assert len(begun) <= 3


async def test_a_thread_is_deleted_in_one_sync(store: FileStore, meter: Meter) -> None:
    """Statements do not grow with its length; deleting nothing writes nothing."""
    costs = []
    for length in (SHORT, LONG):
        chat = await Chat(SessionSaver(store)).grow(length)
        costs.append(await meter.of(lambda chat=chat: chat.saver.adelete_thread(THREAD)))  # type: ignore[misc]
        assert await chat.get() is None
    for cost in costs:
        assert cost.syncs == 1
        assert cost.statements == costs[0].statements
    again = await meter.of(lambda: SessionSaver(store).adelete_thread(THREAD))
    assert (again.syncs, again.pages) == (0, 0)


WRITES: Final[dict[str, Callable[[FileStore], object]]] = {
    "commit": lambda store: store.commit(put("3", parent="2", append=b"three" * 1_000)),
    "commit writes": lambda store: store.commit(add("2", write("task", 0, b"value"))),
    "commit a header": lambda store: store.commit(commit(state=b"{}")),
    "set_ttl": lambda store: store.set_ttl(SESSION, "2h"),
    "pin": lambda store: store.pin(SESSION),
    "copy": lambda store: store.copy(SESSION, "copy"),
    "delete": lambda store: store.delete(SESSION),
}
READS: Final[dict[str, Callable[[FileStore], object]]] = {
    "commit, refused": lambda store: store.commit(put("4", new=True)),
    "load": lambda store: store.load(SESSION),
    "load by id": lambda store: store.load(SESSION, "", "1"),
    "load nothing": lambda store: store.load("another"),
    "read": lambda store: store.read(SESSION, [Span(0, 20_000)]),
    "scan": lambda store: store.scan(SESSION, [Start(""), Start("child", "9")], 100),
    "heads": lambda store: store.heads(SESSION),
    "info": lambda store: store.info(SESSION),
    "list_sessions": lambda store: store.list_sessions(),
    "ping": lambda store: store.ping(),
}


def fill(store: FileStore) -> None:
    """A session with two namespaces."""
    store.commit(put("1", append=b"one" * 10_000))
    store.commit(put("2", parent="1", append=b"two"))
    store.commit(put("1", ns="child"))


async def cost_of(store: FileStore, meter: Meter, call: Callable[[FileStore], object]) -> Cost:
    """What a call of the store costs."""

    async def called() -> None:
        call(store)

    return await meter.of(called)


@pytest.mark.parametrize("call", WRITES)
async def test_a_call_that_writes_is_one_transaction(
    store: FileStore, meter: Meter, call: str
) -> None:
    """Each method of the store that writes waits for the disk once."""
    fill(store)
    cost = await cost_of(store, meter, WRITES[call])
    assert cost.syncs == 1
    assert cost.pages > 0
    assert sum(statement.startswith("BEGIN") for statement in meter.statements) == 1


@pytest.mark.parametrize("call", READS)
async def test_a_call_that_reads_writes_nothing(store: FileStore, meter: Meter, call: str) -> None:
    """Neither does a commit that is refused, nor a ping, which only takes the lock."""
    fill(store)
    cost = await cost_of(store, meter, READS[call])
    assert (cost.syncs, cost.pages) == (0, 0)
    assert sum(statement.startswith("BEGIN") for statement in meter.statements) == 1


async def test_the_log_grows_a_few_times_ahead_of_what_is_written(
    store: FileStore, meter: Meter
) -> None:
    """Then a commit waits for its own bytes alone, and not for the file system's journal too."""
    log, lengths = meter.path.with_name("sessions.db-wal"), []
    for number in range(100):
        store.commit(put(f"{number:03}", append=bytes(600)))
        lengths.append(log.stat().st_size)
    _, pages = meter.log()
    assert len(set(lengths[3:])) <= 8
    assert 4_000 * pages < lengths[-1] < 2 * 4_000 * pages
    found = store.load(SESSION)
    assert found is not None
    assert found.stored.name == ("", "099")


async def test_a_prune_is_one_sync(store: FileStore, meter: Meter) -> None:
    """Dropping many records, with all that only they need, is one transaction."""
    life = store.commit(put("00")).life
    for number in range(1, 50):
        life = store.commit(put(f"{number:02}", append=bytes(5_000))).life
    assert life is not None
    names = [("", f"{number:02}") for number in range(49)]
    what = prune(life, *names, free=(Span(0, 240_000),))
    assert (await cost_of(store, meter, lambda store: store.prune(what))).syncs == 1


@pytest.mark.parametrize("synchronous", SYNCHRONOUS)
def test_connections_sync_as_they_were_told(tmp_path: Path, synchronous: Any) -> None:
    """A transaction waits for the disk as the option says: 2 is once each, 1 and 0 are never."""
    with FileStore(tmp_path / "sessions.db", synchronous=synchronous) as store:
        store.commit(put("1"))
        writer = store._database._writer
        assert writer is not None
        (found,) = writer.connection.execute("PRAGMA synchronous").fetchone()
        (mode,) = writer.connection.execute("PRAGMA journal_mode").fetchone()
    assert found == SYNCHRONOUS[synchronous]
    assert mode == "wal"

"""``verify`` and ``migrate``: new code is tried on sessions that old code wrote."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from cli.running import Cli
from remedies.proposals import tries
from wren_sessions import copy_sessions, open_store
from wren_sessions.upgrading import _verifying

HEAD: Final = """
import enum, sys
from typing import TypedDict
from pydantic import BaseModel
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from wren_sessions import Migrations, Sessions, SessionSaver, open_store
"""
OLD: Final = """
class Order(BaseModel):
    price: int = 0
    note: str = ""
class Plan(enum.Enum):
    FREE = 1
    PAID = 2
class State(TypedDict, total=False):
    order: Order
    plan: Plan
    turns: int
def ask(state):
    return {"turns": 1 + interrupt("How many?")}
def graph_on(store):
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    return builder.compile(checkpointer=SessionSaver(store))
def fill(url, count):
    with open_store(url, dotenv=False) as store:
        graph = graph_on(store)
        config = {"configurable": {"thread_id": "waits"}}
        graph.invoke({"order": Order(price=3), "plan": Plan.FREE, "turns": 0}, config)
        for n in range(count):
            Sessions(store).save(f"s{n}", {"order": Order(price=n, note="x"), "turns": n})
        Sessions(store).save("plain", {"turns": 1})
"""
SAME: Final = f"{OLD}\ngraph = graph_on(open_store('memory://'))\n"
NEW: Final = """
class Order(BaseModel):
    cents: int = 0
    city: str
class Plan(enum.Enum):
    BASIC = 1
    PAID = 2
class State(TypedDict, total=False):
    order: Order
    plan: Plan
def other(state):
    return {}
builder = StateGraph(State)
builder.add_node("other", other)
builder.add_edge(START, "other")
graph = builder.compile(checkpointer=SessionSaver(open_store("memory://")))
migrations = (
    Migrations()
    .field_removed(Order, "note")
    .member_renamed(Plan, FREE="BASIC")
)
@migrations.migration(Order, since=1)
def _(fields):
    return {"cents": fields["price"] * 100, "city": "?"}
"""
CHANNELS: Final = """
class Order(BaseModel):
    price: int = 0
    note: str = ""
class Plan(enum.Enum):
    FREE = 1
    PAID = 2
class State(TypedDict, total=False):
    purchase: Order
    rounds: int
def ask(state):
    return {}
builder = StateGraph(State)
builder.add_node("ask", ask)
builder.add_edge(START, "ask")
migrations = (
    Migrations()
    .channel_renamed("order", "purchase")
    .channel_renamed("turns", "rounds")
    .channel_removed("plan")
)
@migrations.channel("rounds", since=1)
def _(value):
    return value + 1
graph = builder.compile(
    checkpointer=SessionSaver(open_store("memory://"), migrations=migrations)
)
"""


@pytest.fixture(autouse=True)
def _no_shop() -> Iterator[None]:
    """Each test imports a shop of its own."""
    before = list(sys.path)
    yield
    sys.modules.pop("shop", None)
    sys.path[:] = before


@pytest.fixture(scope="module")
def old_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that a shop of the release before has filled, not to be changed."""
    folder = tmp_path_factory.mktemp("old")
    deploy(folder, OLD)
    code = f"import shop; shop.fill('file:{folder / 's.db'}', 5)"
    subprocess.run([sys.executable, "-B", "-c", code], check=True, cwd=folder, timeout=120)
    return folder / "s.db"


@pytest.fixture(params=["file", "redis"])
def filled(request: pytest.FixtureRequest, old_file: Path, tmp_path: Path) -> str:
    """A store with the same sessions."""
    shutil.copy(old_file, tmp_path / "s.db")
    url = f"file:{tmp_path / 's.db'}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        with (
            open_store(f"file:{old_file}", dotenv=False) as source,
            open_store(url, dotenv=False) as target,
        ):
            copy_sessions(source, target)
    return url


def deploy(folder: Path, code: str) -> None:
    """Put the shop's code there."""
    (folder / "shop.py").write_text(HEAD + code)


def changes(url: str, folder: Path) -> Any:
    """What is different after any write."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            facts = client.info("persistence")
            assert isinstance(facts, dict)
            return facts["rdb_changes_since_last_save"]
    return [sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("s.db"))]


def by_where(found: list[Any]) -> dict[tuple[str, str], int]:
    """How many sessions each cause has."""
    return {(each["outcome"], each["where"]): each["sessions"] for each in found if "where" in each}


def test_code_that_did_not_change(cli: Cli, filled: str, tmp_path: Path) -> None:
    """Everything is read as it is."""
    deploy(tmp_path, SAME)
    found = cli("verify", "--app", "shop:graph", "--json", url=filled)
    assert (found.code, found.json) == (
        0,
        [{"sessions": 7, "fine": 7, "fails": 0, "warning": 0, "migrated": 0, "cursor": None}],
    )


def test_what_would_fail_is_grouped_by_cause(cli: Cli, filled: str, tmp_path: Path) -> None:
    """With the line to add; nothing is written."""
    deploy(tmp_path, NEW)
    before = changes(filled, tmp_path)
    found = cli("verify", "--app", "shop:graph", "--json", url=filled)
    assert changes(filled, tmp_path) == before
    assert found.code == 5
    causes = by_where(found.json)
    assert causes[("fails", "channel 'order'")] == 6
    assert causes[("fails", "channel 'plan'")] == 1
    assert causes[("fails", "node 'ask'")] == 1
    assert causes[("warning", "channel 'turns'")] == 7
    lines = [each["line"] for each in found.json if "line" in each]
    assert '.member_renamed("shop:Plan", FREE=…)' in lines
    assert '.field_renamed("shop:Order", …="city"), or .migration("shop:Order", since=…)' in lines
    assert found.json[-1] == {
        "sessions": 7,
        "fine": 0,
        "fails": 6,
        "warning": 1,
        "migrated": 0,
        "cursor": None,
    }
    shown = cli("verify", "--app", "shop:graph", url=filled)
    assert "6 × channel 'order'" in shown.out
    assert "such as" in shown.out
    assert '→ .field_renamed("shop:Order", …="city")' in shown.out


def test_migrations_mend_it(cli: Cli, filled: str, tmp_path: Path) -> None:
    """What is left are the node and the channel that are gone."""
    deploy(tmp_path, NEW)
    found = cli(
        "verify", "--app", "shop:graph", "--migrations", "shop:migrations", "--json", url=filled
    )
    causes = by_where(found.json)
    assert causes[("migrated", "channel 'order'")] == 6
    assert {where for outcome, where in causes if outcome == "fails"} == {"node 'ask'"}


def test_migrate_rewrites_once(cli: Cli, filled: str, tmp_path: Path) -> None:
    """A dry run writes nothing; the second run has nothing to do; in use is left out.

    A session keeps the timeout that it has of its own.
    """
    deploy(tmp_path, NEW)
    with open_store(filled, dotenv=False) as store:
        store.set_ttl("s0", "2h")
    argv = ("migrate", "--app", "shop:migrations", "--unused-for", "0")
    before = changes(filled, tmp_path)
    dry = cli(*argv, url=filled)
    assert (dry.code, len(dry.lines)) == (0, 6)
    assert "s0: would be migrated" in dry.lines
    assert changes(filled, tmp_path) == before
    busy = cli("migrate", "--app", "shop:migrations", "--write", url=filled)
    assert busy.code == 6
    assert "s0: in use: left for the next time" in busy.lines
    done = cli(*argv, "--write", "--json", url=filled)
    assert done.code == 0
    assert {each["result"] for each in done.json} == {"migrated"}
    assert len(done.json) == 6
    with open_store(filled, dotenv=False) as store:
        info = store.info("s0")
        assert info is not None
        assert info.idle == 7_200_000
    again = cli(*argv, "--write", url=filled)
    assert again.lines == []
    assert "0 migrated, 7 need nothing" in again.err
    checked = cli("verify", "--app", "shop:migrations", "--history", "--json", url=filled)
    assert checked.json[-1]["fine"] == 7


def test_a_sample_and_an_archive(cli: Cli, filled: str, tmp_path: Path) -> None:
    """Some sessions; and those of a file, without the store."""
    deploy(tmp_path, SAME)
    found = cli("verify", "--app", "shop:graph", "--sample", "3", "--json", url=filled)
    assert found.json[-1]["sessions"] == 3
    exported = cli("export", "--all", url=filled)
    (tmp_path / "sessions.jsonl").write_text(exported.out)
    found = cli("verify", "--app", "shop:graph", "--archive", "sessions.jsonl", "--json")
    assert (found.code, found.json[-1]["fine"]) == (0, 7)


@tries("keep the node until no session waits in it")
def test_what_the_graph_lacks_is_kept(cli: Cli, filled: str, tmp_path: Path) -> None:
    """With the node and the channel, nobody is stuck and nothing is dropped."""
    deploy(tmp_path, NEW)
    argv = ("verify", "--app", "shop:graph", "--migrations", "shop:migrations", "--json")
    lines = {each["line"] for each in cli(*argv, url=filled).json if "line" in each}
    assert "keep the node until no session waits in it" in lines
    assert '.channel_renamed("turns", "…"), or .channel_removed("turns")' in lines
    sys.modules.pop("shop")
    kept = NEW.replace("plan: Plan\n", "plan: Plan\n    turns: int\n").replace('"other"', '"ask"')
    deploy(tmp_path, kept)
    found = cli(*argv, url=filled)
    assert (found.code, found.json[-1]["migrated"]) == (0, 6)


def test_channels_with_a_line(cli: Cli, filled: str, tmp_path: Path) -> None:
    """Names, values and what is dropped: told, rewritten once, and read by either name after."""
    deploy(tmp_path, CHANNELS)
    argv = ("--app", "shop:graph", "--json")
    found = cli("verify", *argv, url=filled)
    causes = by_where(found.json)
    assert causes[("migrated", "channel 'order'")] == 6
    assert causes[("migrated", "channel 'turns'")] == 7
    assert causes[("migrated", "channel 'rounds'")] == 7
    assert causes[("migrated", "channel 'plan'")] == 1
    assert (found.code, found.json[-1]["migrated"]) == (0, 7)
    texts = {each["where"]: each["cause"] for each in found.json if "where" in each}
    assert texts["channel 'turns'"] == "it is called 'rounds' now"
    assert texts["channel 'plan'"] == "it is dropped"
    before = changes(filled, tmp_path)
    assert len(cli("migrate", "--app", "shop:graph", url=filled).lines) == 7
    assert changes(filled, tmp_path) == before
    done = cli("migrate", *argv, "--write", "--unused-for", "0", url=filled)
    assert (done.code, len(done.json)) == (0, 7)
    again = cli("verify", *argv, "--history", url=filled)
    assert (again.code, again.json[-1]["fine"]) == (0, 7)
    sys.modules.pop("shop")
    deploy(tmp_path, SAME)
    old = cli("verify", *argv, url=filled)
    assert by_where(old.json)[("fails", "channel 'turns'")] == 7
    assert by_where(old.json)[("warning", "channel 'rounds'")] == 7
    assert ("warning", "channel 'order'") not in by_where(old.json)


@tries("Go on with --cursor {}")
def test_an_interrupted_run_goes_on(
    cli: Cli, filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it said that it was."""
    deploy(tmp_path, SAME)
    monkeypatch.setattr(_verifying, "_PAGE", 2)
    whole = _verifying.session_causes
    read: list[str] = []

    def interrupted(store: Any, app: Any, session: str, *, history: bool) -> Any:
        if len(read) == 4:
            raise KeyboardInterrupt
        read.append(session)
        return whole(store, app, session, history=history)

    monkeypatch.setattr(_verifying, "session_causes", interrupted)
    found = cli("verify", "--app", "shop:graph", url=filled)
    if filled.startswith("redis"):  # a page of a scan may hold any number of sessions
        assert found.code in {0, 130}
        return
    assert found.code == 130
    said = re.search(r"Go on with (--cursor) (\S+)", found.err)
    assert said is not None
    monkeypatch.setattr(_verifying, "session_causes", whole)
    rest = cli("verify", "--app", "shop:graph", "--json", *said.groups(), url=filled)
    assert rest.json[-1]["sessions"] == 3


@tries(
    "is not the name of an app: write module:name",
    "cannot be imported: {}: {}; run this where the app runs",
    "a serializer or Migrations: name another one with --app",
)
@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("shop", "write module:name"),
        ("shop:gone", "cannot be imported"),
        ("nowhere:graph", "cannot be imported"),
        ("shop:sys", "must be a graph"),
    ],
)
def test_an_app_that_is_none(cli: Cli, tmp_path: Path, target: str, says: str) -> None:
    """The error says what was named, and what may be."""
    deploy(tmp_path, SAME)
    found = cli("verify", "--app", target, url=f"file:{tmp_path / 's.db'}")
    assert found.code == 2
    assert says in found.err
    assert cli("verify", "--app", "shop:graph", url=f"file:{tmp_path / 's.db'}").code == 4

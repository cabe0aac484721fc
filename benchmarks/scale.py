"""What 10 million sessions take of a cluster: ``python benchmarks/scale.py [--sessions 2000]``.

One node with a replica is measured: chats of a real graph, with 20 messages of 600 characters. The
rest is arithmetic, printed with its figures, for ``docs/explanation/scale.md``. How sessions spread
over slots and nodes is simulated with as many ids as there are to be.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from binascii import crc_hqx
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.servers import redis_with_replica, replicated_bytes, wait_until
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import MessagesState, StateGraph
from redis import Redis

from wren_sessions import Retention, SessionSaver, open_store
from wren_sessions.keys import KeySpace

SLOTS: Final = 16_384
TEXT: Final = "It rained all day, and nobody in the whole village seemed to mind that at all. " * 8
TURNS: Final = 10  # of two messages each
COPIES: Final = 3_000
TARGET: Final = 10_000_000
EACH_S: Final = 30  # a person's turn comes so often while a conversation is under way
ACTIVE: Final = 0.01  # so many of all conversations are under way


@dataclass(frozen=True)
class Node:
    """What was measured on one node.

    Attributes:
        sessions: how many it held.
        session_bytes: what one takes of its memory, with all of its history.
        short_bytes: the same where only the latest checkpoint is kept.
        commands: of a turn, scripts and others.
        server_us: how long the node worked on a turn.
        received_bytes: by the node, of a turn.
        sent_bytes: by the node, of a turn.
        replicated_bytes: of a turn.
        list_us: how long the node works on each session of a listing.
        list_trips: round trips of a listing of a thousand sessions.
        commit_us: how long one commit of a hot session takes the node.
        storm_s: how long a node takes to let all its sessions go that end at the same time.
        storm_ms: the slowest PING meanwhile.
    """

    sessions: int
    session_bytes: float
    short_bytes: float
    commands: float
    server_us: float
    received_bytes: float
    sent_bytes: float
    replicated_bytes: float
    list_us: float
    list_trips: float
    commit_us: float
    storm_s: float
    storm_ms: float


def _graph(saver: SessionSaver) -> Any:
    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{len(state['messages'])} {TEXT}"[:600])]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.set_entry_point("answer")
    graph.set_finish_point("answer")
    return graph.compile(checkpointer=saver)


def _talk(graph: Any, session: str, turns: int) -> None:
    config = {"configurable": {"thread_id": session}}
    for number in range(turns):
        graph.invoke({"messages": [HumanMessage(f"{number} {TEXT}"[:600])]}, config)


class _Meter:
    """What a server counts."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.total: dict[str, float] = {}

    def _read(self) -> dict[str, float]:
        info: dict[str, Any] = self._client.info("stats")
        stats: dict[str, Any] = self._client.info("commandstats")
        scripts = [found for name, found in stats.items() if name.startswith("cmdstat_eval")]
        plain = ("cmdstat_scan", "cmdstat_hmget", "cmdstat_pttl", "cmdstat_ping", "cmdstat_time")
        asked = [stats[name] for name in plain if name in stats]
        return {
            "in": info["total_net_input_bytes"],
            "out": info["total_net_output_bytes"] - info.get("total_net_repl_output_bytes", 0),
            "replicated": replicated_bytes(self._client),
            "scripts": sum(one["calls"] for one in scripts),
            "scripts_us": sum(one["usec"] for one in scripts),
            "plain_us": sum(one["usec"] for one in asked),
        }

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure what is done in a block."""
        before = self._read()
        yield
        after = self._read()
        self.total = {name: after[name] - before[name] for name in after}


def measure(sessions: int) -> Node:
    """Measure a node."""
    with redis_with_replica() as url, Redis.from_url(url) as client, open_store(url) as store:
        meter, graph = _Meter(client), _graph(SessionSaver(store))
        _talk(graph, "warm", TURNS)
        with meter.measuring():
            for number in range(sessions):
                _talk(graph, f"chat-{number}", TURNS)
        stored, turns = meter.total, sessions * TURNS
        taken = [_size(client, f"chat-{number}") for number in range(sessions)]
        _talk(_graph(SessionSaver(store, retention=Retention(keep_last=1))), "short", TURNS)
        short = _size(client, "short")
        many = _copies(client)
        trips = 0
        with meter.measuring():
            cursor: str | None = None
            while True:
                page = store.list_sessions(cursor, 1_000)
                trips, cursor = trips + 2, page.cursor
                if cursor is None:
                    break
        listed = meter.total
        with meter.measuring():
            _talk(graph, "warm", TURNS)
        hot = meter.total
        storm_s, storm_ms = _storm(client)
        return Node(
            sessions=many,
            session_bytes=sum(taken) / sessions,
            short_bytes=short,
            commands=stored["scripts"] / turns,
            server_us=stored["scripts_us"] / turns,
            received_bytes=stored["in"] / turns,
            sent_bytes=stored["out"] / turns,
            replicated_bytes=stored["replicated"] / turns,
            list_us=listed["plain_us"] / many,
            list_trips=trips * 1_000 / many,
            commit_us=hot["scripts_us"] / hot["scripts"],
            storm_s=storm_s,
            storm_ms=storm_ms,
        )


def _size(client: Redis, session: str) -> int:
    return client.memory_usage(KeySpace().session_key(session), samples=0) or 0


def _copies(client: Redis) -> int:
    """Fill the node with copies, for what takes many sessions; how many there are then."""
    keys = KeySpace()
    with client.pipeline(transaction=False) as pipe:
        for number in range(COPIES):
            pipe.copy(keys.session_key("chat-0"), keys.session_key(f"copy-{number}"))
        pipe.execute()
    return client.dbsize()


def _storm(client: Redis) -> tuple[float, float]:
    """Let all sessions end at the same moment; how long that takes, and the slowest PING."""
    soon = int(time.time() * 1_000) + 1_000
    with client.pipeline(transaction=False) as pipe:
        for name in list(client.scan_iter(KeySpace().pattern, count=1_000)):
            pipe.pexpireat(name, soon)
        pipe.execute()
    wait_until(lambda: time.time() * 1_000 >= soon)
    began, slowest = time.perf_counter(), 0.0
    while client.dbsize():
        asked = time.perf_counter()
        client.ping()
        slowest = max(slowest, time.perf_counter() - asked)
    return time.perf_counter() - began, slowest * 1_000


def spread(count: int, nodes: int) -> tuple[float, float]:
    """How many more sessions the fullest slot and the fullest node have than the average."""
    keys, slots = KeySpace(), [0] * SLOTS
    head, _, tail = keys.session_key("X").partition("X")
    start, end = crc_hqx(head.encode(), 0), tail.encode()
    for number in range(count):
        session = uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128))
        slots[crc_hqx(end, crc_hqx(str(session).encode(), start)) % SLOTS] += 1
    per_node = [sum(slots[at * SLOTS // nodes : (at + 1) * SLOTS // nodes]) for at in range(nodes)]
    return max(slots) / (count / SLOTS) - 1, max(per_node) / (count / nodes) - 1


def arithmetic(node: Node, nodes: int) -> Iterator[tuple[str, str]]:
    """What 10 million sessions take, each line with where it comes from."""
    per_node, turns_s = TARGET / nodes, TARGET * ACTIVE / EACH_S
    each_s = turns_s / nodes
    all_gb, node_gb = (node.session_bytes * many / 1e9 for many in (TARGET, per_node))
    yield (
        "memory",
        (
            f"{node.session_bytes / 1e3:.1f} kB × {TARGET:,} = {all_gb:,.0f} GB; ÷ {nodes} = "
            f"{node_gb:.1f} GB a node, and as much for each replica"
        ),
    )
    short_gb = node.short_bytes * TARGET / 1e9
    yield (
        "memory, latest only",
        (
            f"{node.short_bytes / 1e3:.1f} kB × {TARGET:,} = {short_gb:,.0f} GB; ÷ {nodes} = "
            f"{short_gb / nodes:.1f} GB a node"
        ),
    )
    yield (
        "turns",
        (
            f"{TARGET:,} × {ACTIVE:.0%} under way ÷ {EACH_S} s = {turns_s:,.0f} a second; "
            f"÷ {nodes} = {each_s:,.0f} a node"
        ),
    )
    rate, share = node.commands * each_s, node.server_us * each_s / 1e4
    yield "commands", f"{node.commands:.1f} scripts × {each_s:,.0f} = {rate:,.0f} a second and node"
    yield "script time", f"{node.server_us:.0f} µs × {each_s:,.0f} = {share:.1f} % of a core"
    both = node.received_bytes + node.sent_bytes
    yield (
        "network",
        (
            f"({node.received_bytes / 1e3:.1f} kB in + {node.sent_bytes / 1e3:.1f} kB out) × "
            f"{each_s:,.0f} = {both * each_s * 8 / 1e6:.1f} Mbit/s a node"
        ),
    )
    yield (
        "replication",
        (
            f"{node.replicated_bytes / 1e3:.1f} kB × {each_s:,.0f} = "
            f"{node.replicated_bytes * each_s * 8 / 1e6:.1f} Mbit/s a replica"
        ),
    )
    yield from _extremes(node, nodes)


def _extremes(node: Node, nodes: int) -> Iterator[tuple[str, str]]:
    """What comes seldom, or is uneven."""
    per_node, gone_s = TARGET / nodes, node.sessions / node.storm_s
    most_s = 1e6 / node.commit_us
    yield (
        "hot session",
        (
            f"1 s ÷ {node.commit_us:.0f} µs a script = {most_s:,.0f} scripts a second, "
            "for one session and all others of its node together"
        ),
    )
    trips, busy_s = node.list_trips * TARGET / 1_000, node.list_us * per_node / 1e6
    yield (
        "listing",
        (
            f"{node.list_trips:.0f} trips a thousand × {TARGET / 1_000:,.0f} = {trips:,.0f} trips; "
            f"{node.list_us:.1f} µs × {per_node:,.0f} = {busy_s:.1f} s of each node"
        ),
    )
    yield (
        "expiry storm",
        (
            f"{gone_s:,.0f} a second and node, the slowest PING meanwhile {node.storm_ms:.1f} ms; "
            f"{per_node:,.0f} at once ÷ {gone_s:,.0f} = {per_node / gone_s:,.0f} s"
        ),
    )
    slot, fullest = spread(TARGET, nodes)
    yield (
        "spread",
        (
            f"{TARGET:,} ÷ {SLOTS:,} = {TARGET / SLOTS:,.0f} a slot, the fullest {slot:+.0%}; "
            f"the fullest node {fullest:+.2%}"
        ),
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2_000, help="on the node measured")
    parser.add_argument("--nodes", type=int, default=12, help="primaries of the cluster")
    options = parser.parse_args()
    node = measure(options.sessions)
    print(f"{options.sessions} sessions of {2 * TURNS} messages measured\n")
    print("| what | how |\n|---|---|")
    for name, text in arithmetic(node, options.nodes):
        print(f"| {name} | {text} |")


if __name__ == "__main__":
    main()

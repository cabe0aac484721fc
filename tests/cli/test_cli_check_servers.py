"""`check` knows engines, proxies and topologies, and what a user may not do.

Engines that cannot be had here are played by a server that answers as theirs is documented to do.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from backends.speaking import Answer, speaking
from cli.running import Cli
from remedies.proposals import tries
from servers import ClusterServers, RedisServer, sentinel_group, start_server
from wren_sessions import open_store
from wren_sessions.cli._findings import of_server
from wren_sessions.stores.redis import RedisStore, facts

pytestmark = pytest.mark.redis_server

# What INFO says of who it is, by the documentation of each and by what people print of it.
INFOS: Final = {
    "Dragonfly 1.40.1": "redis_version:7.4.0\r\ndragonfly_version:df-v1.40.1\r\n",
    "Garnet 1.1.9": "garnet_version:1.1.9\r\nos:Unix\r\ncluster_enabled:0\r\n",
    "KeyDB 6.3.4": "redis_version:6.3.4\r\nserver_threads:2\r\n# KeyDB\r\nmvcc_depth:0\r\n",
    "Kvrocks 2.17.0": "version:2.17.0\r\nkvrocks_version:2.17.0\r\nredis_version:7.0.0\r\n",
    "Upstash 1.10.5": "upstash_version:1.10.5\r\nredis_version:6.2.6\r\n",
    "Valkey 8.1.10": "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.10\r\n",
    "Redis 7.1.0 on Amazon ElastiCache": "redis_version:7.1.0\r\nos:Amazon ElastiCache\r\n",
    "Redis 7.3.0 on Amazon MemoryDB": "redis_version:7.3.0\r\nos:Amazon MemoryDB\r\n",
}
PREDIXY: Final = "# Proxy\nVersion:1.0.5\nName:PredixyExample\nBind:0.0.0.0:7617\nRedisMode:proxy\n"
UNKNOWN: Final = Exception("ERR unknown command")


def answering(**answers: Any) -> Answer:
    """A server that knows PING, TIME, CLIENT and what is given; of the rest it says so."""

    def answer(command: list[str]) -> Any:
        name = command[0]
        if name in answers:
            return answers[name]
        plain = {"PING": "PONG", "CLIENT": "OK", "TIME": [str(int(time.time())), "0"]}
        return plain.get(name, UNKNOWN)

    return answer


def judged(answer: Answer) -> dict[str, Any]:
    """The findings about such a server, by name."""
    with speaking(answer) as url, open_store(url) as opened:
        store: Any = opened
        diagnosis = store.diagnose()
    assert diagnosis.trouble is None
    return {finding.name: finding for finding in of_server(diagnosis.facts)}


@pytest.mark.parametrize("name", INFOS)
def test_engines_are_told_apart(name: str) -> None:
    """By fields of INFO that only one has, with its own version; what is not tried is said so."""
    found = judged(answering(INFO=f"# Server\r\n{INFOS[name]}", EVAL_RO="", EVAL=""))
    assert found["server"].text == name
    tried = name.split(maxsplit=1)[0] in {"Redis", "Valkey"}
    assert found["server"].level == ("ok" if tried else "warning")
    assert tried or "not tested on it" in found["server"].advice


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (answering(INFO=Exception("unsupported command 'INFO'")), "a proxy (Envoy)"),
        (answering(INFO=Exception("invalid request")), "a proxy (Envoy)"),
        (answering(INFO=None), "a proxy (twemproxy)"),
        (answering(INFO=PREDIXY), "a proxy (predixy)"),
        (answering(), "a proxy"),
    ],
)
def test_proxies_are_known_by_what_they_refuse(answer: Answer, name: str) -> None:
    """Who answers PING and knows no INFO is one; without scripts it cannot be used."""
    found = judged(answer)
    assert found["server"].text.startswith(f"it is {name}")
    assert "connect to the servers themselves" in found["server"].advice
    assert found["scripts"].level == "failed"


def test_a_clock_that_is_far_away() -> None:
    """The server's clock is compared with this machine's."""
    late = answering(TIME=[str(int(time.time()) - 90), "0"], EVAL_RO="")
    found = judged(late)["clock"]
    assert (found.level, found.text.split(" s ")[1]) == ("warning", "behind this machine's")
    assert judged(answering(EVAL_RO=""))["clock"].level == "ok"


def test_a_proxy_that_counts_microseconds_since_1970() -> None:
    """Envoy answers TIME by itself, with all microseconds as the second number."""
    now = time.time()
    told = [str(int(now)), str(int(now * 1e6))]
    assert judged(answering(TIME=told, EVAL_RO=""))["clock"].level == "ok"


# --- topologies -----------------------------------------------------------------------------------


def test_sentinels_and_replicas_are_counted(cli: Cli) -> None:
    """A primary with its replica, behind Sentinels; and the replica, which is no place to write."""
    with sentinel_group("sessions") as (sentinel, _, replica):
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/sessions"
        out = cli("check", url=url).out
        assert "topology: a primary with 1 replica, watched by Sentinels" in out
        assert "it is a replica, and refuses writes" in cli("check", url=replica.url).out


def test_a_cluster_is_counted(cli: Cli, cluster_url: str, redis_cluster: ClusterServers) -> None:
    """Primaries, replicas, and what its nodes have together."""
    out = cli("check", url=cluster_url).out
    assert "topology: a cluster of 3 primaries and 3 replicas" in out
    with RedisStore.from_url(cluster_url) as store:
        found = store.diagnose().facts
    assert (found["primaries"], found["replicas"], found["slots"]) == (3, 3, 16_384)


@pytest.mark.parametrize(
    ("given", "name", "level"),
    [
        ({"primaries": 3, "replicas": 2, "slots": 16_384, "silent": 0}, "topology", "warning"),
        ({"primaries": 3, "replicas": 3, "slots": 16_000, "silent": 0}, "topology", "failed"),
        ({"primaries": 3, "replicas": 3, "slots": 16_384, "silent": 1}, "topology", "failed"),
        ({"replicas": 0}, "topology", "ok"),
        ({"replicas": 0, "sentinels": 3}, "topology", "warning"),
        ({"missing": "COPY, PEXPIRETIME"}, "commands", "ok"),
        ({"missing": "HSTRLEN"}, "commands", "failed"),
        ({"denied": "RESTORE"}, "rights", None),
        ({"primaries": 3, "replicas": 3, "slots": 16_384, "denied": "RESTORE"}, "rights", "failed"),
        ({"clock_ms": -1_999}, "clock", "ok"),
        ({"clock_ms": 3_000}, "clock", "warning"),
    ],
)
def test_facts_are_judged(given: dict[str, Any], name: str, level: str | None) -> None:
    """What is a trouble, and what is not; each trouble has an advice."""
    found = {f.name: f for f in of_server({"server": "Redis", "version": "7.2.4"} | given)}
    if level is None:
        assert name not in found
    else:
        assert found[name].level == level
        assert bool(found[name].advice) == (level != "ok")


def test_the_nodes_of_a_cluster_are_judged_by_the_worst() -> None:
    """The fullest node, the clock that is furthest away, all keys, every policy."""
    one: dict[str, Any] = {
        "policy": "noeviction",
        "used_bytes": 10,
        "max_bytes": 100,
        "keys": 3,
        "clock_ms": 5,
    }
    two: dict[str, Any] = {
        "policy": "allkeys-lru",
        "used_bytes": 90,
        "max_bytes": 100,
        "keys": 4,
        "clock_ms": -9,
    }
    found = facts.together([{**one, "aof": True}, {**two, "aof": False}])
    assert (found["used_bytes"], found["keys"], found["clock_ms"]) == (90, 7, -9)
    assert found["policy"] == "allkeys-lru and noeviction"
    assert found["aof"] is False


# --- rights ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server with users."""
    with start_server() as found:
        yield found


def user(server: RedisServer, *rules: str) -> str:
    """The URL of a user who may do everything but what the rules take away."""
    with Redis.from_url(server.url) as admin:
        base = ("reset", "on", ">pw", "~*", "+@all")
        admin.execute_command("ACL", "SETUSER", "some", *base, *rules)
    return server.url.replace("redis://", "redis://some:pw@")


@tries("allow it: ACL SETUSER … {}")
def test_commands_that_are_denied_are_named(cli: Cli, server: RedisServer) -> None:
    """One that sessions need is a failure; with what the advice gives it is none any more."""
    url = user(server, "-hset", "-unlink", "-evalsha")
    found = " ".join(cli("check", url=url).out.split())
    assert "this user may not use EVALSHA, UNLINK, HSET" in found
    advice = found.split("ACL SETUSER … ")[1].split(" WARNING")[0].split(" ok ")[0].split()
    with Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "some", *advice)
    assert "may not use" not in cli("check", url=url).out


def test_what_only_makes_less_is_no_failure(cli: Cli, server: RedisServer) -> None:
    """Sessions work without COPY, MEMORY USAGE, PEXPIRETIME, CONFIG and INFO; `check` tells."""
    url = user(server, "-copy", "-memory|usage", "-pexpiretime", "-config", "-info")
    found = cli("check", url=url)
    assert found.code == 7
    for name in ("COPY", "MEMORY USAGE", "PEXPIRETIME"):
        assert f"without {name} (this user may not use it)" in found.out
    assert "may not use INFO" in found.out


def test_asking_changes_nothing(server: RedisServer) -> None:
    """No key is made, and none is changed, also by a server that has no scripts that only read."""
    url = user(server, "-eval_ro")
    with Redis.from_url(server.url) as admin, RedisStore.from_url(url) as store:
        before = admin.info("persistence")["rdb_changes_since_last_save"]
        assert store.diagnose().trouble is None
        with RedisStore.from_url(server.url) as whole:
            assert "denied" not in whole.diagnose().facts
        assert admin.info("persistence")["rdb_changes_since_last_save"] == before
        assert admin.dbsize() == 0


def test_every_command_is_tried() -> None:
    """What scripts and calls send is what `check` tries."""
    folder = Path(facts.__file__).parent
    lua = " ".join(path.read_text() for path in folder.rglob("*.lua"))
    making = ("plans", "commit", "load", "commands", "listing", "owned")
    python = " ".join((folder / f"{name}.py").read_text() for name in making)
    sent = {*re.findall(r"call\('([A-Z]+)'", lua), *re.findall(r'\("([A-Z]{4,})"', python)}
    known = {one[0] for one in (*facts.NEEDED, *facts.WRITING, *facts.WELCOME, *facts.DIRECT)}
    assert sent - known == {"PING", "CLUSTER"}

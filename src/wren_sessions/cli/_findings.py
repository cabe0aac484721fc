"""What `check` says about a store: each fact, how good or bad it is, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from wren_sessions.cli import _exits
from wren_sessions.stores._diagnosis import RIGHTS
from wren_sessions.viewing.times import size

Level: TypeAlias = Literal["ok", "warning", "failed"]
_OLDEST: Final = (6, 2)
_FULL: Final = 0.8
_SLOW_MS: Final = 50.0
_LARGE_WAL: Final = 64 << 20
_LITTLE_SPACE: Final = 256 << 20

# Trouble: what it is, and what to do.
TROUBLES: Final[Mapping[str, tuple[str, str]]] = {
    "host": (
        "the host's name is not known",
        "check its spelling, and that this machine's DNS works (a private name needs the VPN)",
    ),
    "network": (
        "the host cannot be reached from here",
        "check the network, the VPN and the address",
    ),
    "refused": (
        "the host answers, but nothing is listening on this port",
        "check the port, and that the server runs and listens on more than its own loopback",
    ),
    "timeout": (
        "no answer came",
        (
            "check host and port, and that no firewall or list of allowed addresses is blocking "
            "the connection"
        ),
    ),
    "socket": (
        "the socket of the server cannot be used",
        "check the path, that the server runs, and that this user may use the socket",
    ),
    "wants-tls": (
        "the port speaks TLS, and the URL does not",
        "write rediss:// instead of redis://, or set REDIS_SSL=1",
    ),
    "no-tls": (
        "the URL speaks TLS, and the port does not",
        "write redis:// instead of rediss://, or unset REDIS_SSL; or turn TLS on at the server",
    ),
    "certificate": (
        "the certificate is not accepted",
        (
            "name the authority that signed it (?ssl_ca_certs=FILE), use the host name that is in "
            "it; if the server asks for yours: ?ssl_certfile=FILE&ssl_keyfile=FILE"
        ),
    ),
    "not-redis": (
        "something is listening there, but it is not Redis",
        "check the port: this may be a web server or another database",
    ),
    "password": (
        "the server refused the user name or password",
        (
            "check REDIS_USERNAME and REDIS_PASSWORD, or the URL, where / ? # @ are written as "
            "%2F %3F %23 %40"
        ),
    ),
    "needless-password": (
        "the server has no password, but one was given",
        "leave it out of REDIS_PASSWORD or the URL, or set one at the server",
    ),
    "no-password": (
        "the server requires a password, and none was given",
        "set REDIS_PASSWORD, or write redis://default:PASSWORD@HOST:PORT",
    ),
    "rights": (
        "the user may not do what is needed",
        (
            "allow it the keys under the prefix, and the commands of keys, hashes, expiry and "
            f"scripts: ACL SETUSER … {RIGHTS}"
        ),
    ),
    "database": (
        "the server has no database of that number",
        "check the number at the end of the URL, or REDIS_DB; Redis Cloud and clusters have only 0",
    ),
    "sentinel": (
        "the Sentinels name no primary that can be used",
        (
            "check the service's name in the URL, and that the Sentinels and the primary run; "
            "after a failover they name another one"
        ),
    ),
    "loading": ("the server is still loading its data", "try again soon"),
    "other": (
        "the server cannot be used",
        "check host and port, that the server runs, and its log",
    ),
}


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: what.
        level: ``ok``, ``warning`` or ``failed``.
        text: what was found.
        advice: what to do about it; empty if nothing.
        code: the exit code that it asks for.
    """

    name: str
    level: Level
    text: str
    advice: str = ""
    code: int = _exits.OK

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "check": self.name,
            "level": self.level,
            "finding": self.text,
            "advice": self.advice or None,
        }


def ok(name: str, text: str) -> Finding:
    """Something that is as it should be."""
    return Finding(name, "ok", text)


def warning(name: str, text: str, advice: str) -> Finding:
    """Something to look at."""
    return Finding(name, "warning", text, advice, _exits.WARNED)


def failed(name: str, text: str, advice: str, code: int = _exits.UNAVAILABLE) -> Finding:
    """Something that does not work."""
    return Finding(name, "failed", text, advice, code)


def of_trouble(trouble: str, detail: str) -> Finding:
    """Why a store cannot be used."""
    text, advice = TROUBLES[trouble]
    return failed("connection", f"{text} ({detail})" if detail else text, advice)


def of_latency(times_ms: list[float]) -> Finding:
    """How long a round trip takes."""
    middle = median(times_ms)
    text = f"{middle:.2f} ms per round trip (median of {len(times_ms)})"
    if middle < _SLOW_MS:
        return ok("latency", text)
    return warning("latency", text, "run the app nearer to its server: each step waits for one")


# --- a server -------------------------------------------------------------------------------------

# What is to be known of engines that are not tested here, by their documentation.
_UNTRIED: Final = "this package is not tested on it; run your own tests on it before you rely on it"
_KINDS: Final[Mapping[str, str]] = {
    "Dragonfly": _UNTRIED,
    "Garnet": "start it with --lua and --lua-transaction-mode: sessions need atomic scripts; "
    f"{_UNTRIED}",
    "KeyDB": f"let one server take the writes: active replicas merge what both wrote; {_UNTRIED}",
    "Kvrocks": _UNTRIED,
    "Upstash": f"turn eviction off in its console; {_UNTRIED}",
}
_PROXY: Final = "connect to the servers themselves, with redis+cluster:// or redis+sentinel://"
_LESS: Final[Mapping[str, str]] = {
    "COPY": "copies are made field by field",
    "MEMORY USAGE": "sizes of sessions are not shown",
    "PEXPIRETIME": "deadlines are worked out from PTTL",
}
_SLOTS: Final = 16_384
_FAR_MS: Final = 2_000


def of_server(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What the facts of `wren_sessions.stores.redis.facts` mean."""
    yield _kind(facts)
    yield from _role(facts)
    yield from _commands(facts)
    yield from _topology(facts)
    if "version" in facts:
        yield _eviction(facts)
        yield _memory(facts)
        yield _persistence(facts)
    yield from _clock(facts)


def _kind(facts: Mapping[str, Any]) -> Finding:
    server = str(facts.get("server", ""))
    if server.startswith("a proxy"):
        refused = f", which refuses INFO ({facts['refused']})" if facts.get("refused") else ""
        return warning("server", f"it is {server}{refused}", _PROXY)
    if "version" not in facts:
        return warning(
            "server",
            "its kind is unknown, because this user may not use INFO",
            "nothing, if sessions work; allow +info to see version, memory and persistence here",
        )
    cloud = f" on Amazon {facts['service']}" if facts.get("service") else ""
    text = f"{server} {facts['version']}{cloud}"
    numbers = tuple(int(part) for part in str(facts["version"]).split(".")[:2] if part.isdigit())
    if server == "Redis" and numbers < _OLDEST:
        return failed(
            "server", f"{text} is too old", "upgrade it: Redis 6.2 or newer is needed, or Valkey"
        )
    if server in {"Redis", "Valkey"}:
        return ok("server", text)
    return warning("server", text, _KINDS.get(server, _UNTRIED))


def _role(facts: Mapping[str, Any]) -> Iterator[Finding]:
    if facts.get("role") == "slave":
        yield failed(
            "role", "it is a replica, and refuses writes", "connect to the primary instead"
        )
    if facts.get("cluster"):
        yield warning(
            "cluster",
            "it is a node of a cluster",
            "a redis:// URL reaches only the sessions of this node: use redis+cluster:// for all",
        )


def _commands(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What is denied or missing that sessions need; and what only makes less of them."""
    if facts.get("scripts"):
        yield failed(
            "scripts",
            f"it runs no scripts ({facts['scripts']})",
            "connect to a server that knows EVAL: each write of a session is a script",
        )
    others = set() if "primaries" in facts else {"RESTORE"}  # copies to another node take that
    denied, missing = (
        [one for one in str(facts[name]).split(", ") if one not in others]
        if facts.get(name)
        else []
        for name in ("denied", "missing")
    )
    for name in _LESS:
        if name in denied or name in missing:
            why = "this user may not use it" if name in denied else "it does not have it"
            yield ok("commands", f"without {name} ({why}) {_LESS[name]}")
    if needed := [name for name in denied if name not in _LESS]:
        # Without EVAL nothing was tried on a key: it may lack the rights to the keys as well.
        rules = RIGHTS if "EVAL" in needed else " ".join(f"+{name.lower()}" for name in needed)
        yield failed(
            "rights",
            f"this user may not use {', '.join(needed)}",
            f"allow it: ACL SETUSER … {rules}",
        )
    if needed := [name for name in missing if name not in _LESS]:
        yield failed(
            "commands",
            f"it does not know {', '.join(needed)}",
            "use an engine that has these commands: sessions cannot be written without them",
        )


def _topology(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """How many servers there are, and whether the sessions of one outlive it."""
    replicas = facts.get("replicas")
    if "primaries" in facts:
        yield from _cluster(facts, facts["primaries"], replicas or 0)
    elif replicas is not None:
        many = f"{replicas} replica{'' if replicas == 1 else 's'}"
        text = f"a primary with {many}" if replicas else "one server, without replicas"
        if facts.get("sentinels") and not replicas:
            yield warning(
                "topology",
                f"Sentinels watch a primary that has no replica: {text}",
                "add a replica: without one no Sentinel can replace the primary",
            )
        else:
            watched = ", watched by Sentinels" if facts.get("sentinels") else ""
            yield ok("topology", f"{text}{watched}")


def _cluster(facts: Mapping[str, Any], primaries: int, replicas: int) -> Iterator[Finding]:
    text = f"a cluster of {primaries} primaries and {replicas} replicas"
    if facts["slots"] < _SLOTS or facts.get("silent"):
        yield failed(
            "topology",
            f"{text}: {_SLOTS - facts['slots']} slots have no owner, and {facts.get('silent', 0)} "
            "primaries do not answer",
            "look at CLUSTER NODES: the sessions in these slots cannot be used until a node has "
            "them",
        )
    elif replicas < primaries:
        yield warning(
            "topology",
            text,
            "add replicas: if a primary without a replica fails, its sessions are lost",
        )
    else:
        yield ok("topology", text)


def _clock(facts: Mapping[str, Any]) -> Iterator[Finding]:
    ahead = facts.get("clock_ms")
    if ahead is None:
        return
    side = "ahead of" if ahead > 0 else "behind"
    text = f"the server's is {abs(ahead) / 1_000:.1f} s {side} this machine's"
    if abs(ahead) < _FAR_MS:
        yield ok("clock", text)
    else:
        yield warning(
            "clock",
            text,
            "set both clocks by NTP: sessions expire by the server's clock, and times are shown "
            "by this machine's clock",
        )


def _eviction(facts: Mapping[str, Any]) -> Finding:
    policy = facts.get("policy", "unknown")
    gone = f" ({facts['evicted']:,} keys evicted so far)" if facts.get("evicted") else ""
    if not facts.get("max_bytes"):
        return ok("eviction", f"{policy}, and no limit on memory: nothing is evicted{gone}")
    if policy == "noeviction":
        return ok("eviction", "noeviction: when memory is full, writes fail and nothing is lost")
    what = "any key" if str(policy).startswith("allkeys") else "keys that expire, so all but pinned"
    text = f"{policy}: when memory is full it drops {what}{gone}; a session goes whole"
    if str(policy).startswith("allkeys") or facts.get("evicted"):
        return warning(
            "eviction",
            text,
            "set maxmemory-policy noeviction, or volatile-ttl, and leave room for the sessions",
        )
    return ok("eviction", text)


def _memory(facts: Mapping[str, Any]) -> Finding:
    used, most = facts.get("used_bytes") or 0, facts.get("max_bytes") or 0
    if not most:
        return ok("memory", f"{size(used)} used, no limit set")
    text = f"{size(used)} of {size(most)} used ({used / most:.0%})"
    if used < most * _FULL:
        return ok("memory", text)
    return warning("memory", text, "raise maxmemory, shorten lifetimes, or delete and prune")


def _persistence(facts: Mapping[str, Any]) -> Finding:
    ways = [name for name, on in (("AOF", facts.get("aof")), ("RDB", facts.get("rdb"))) if on]
    if not facts.get("saved", True):
        return warning(
            "persistence", "the last save to disk failed", "look at the server's log and disk"
        )
    if ways:
        return ok("persistence", " and ".join(ways))
    if facts.get("rdb") is None:
        return ok("persistence", "no AOF; it is unknown whether it takes snapshots")
    return warning(
        "persistence",
        "neither AOF nor RDB: sessions are lost when the server stops",
        "turn on appendonly, or snapshots (save), if they should survive a restart",
    )


# --- a file ---------------------------------------------------------------------------------------


def of_file(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What the facts of `wren_sessions.stores.file.diagnosis` mean."""
    yield ok("file", f"{facts['path']}, SQLite {facts['sqlite']}, schema {facts['schema']}")
    yield _permissions(facts)
    yield _room(facts)
    free = size(facts["free_bytes"])
    if facts["free_bytes"] >= _LITTLE_SPACE:
        yield ok("disk", f"{free} free")
    else:
        yield warning("disk", f"only {free} free", "free some space: writes fail on a full disk")


def _permissions(facts: Mapping[str, Any]) -> Finding:
    if not facts["writable"]:
        return failed(
            "permissions",
            f"this user cannot write it (mode {facts['mode']})",
            "give this user write access to the file and to its folder",
        )
    if facts.get("shared"):
        return warning(
            "permissions",
            f"mode {facts['mode']}: others on this machine can open it",
            f"chmod 600 {facts['path']}",
        )
    return ok("permissions", f"mode {facts['mode']}: only its owner can open it")


def _room(facts: Mapping[str, Any]) -> Finding:
    wal, expired = facts["wal_bytes"], facts["expired_sessions"]
    text = f"{size(facts['bytes'])}, {size(facts['unused_bytes'])} of it unused; WAL {size(wal)}"
    if expired:
        text += f"; {expired:,} expired sessions still in it"
    if wal <= _LARGE_WAL:
        return ok("size", text)
    return warning("size", text, "look for a process that keeps a transaction open")

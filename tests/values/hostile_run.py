"""Reads hostile payloads in a process of its own, and tells what happened: see test_hostile.py."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from pydantic import BaseModel

from values import hostile_payloads, kinds
from wren_sessions import Limits, Migrations, PlainObject, PlainSerializer, SafeSerializer
from wren_sessions.errors import WrenSessionsError
from wren_sessions.serializers._shapes import hints_of
from wren_sessions.serializers.unpacking import Builder

WATCHED: Final = (
    "import",
    "exec",
    "compile",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.",
    "ctypes.",
    "pickle.",
    "marshal.",
)


class Watch:
    """Notes what the interpreter does while a payload is read."""

    def __init__(self) -> None:
        self.on = False
        self.events: Counter[str] = Counter()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event.startswith(WATCHED):
            self.events[f"{event} {arguments[:1]!r}"[:100]] += 1


def holds_a_builder(value: Any) -> bool:
    """Whether a part of the reader itself has got into what was read."""
    rest = [value]
    while rest:
        item = rest.pop()
        kind = type(item)  # `isinstance` would ask the object itself
        if kind is Builder:
            return True
        if issubclass(kind, dict):
            rest += [*item, *item.values()]
        elif issubclass(kind, list | tuple | set | frozenset):
            rest += item
        elif kind is PlainObject:
            rest.append(item.value)
        elif issubclass(kind, BaseModel):
            rest += object.__getattribute__(item, "__dict__").values()
    return False


def run(payloads: Iterable[tuple[str, bytes]], limits: Limits) -> dict[str, Any]:
    """Read them all, with each reader."""
    readers: list[Callable[[tuple[str, bytes]], Any]] = [
        SafeSerializer(limits=limits).loads_typed,
        SafeSerializer(allow=[], limits=limits).loads_typed,
        SafeSerializer(missing="plain", limits=limits).loads_typed,
        PlainSerializer(limits=limits).loads_typed,
        SafeSerializer(limits=limits, migrations=_migrations()).loads_typed,
        _of_channel(SafeSerializer(limits=limits, migrations=_migrations())),
    ]
    payloads = list(payloads)
    _warm(readers)
    watch, told, slowest = Watch(), Counter[str](), 0.0
    before, modules = _memory(), set(sys.modules)
    kinds.RAN.clear()
    for payload in payloads:
        for read in readers:
            started, watch.on = time.perf_counter(), True
            try:
                value = read(payload)
            except WrenSessionsError as error:
                outcome = type(error).__name__
            except BaseException as error:  # noqa: BLE001 -- it must not happen, and is told
                outcome = f"{type(error).__name__} {payload[0]} {payload[1][:60].hex()}"
            else:
                watch.on = False
                outcome = "builder" if holds_a_builder(value) else "value"
                del value
            watch.on = False
            slowest = max(slowest, time.perf_counter() - started)
            told[outcome] += 1
    return {
        "outcomes": told,
        "events": watch.events,
        "modules": sorted(set(sys.modules) - modules),
        "ran": sorted(set(kinds.RAN)),
        "grown_bytes": _memory() - before,
        "slowest_seconds": slowest,
    }


def _migrations() -> Migrations:
    """Changes of all sorts, of classes that payloads name; the one function is the application's.

    It stays inside what it is given: what else runs is noted.
    """
    migrations = (
        Migrations()
        .renamed("values.kinds:Pair", kinds.Pair)
        .renamed("os:system", "values.kinds:Profile")
        .module_moved("subprocess", "values.kinds")
        .field_renamed("values.kinds:Note", title="text")
        .field_removed("values.kinds:Answer", "gone")
        .member_renamed("values.kinds:Mood", GONE="CALM")
    )
    for name in ("Profile", "Note", "Pair", "Old", "Frozen"):
        migrations.migration(f"values.kinds:{name}", since=2)(lambda fields: fields)
    migrations.channel("it", since=2)(lambda value: value)
    return migrations.channel_renamed("os:system", "it").channel_removed("gone")


def _of_channel(serde: SafeSerializer) -> Callable[[tuple[str, bytes]], Any]:
    """Reads payloads as values of a channel that a function changes."""
    assert serde.channels is not None
    return partial(serde.load_channel, functions=serde.channels.of("").functions["it"])


def _warm(readers: Iterable[Callable[[tuple[str, bytes]], Any]]) -> None:
    """Read what was stored in good faith: loads the fixed table of langchain and langgraph.

    And the application's annotations: Python evaluates their texts, once for each class.
    """
    for kind in vars(kinds).values():
        if isinstance(kind, type):
            hints_of(kind)
    for payload in hostile_payloads.seeds():
        for read in readers:
            try:
                read(payload)
            except WrenSessionsError:
                continue


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


if __name__ == "__main__":
    which, count = sys.argv[1], int(sys.argv[2])
    made: Any = {
        "by hand": hostile_payloads.by_hand,
        "bombs": hostile_payloads.bombs,
        "mutated": lambda: hostile_payloads.mutated(count, seed=int(sys.argv[3])),
    }
    json.dump(run(made[which](), Limits(max_value_bytes=8_000_000)), sys.stdout)

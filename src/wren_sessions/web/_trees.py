"""A state as a tree with types, one part at a time; and the difference between two states."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.errors import SessionNotFoundError
from wren_sessions.protocols import SessionStore
from wren_sessions.transcripts._values import is_plain_object, json_text, jsonable, key_text
from wren_sessions.viewing.states import Reader, next_of, state_of
from wren_sessions.viewing.steps import checkpoint_json
from wren_sessions.viewing.values import Change, changes, glimpse, type_of

CHILDREN: Final = 50  # of a value, on a page
DEPTH: Final = 4
NODES: Final = 600  # of a page
TEXT: Final = 2_000  # characters of a text
CHANGES: Final = 300
_CHANGED: Final = 600  # characters of a changed value


class Look(NamedTuple):
    """Which state to look at, with LangGraph's own channels or without."""

    session: str
    at: str | None
    namespace: str
    internal: bool


class Node(NamedTuple):
    """A value of a state.

    Attributes:
        name: its key, or its place in a list.
        type: its type.
        text: it, where it is no container; else a glimpse of it.
        cut: how many characters of it are not shown.
        children: what is in it, perhaps not all.
        more: how many more there are in it.
        path: the places that lead to it.
        plain: it as JSON, where it can be edited; else None.
    """

    name: str
    type: str
    text: str
    cut: int
    children: list[Node]
    more: int
    path: str
    plain: str | None


class State(NamedTuple):
    """A part of a state.

    Attributes:
        nodes: the values.
        path: the places that lead to the part; empty for the whole.
        names: the names on the way to it, each with its path.
        start: the place of the first value that is shown.
        earlier: where the page before it starts.
        total: how many values there are.
        writes: what tasks wrote that is not part of the state yet: task, channel, node.
        facts: of the checkpoint; empty for a session without one.
        next: the nodes that run next.
    """

    nodes: list[Node]
    path: str
    names: list[tuple[str, str]]
    start: int
    earlier: int
    total: int
    writes: list[tuple[str, str, Node]]
    facts: dict[str, Any]
    next: list[str]


def state(store: SessionStore, look: Look) -> tuple[Snapshot | None, dict[str, Any]]:
    """A checkpoint, and its state."""
    snapshot = Reader(store).snapshot(look.session, look.at, look.namespace)
    return snapshot, state_of(snapshot, internal=look.internal)


def state_page(store: SessionStore, look: Look, path: str, start: int) -> State:
    """A part of a state as a tree."""
    snapshot, whole = state(store, look)
    names, value = found_at(look.session, whole, path)
    budget = [NODES]
    pairs = children_of(value) or []
    shown = pairs[start : start + CHILDREN]
    nodes = [
        node(name, child, _below(path, start + place), DEPTH, budget)
        for place, (name, child) in enumerate(shown)
    ]
    writes = [] if snapshot is None or path else snapshot.writes[:CHILDREN]
    return State(
        nodes=nodes,
        path=path,
        names=names,
        start=start,
        earlier=max(0, start - CHILDREN),
        total=len(pairs),
        writes=[
            (task, channel, node(channel, written, "", 2, budget))
            for task, channel, written in writes
        ],
        facts={} if snapshot is None else checkpoint_json(snapshot),
        next=next_of(snapshot),
    )


def found_at(session: str, value: Any, path: str) -> tuple[list[tuple[str, str]], Any]:
    """The names on the way to a part of a value, and the part.

    Raises:
        SessionNotFoundError: the path leads nowhere.
    """
    names: list[tuple[str, str]] = []
    way = ""
    for place in path.split(".") if path else []:
        pairs = children_of(value) or []
        if not place.isdecimal() or len(place) > 9 or int(place) >= len(pairs):  # noqa: PLR2004 -- digits
            raise SessionNotFoundError(
                f"the state of session {session!r} has nothing at {path!r}", session=session
            )
        name, value = pairs[int(place)]
        way = _below(way, int(place))
        names.append((name, way))
    return names, value


def _below(path: str, place: int) -> str:
    return f"{path}.{place}" if path else str(place)


def children_of(value: Any) -> list[tuple[str, Any]] | None:
    """What is in a value, each with its name; None where it is no container."""
    if is_plain_object(value):
        return children_of(value.value)
    if isinstance(value, Mapping):
        return [(key_text(key), child) for key, child in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(str(at), child) for at, child in enumerate(value)]
    return None


def node(name: str, value: Any, path: str, depth: int, budget: list[int]) -> Node:
    """A value as a node, with what is in it as far as depth and budget go."""
    budget[0] -= 1
    pairs = children_of(value)
    if pairs is None:
        text = value if isinstance(value, str) else json_text(jsonable(value)).rstrip()
        return Node(
            name=name,
            type=type_of(value),
            text=text[:TEXT],
            cut=max(0, len(text) - TEXT),
            children=[],
            more=0,
            path=path,
            plain=plain_text(value),
        )
    children = []
    for place, (key, child) in enumerate(islice(pairs, CHILDREN if depth else 0)):
        if budget[0] <= 0:
            break
        children.append(node(key, child, _below(path, place), depth - 1, budget))
    return Node(
        name=name,
        type=type_of(value),
        text=glimpse(value),
        cut=0,
        children=children,
        more=len(pairs) - len(children),
        path=path,
        plain=plain_text(value) if path and "." not in path else None,
    )


def plain_text(value: Any) -> str | None:
    """A value as JSON, if that is all it is, and short; else None."""
    if not is_plain(value):
        return None
    text = json_text(value).rstrip()
    return text if len(text) <= TEXT else None


def is_plain(value: Any, depth: int = 8) -> bool:
    """Whether a value is what JSON gives back as it was: no object, no tuple, not nested deeply."""
    if value is None or type(value) in {bool, int, str}:
        return True
    if type(value) is float:
        return value - value == 0  # neither infinite nor no number
    if not depth:
        return False
    if type(value) is dict:
        return all(type(k) is str and is_plain(v, depth - 1) for k, v in value.items())
    return type(value) is list and all(is_plain(each, depth - 1) for each in value)


def raw_text(store: SessionStore, look: Look, path: str) -> str:
    """A part of a state, whole, as text."""
    _, whole = state(store, look)
    _, value = found_at(look.session, whole, path)
    return value if isinstance(value, str) else json_text(jsonable(value))


class Difference(NamedTuple):
    """A difference, as people read it."""

    path: str
    kind: str
    before: str | None
    after: str | None


def differences(
    store: SessionStore, look: Look, before: str, after: str
) -> tuple[list[Difference], bool]:
    """What differs between two checkpoints; and whether there is more."""
    _, old = state(store, look._replace(at=before or None))
    _, new = state(store, look._replace(at=after or None))
    found = list(islice(changes(old, new), CHANGES + 1))
    return [_difference(change) for change in found[:CHANGES]], len(found) > CHANGES


def _difference(change: Change) -> Difference:
    return Difference(
        path=change.path,
        kind=change.kind,
        before=None if change.kind == "added" else glimpse(change.before, _CHANGED),
        after=None if change.kind == "removed" else glimpse(change.after, _CHANGED),
    )

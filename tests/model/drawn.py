"""What Hypothesis draws for the state machine: ids that are easily confused, sizes at the edges."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from hypothesis import strategies as st

from wren_sessions.keys import write_key
from wren_sessions.records import Name, Start, Write
from wren_sessions.ttl import TTLPolicy

MINUTE: Final = 60_000

SESSIONS: Final = ("a", "b:*", "ü %")
NAMESPACES: Final = ("", "child", "s/x:1")
IDS: Final = ("0", "1", "10", "2", "3", "B", "a:", "é", "～", "𝄞")
KEYS: Final = tuple(write_key(task, at) for task in ("t", "u:1, /") for at in (0, 1, -1))
SIZES: Final = (0, 1, 7, 200, 2_031, 2_032, 2_033, 4_064, 9_000, 66_000)
AGES: Final = (None, 0, 6, 24, 25, 40)


class Cut(NamedTuple):
    """A part of an arena, whatever it holds by then: `at` is taken modulo its length."""

    at: int
    length: int


class Step(NamedTuple):
    """A record that a graph writes: whether it continues the head, and what it links."""

    name: Name
    continues: bool
    linked: list[Cut]


Pick: TypeAlias = int | Name
"""A name, or the number of a checkpoint among those that are there."""


class Conditions(NamedTuple):
    """What a commit builds on; what ``"right"`` and ``"wrong"`` are is found when it is made."""

    incarnation: str | None = None
    revision: str | None = None
    witnesses: tuple[Pick, ...] = ()
    new: bool = False
    age_minutes: int | None = None


sessions = st.sampled_from([*SESSIONS, SESSIONS[0], SESSIONS[0]])
namespaces = st.sampled_from([*NAMESPACES, "", ""])
ids = st.sampled_from(IDS)
names: st.SearchStrategy[Name] = st.tuples(namespaces, ids)
picks: st.SearchStrategy[Pick] = st.integers(0, 1) | st.integers(0, 30) | names
leads: st.SearchStrategy[Pick | None] = st.none() | picks
parents = st.sampled_from(["head", "head", None, *IDS])
sizes = st.sampled_from(SIZES)
cuts = st.lists(st.builds(Cut, st.integers(0, 20_000), st.integers(0, 5_000)), max_size=3)
steps = st.lists(st.builds(Step, names, st.booleans(), cuts), min_size=2, max_size=5)
headers = st.none() | st.sampled_from([b"{}", b'{"turn_count": 8}', '{"é": "\\n"}'.encode()])
bodies = st.sampled_from([b"", b"\n", b"1 2 3\n", b"body", bytes(range(256)), b"x" * 3_000])
entries = st.lists(
    st.builds(Write, key=st.sampled_from(KEYS), body=bodies, replace=st.booleans()),
    min_size=1,
    max_size=4,
)
unconditional = st.just(Conditions())
builds_on = st.builds(
    Conditions,
    incarnation=st.sampled_from([None, "right", "right", "wrong"]),
    revision=st.sampled_from([None, "right", "right", "right", "wrong"]),
    witnesses=st.lists(picks, max_size=2).map(tuple),
    new=st.just(value=False),
    age_minutes=st.sampled_from(AGES),
)
begins = st.builds(
    Conditions,
    incarnation=st.none(),
    revision=st.none(),
    witnesses=st.just(()),
    new=st.booleans(),
    age_minutes=st.sampled_from(AGES),
)
conditions = unconditional | unconditional | builds_on | begins
starts = st.lists(st.builds(Start, namespaces, st.none() | ids), max_size=4).map(tuple)
choices = st.lists(st.booleans(), min_size=1, max_size=12)
lives = st.sampled_from(["touch", "pin", "pin", "unpin", "unpin", None, "1m", "7m", "1h"])
waits: st.SearchStrategy[int | str] = st.sampled_from(
    [-1, -1, 0, 1, "1ms", "1m", "1m", "1m", "4m", "9m", "25m"]
)
policies = st.builds(
    TTLPolicy,
    idle=st.sampled_from([None, "10m", "1h"]),
    max_age=st.sampled_from([None, "25m"]),
    refresh=st.sampled_from(["write", "read", "never"]),
)

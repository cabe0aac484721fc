"""How bytes grow with a chat: exponents, from what was counted at some of its lengths."""

from __future__ import annotations

from typing import Final

from benchmarks.measuring import growth_exponent
from benchmarks.results import Key, Results

CHAT: Final = "chat"
COUNTED: Final = ("stored_bytes", "turn_sent_bytes", "turn_received_bytes")


def points_of(results: Results, peer: str, face: str, name: str) -> list[tuple[float, float]]:
    """A figure of the chat over its length, in order."""
    sizes = {
        one.size
        for one in results.figures
        if (one.workload, one.peer, one.face, one.name) == (CHAT, peer, face, name)
    }
    values = {size: results.value(CHAT, peer, face, size, name) for size in sorted(sizes)}
    return [(size, value) for size, value in values.items() if value]


def add_exponents(results: Results) -> None:
    """Add the growth exponents of all that was counted: 0 is flat, 1 linear, 2 quadratic."""
    for peer, face in {(one.peer, one.face) for one in results.figures if one.workload == CHAT}:
        for name in COUNTED:
            points = points_of(results, peer, face, name)
            if len(points) < 2:
                continue
            at, exponent = int(points[-1][0]), f"{name.removesuffix('_bytes')}_exponent"
            if results.value(CHAT, peer, face, at, exponent) is None:
                results.add(Key(CHAT, peer, face), at, **{exponent: growth_exponent(points)})

"""Findings in many sessions, grouped by cause: plain data, of bounded size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Outcome: TypeAlias = Literal["fails", "warning", "migrated"]

ORDER: Final[tuple[Outcome, ...]] = ("fails", "warning", "migrated")
_EXAMPLES: Final = 3
_MOST_CAUSES: Final = 1_000


class Cause(NamedTuple):
    """What was found in sessions.

    Attributes:
        outcome: ``fails``, ``warning``, or ``migrated``: would be read in another form.
        where: in what: a channel, a pending write, an interrupt.
        text: what it is.
        line: what could be declared in `Migrations`, or done; empty if nothing.
    """

    outcome: Outcome
    where: str
    text: str
    line: str = ""


@dataclass(slots=True)
class Found:
    """In how many sessions a cause was found, and some of them."""

    sessions: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What `verify` found.

    Attributes:
        sessions: how many were read.
        fine: how many of them would be read as they are.
        causes: what was found in the others; of many thousand causes the first.
        outcomes: how many sessions have something of each outcome, and nothing worse.
        cursor: where the store's list goes on, if it was not read to its end.
    """

    sessions: int = 0
    fine: int = 0
    causes: dict[Cause, Found] = field(default_factory=dict)
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(ORDER, 0))
    cursor: str | None = None

    def add(self, session: str, causes: Iterable[Cause]) -> None:
        """Count a session, in which this was found."""
        self.sessions += 1
        found = set(causes)
        worst = next((each for each in ORDER if any(c.outcome == each for c in found)), None)
        if worst is None:
            self.fine += 1
            return
        self.outcomes[worst] += 1
        for cause in found:
            if cause in self.causes or len(self.causes) < _MOST_CAUSES:
                at = self.causes.setdefault(cause, Found())
                at.sessions += 1
                if len(at.examples) < _EXAMPLES:
                    at.examples.append(session)

    def ordered(self) -> list[tuple[Cause, Found]]:
        """The causes: the worst first, then those of most sessions."""
        return sorted(
            self.causes.items(),
            key=lambda each: (ORDER.index(each[0].outcome), -each[1].sessions, each[0]),
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers, as plain data."""
        return {
            "sessions": self.sessions,
            "fine": self.fine,
            **dict(self.outcomes.items()),
            "cursor": self.cursor,
        }

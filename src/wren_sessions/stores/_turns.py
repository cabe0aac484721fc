"""Turns as stores keep them: one line of text per session. Pure.

The line has words: the token of the turn (or -), when it ends, when it began, its holder (or -).
Then, for each waiter, its token, and how long its place is kept. Times are milliseconds since 1970.
Redis has the same line in a field, and ``turn.lua`` does the same with it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wren_sessions.keys import decode, encode
from wren_sessions.records import Commit, TurnState, TurnStep

NONE: Final = "-"


class Line(NamedTuple):
    """Who has a turn, and who waits: pairs of token and time."""

    token: str = NONE
    until_ms: int = 0
    since_ms: int = 0
    holder: str = NONE
    queue: tuple[tuple[str, int], ...] = ()

    @classmethod
    def read(cls, text: str, now_ms: int) -> Line:
        """A line as it is now: what is over is left out.

        Raises:
            ValueError: it is no such line.
        """
        if not text:
            return cls()
        token, until, since, holder, *rest = text.split(" ")
        pairs = zip(rest[::2], map(int, rest[1::2]), strict=True)
        queue = tuple(pair for pair in pairs if pair[1] > now_ms)
        if int(until) <= now_ms:
            return cls(queue=queue)
        return cls(token, int(until), int(since), holder, queue)

    def text(self) -> str:
        """The line; empty where nobody has the turn or waits for it."""
        if self.token == NONE and not self.queue:
            return ""
        waiting = (f" {token} {until_ms}" for token, until_ms in self.queue)
        return f"{self.token} {self.until_ms} {self.since_ms} {self.holder}{''.join(waiting)}"

    def state(self, token: str | None, now_ms: int) -> TurnState:
        """What somebody who asks is told."""
        tokens = [waiting for waiting, _ in self.queue]
        return TurnState(
            mine=self.token == token,
            now_ms=now_ms,
            holder="" if self.token == NONE else decode(self.holder),
            since_ms=self.since_ms,
            ahead=tokens.index(token) if token in tokens else len(tokens),
        )


def held(text: str, commit: Commit, now_ms: int) -> TurnState | None:
    """Whose turn keeps a commit from being written; None where none does."""
    if not text and commit.turn is None:
        return None
    line = Line.read(text, now_ms)
    if line.token == (commit.turn or NONE):
        return None
    return line.state(commit.turn, now_ms)


def stepped(text: str, step: TurnStep, now_ms: int) -> tuple[str, TurnState]:
    """A line after a step, and the answer."""
    line, token = Line.read(text, now_ms), step.token
    mine = line.token == token
    others = tuple(pair for pair in line.queue if pair[0] != token)
    if step.what == "leave":
        left = Line(queue=others) if mine else line._replace(queue=others)
        return left.text(), left.state(None, now_ms)._replace(mine=mine)
    first = line.token == NONE and (not line.queue or line.queue[0][0] == token)
    if mine or (first and step.what == "take"):
        since_ms = line.since_ms if mine else now_ms
        line = Line(token, now_ms + step.ttl_ms, since_ms, encode(step.holder), others)
    elif step.what == "take" and step.patience_ms:
        place, places = (token, now_ms + step.patience_ms), dict(line.queue)
        if places.get(token, 0) < now_ms + step.patience_ms // 2:  # else it needs no writing yet
            queue = tuple(place if pair[0] == token else pair for pair in line.queue)
            line = line._replace(queue=queue if token in places else (*queue, place))
    return line.text(), line.state(token, now_ms)

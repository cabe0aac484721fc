"""What a trip carries: the commands of its plans in a row, and the reply or error of each. Pure.

`threads` and `tasks` send trips, so many at a time, and so many plans together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions as driver

from wren_sessions.stores.redis.errors import WRONG_TYPE
from wren_sessions.stores.redis.plans import AnotherAnswerError, Plan

if TYPE_CHECKING:
    import redis
    import redis.asyncio

LANES: Final = 4
MOST: Final = 16  # calls of one trip: a session knows as many commits again if they are repeated


def lanes_of(client: redis.Redis | redis.asyncio.Redis) -> int:
    """How many trips may be under way: no more than there are connections."""
    return max(1, min(LANES, client.connection_pool.max_connections))


def patience_of(client: redis.Redis | redis.asyncio.Redis) -> float:
    """For how many seconds a call may wait for a lane."""
    return client.connection_pool.connection_kwargs.get("socket_timeout") or math.inf


def in_full(plan: Plan[Any]) -> Plan[Any]:
    """The same plan, which sends the text of its script, too."""
    assert plan.script is not None  # noqa: S101 -- for the type checker: who else has no script
    return plan._replace(commands=(("EVAL", plan.script.text, *plan.commands[0][2:]),))


def commands_of(plans: Sequence[Plan[Any]]) -> Iterator[tuple[Any, ...]]:
    """The commands of plans, one after the other."""
    for plan in plans:
        for command in plan.commands:
            if plan.asking:
                yield ("ASKING",)
            yield command


def outcomes_of(plans: Sequence[Plan[Any]], replies: Iterable[Any]) -> list[Any]:
    """The reply or replies of each plan, or the error that one of them is."""
    rest, outcomes = iter(replies), []
    for plan in plans:
        each = 2 if plan.asking else 1  # with an ASKING before each command
        theirs = list(islice(rest, each * len(plan.commands)))
        outcomes.append(_outcome(plan, theirs[each - 1 :: each]))
    return outcomes


def _outcome(plan: Plan[Any], replies: list[Any]) -> Any:
    failed = _failed(plan, replies)
    if failed is None:
        return plan.answered(replies)
    if plan.script is None and failed is not replies[-1]:
        plan.answered(replies)
    return failed


def _failed(plan: Plan[Any], replies: list[Any]) -> Exception | None:
    """The first of the replies that is an error."""
    for at, reply in enumerate(replies):
        if isinstance(reply, Exception):
            if plan.scattered and isinstance(reply, _ELSEWHERE):
                continue
            if not plan.any_type or WRONG_TYPE not in str(reply):
                return reply
            replies[at] = None  # a key of another type, which the plan takes
    return None


def not_loaded(plans: Sequence[Plan[Any]], outcomes: Sequence[Any]) -> list[Plan[Any]]:
    """The plans whose scripts the server does not know, with their text."""
    pairs = zip(plans, outcomes, strict=True)
    return [in_full(plan) for plan, found in pairs if isinstance(found, driver.NoScriptError)]


def put_in(outcomes: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """The outcomes, with others where a script was not known."""
    rest = iter(others)
    return [next(rest) if isinstance(found, driver.NoScriptError) else found for found in outcomes]


def given(outcome: Any) -> Any:
    """What a plan was answered.

    Raises:
        Exception: the error that it was.
    """
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


# --- errors ---------------------------------------------------------------------------------------


_ELSEWHERE: Final = (driver.AskError, driver.TryAgainError)
"""What a node of a cluster says of a key that another one has; a `MovedError` is an `AskError`."""


NONSENSE: Final = (
    AnotherAnswerError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What comes up where what is read is not what Redis answers."""


def nonsense(error: Exception) -> driver.InvalidResponse:
    """The driver's error for one of these, which says no more than its kind."""
    return driver.InvalidResponse(type(error).__name__)

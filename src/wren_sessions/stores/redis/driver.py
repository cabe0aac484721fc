"""Sends plans with redis-py. `clients` creates the clients, `errors` explains what fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from redis import exceptions as driver

from wren_sessions.stores.redis.connection import RAW, AsyncLine, Line
from wren_sessions.stores.redis.errors import WRONG_TYPE, is_demotion
from wren_sessions.stores.redis.plans import AnotherAnswerError, Plan


def send(line: Line, plan: Plan[Any]) -> Any:
    """Send a plan and return the reply of its script, or the replies of its commands."""
    if len(plan.commands) > 1 or plan.asking:
        return _answer(send_together(line, [plan])[0])
    line.connection.begin()
    try:
        try:
            reply = line.execute(plan.commands[0])
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            reply = line.execute(_in_full(plan).commands[0])
        answer = plan.answered([reply])
    except driver.ResponseError as error:  # a whole reply
        line.connection.unfinished = is_demotion(error)
        raise
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = False
    return answer


def send_together(line: Line, plans: Sequence[Plan[Any]]) -> list[Any]:
    """Send plans in one trip, and return what `send` would have returned or raised for each."""
    line.connection.begin()
    try:
        with line.client.pipeline(transaction=False) as pipe:
            for command in _commands(plans):
                pipe.execute_command(*command, **RAW)
            outcomes = _outcomes(plans, pipe.execute(raise_on_error=False))
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = any(map(is_demotion, outcomes))
    unknown = _unknown(plans, outcomes)
    return _put_in(outcomes, send_together(line, unknown)) if unknown else outcomes


async def asend(line: AsyncLine, plan: Plan[Any]) -> Any:
    """See `send`."""
    if len(plan.commands) > 1 or plan.asking:
        return _answer((await asend_together(line, [plan]))[0])
    await line.connection.begin()
    try:
        try:
            reply = await line.execute(plan.commands[0])
        except driver.NoScriptError:  # the server has not seen it yet, or forgot it
            reply = await line.execute(_in_full(plan).commands[0])
        answer = plan.answered([reply])
    except driver.ResponseError as error:  # a whole reply
        line.connection.unfinished = is_demotion(error)
        raise
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = False
    return answer


async def asend_together(line: AsyncLine, plans: Sequence[Plan[Any]]) -> list[Any]:
    """See `send_together`."""
    await line.connection.begin()
    try:
        async with line.client.pipeline(transaction=False) as pipe:
            for command in _commands(plans):
                pipe.execute_command(*command, **RAW)
            outcomes = _outcomes(plans, await pipe.execute(raise_on_error=False))
    except NONSENSE as error:
        raise _nonsense(error) from error
    line.connection.unfinished = any(map(is_demotion, outcomes))
    unknown = _unknown(plans, outcomes)
    return _put_in(outcomes, await asend_together(line, unknown)) if unknown else outcomes


def _in_full(plan: Plan[Any]) -> Plan[Any]:
    """The same plan, which sends the text of its script, too."""
    assert plan.script is not None  # noqa: S101 -- for the type checker: who else has no script
    return plan._replace(commands=(("EVAL", plan.script.text, *plan.commands[0][2:]),))


def _commands(plans: Sequence[Plan[Any]]) -> Iterator[tuple[Any, ...]]:
    for plan in plans:
        for command in plan.commands:
            if plan.asking:
                yield ("ASKING",)
            yield command


def _outcomes(plans: Sequence[Plan[Any]], replies: Iterable[Any]) -> list[Any]:
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
            if plan.scattered and isinstance(reply, ELSEWHERE):
                continue
            if not plan.any_type or WRONG_TYPE not in str(reply):
                return reply
            replies[at] = None  # a key of another type, which the plan takes
    return None


def _unknown(plans: Sequence[Plan[Any]], outcomes: Sequence[Any]) -> list[Plan[Any]]:
    """The plans whose scripts the server does not know, with their text."""
    pairs = zip(plans, outcomes, strict=True)
    return [_in_full(plan) for plan, found in pairs if isinstance(found, driver.NoScriptError)]


def _put_in(outcomes: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """The outcomes, with others where a script was not known."""
    rest = iter(others)
    return [next(rest) if isinstance(found, driver.NoScriptError) else found for found in outcomes]


def _answer(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


# --- errors ---------------------------------------------------------------------------------------


ELSEWHERE: Final = (driver.AskError, driver.TryAgainError)
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


def _nonsense(error: Exception) -> driver.InvalidResponse:
    return driver.InvalidResponse(type(error).__name__)

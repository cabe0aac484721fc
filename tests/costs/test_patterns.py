"""What ways to treat a conversation cost, counted over many turns: nothing grows quadratically.

Bytes are counted as the commits carry them and as the session takes them in the store. With ``-s``
a table is printed at the end; ``python benchmarks/patterns.py`` gives it for more turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from cost_drivers import patterns, report
from wren_sessions.stores.memory import MemoryStore

LINEAR: Final = 1.2
"""The growth exponent at most: log2 of the bytes after all turns over those after half of them."""


@pytest.fixture(scope="module")
def costs() -> Iterator[list[patterns.PatternCost]]:
    """The figures of all patterns; printed when the last test is done."""
    found: list[patterns.PatternCost] = []
    yield found
    print("\n" + report.table(patterns.rows(found)))  # noqa: T201 -- shown with -s


def run(
    costs: list[patterns.PatternCost], pattern: patterns.Pattern, turns: int
) -> patterns.PatternCost:
    """Run a pattern on a store in memory."""
    cost = patterns.measure(MemoryStore(), pattern, turns)
    costs.append(cost)
    return cost


def assert_linear(cost: patterns.PatternCost) -> None:
    """What is sent and what is stored grows with the turns, and not with their square."""
    assert cost.carried_exponent <= LINEAR
    assert cost.stored_exponent <= LINEAR


def test_a_whole_history(costs: list[patterns.PatternCost]) -> None:
    """Over 500 turns, a turn costs its two messages and two records of at most 600 bytes."""
    cost = run(costs, patterns.whole_history, 500)
    assert_linear(cost)
    assert cost.carried_bytes[1] / cost.turns < 2_000 + 2 * 600


def test_keeping_the_last_40_messages(costs: list[patterns.PatternCost]) -> None:
    """Over 1,000 turns, trimming costs what keeping the whole history costs."""
    cost = run(costs, patterns.keep_last_40, 1_000)
    assert_linear(cost)
    assert cost.carried_bytes[1] / cost.turns < 2_000 + 2 * 600


def test_a_summary_every_turn(costs: list[patterns.PatternCost]) -> None:
    """Over 1,000 turns, a turn costs a summary more."""
    cost = run(costs, patterns.summary_every_turn, 1_000)
    assert_linear(cost)
    assert cost.carried_bytes[1] / cost.turns < 3_000 + 2 * 600


def test_editing_the_previous_message(costs: list[patterns.PatternCost]) -> None:
    """Over 1,000 turns, the list that falls into pieces is put together again now and then."""
    cost = run(costs, patterns.edit_previous, 1_000)
    assert_linear(cost)
    assert cost.carried_bytes[1] < cost.serialized_bytes / 150


def test_removing_the_message_in_the_middle(costs: list[patterns.PatternCost]) -> None:
    """Over 1,000 turns, the same."""
    cost = run(costs, patterns.remove_middle, 1_000)
    assert_linear(cost)
    assert cost.carried_bytes[1] < cost.serialized_bytes / 75


@pytest.mark.parametrize("pattern", [patterns.edit_random, patterns.remove_random])
def test_changing_a_message_anywhere(
    costs: list[patterns.PatternCost], pattern: patterns.Pattern
) -> None:
    """Over 300 turns, an edit at random costs a small share of the list, not the list.

    This is not linear: a list has a bounded number of pieces, and each edit parts a long one.
    """
    cost = run(costs, pattern, 300)
    assert cost.carried_bytes[1] < cost.serialized_bytes / 25


def test_a_new_subgraph_namespace_every_turn(costs: list[patterns.PatternCost]) -> None:
    """Over 400 turns (slow: lists are long), a namespace that starts with the list links to it."""
    cost = run(costs, patterns.subgraph_namespaces, 400)
    assert_linear(cost)
    assert cost.carried_bytes[1] / cost.turns < 2_000 + 4 * 600


def test_a_subgraph_as_a_node(costs: list[patterns.PatternCost]) -> None:
    """Over 120 turns (slow) of a real graph, a subgraph takes the parent's list and gives it back.

    It makes seven checkpoints per turn, and writes each message twice besides.
    """
    cost = run(costs, patterns.subgraph_node, 120)
    assert_linear(cost)
    assert cost.carried_bytes[1] / cost.turns < 2_000 + 2_000 + 7 * 600


def test_a_subgraph_that_writes_at_the_same_time(costs: list[patterns.PatternCost]) -> None:
    """Over 120 turns (slow) as LangGraph runs it by default, it stays far from the square.

    What parent and subgraph write at the same time is appended by both. How often that happens is
    a matter of luck.
    """
    cost = run(costs, patterns.subgraph_node_async, 120)
    assert cost.carried_exponent < 1.5
    assert cost.carried_bytes[1] < cost.serialized_bytes / 40


def test_two_writers(costs: list[patterns.PatternCost]) -> None:
    """Over 200 turns (slow: each reads the list), two processes that take turns append no more."""
    cost = run(costs, patterns.two_writers, 200)
    assert_linear(cost)
    assert cost.carried_bytes[1] / cost.turns < 2_000 + 2 * 600


def test_a_node_that_asks_a_hundred_times(costs: list[patterns.PatternCost]) -> None:
    """Over 100 answers in a real graph, the session holds each answer once, and sends no more.

    LangGraph writes all answers so far at each new question, and so many bytes are sent; what is
    stored is linear, because the list replaces the one before.
    """
    cost = run(costs, patterns.interrupts, 100)
    assert cost.stored_exponent <= LINEAR
    assert cost.stored_bytes[1] / cost.turns < 1_000
    assert cost.carried_bytes[1] < 1.02 * cost.serialized_bytes


def test_two_hundred_tasks_at_once(costs: list[patterns.PatternCost]) -> None:
    """Each of 200 tasks adds its own write to the checkpoint's log, and nothing else."""
    cost = run(costs, patterns.fan_out, 200)
    assert_linear(cost)
    assert cost.carried_bytes[1] / cost.turns < 1_200

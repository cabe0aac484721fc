"""The page that compares savers says what the installed packages can do."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver

PAGE: Final = Path(__file__).parent.parent / "docs/explanation/comparison.md"
METHODS: Final = ("copy_thread", "delete_for_runs", "prune", "get_delta_channel_history")
BASIC: Final = ("get_tuple", "list", "put", "put_writes")
SAVERS: Final = {
    "Redis": (
        "langgraph.checkpoint.redis:RedisSaver",
        "langgraph.checkpoint.redis:AsyncRedisSaver",
    ),
    "Valkey": ("langgraph_checkpoint_aws:ValkeySaver", "langgraph_checkpoint_aws:AsyncValkeySaver"),
    "PostgreSQL": (
        "langgraph.checkpoint.postgres:PostgresSaver",
        "langgraph.checkpoint.postgres.aio:AsyncPostgresSaver",
    ),
    "SQLite": (
        "langgraph.checkpoint.sqlite:SqliteSaver",
        "langgraph.checkpoint.sqlite.aio:AsyncSqliteSaver",
    ),
    "wren-sessions": ("wren_sessions:SessionSaver",),
}


def split(named: str) -> list[str]:
    """Module and class."""
    return named.split(":")


def has(saver: Any, method: str) -> bool:
    """A class has a method of its own, and it does more than raise."""
    own = getattr(saver, method)
    if own is getattr(BaseCheckpointSaver, method):
        return False
    return "raise NotImplementedError(" not in inspect.getsource(inspect.unwrap(own))


def cells(package: str) -> dict[str, str]:
    """A column of the table: what stands there, by the first words of the row."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    column = rows[0].index(package)
    return {row[0]: row[column] for row in rows[2:]}


INSTALLED = [name for name, found in SAVERS.items() if find_spec(split(found[0])[0])]


@pytest.mark.parametrize("package", INSTALLED)  # two are there for the benchmark alone
def test_the_table_says_what_the_packages_can(package: str) -> None:
    """Each cell about a method is what the class, or its asynchronous twin, has."""
    said = cells(package)
    savers = [getattr(import_module(where), name) for where, name in map(split, SAVERS[package])]
    for method in METHODS:
        (row,) = (row for row in said if row.startswith(f"`{method}`"))
        real = any(has(saver, name) for saver in savers for name in (method, f"a{method}"))
        assert (said[row] == "yes") == real, f"{package}: {row}"
    (row,) = (row for row in said if row.startswith("one object"))
    both = has(savers[0], "get_tuple") and all(has(savers[0], f"a{name}") for name in BASIC)
    assert (said[row] == "yes") == both
    (row,) = (row for row in said if row.startswith("takes a serializer"))
    assert (said[row] == "yes") == ("serde" in inspect.signature(savers[0]).parameters)


def test_every_source_of_the_table_is_named() -> None:
    """The numbers of the last column are the numbers of the list, and no other."""
    used = {number for cell in cells("from").values() for number in re.findall(r"\[(\d+)\]", cell)}
    listed = set(re.findall(r"^(\d+)\. ", PAGE.read_text("utf-8"), re.MULTILINE))
    assert used == listed

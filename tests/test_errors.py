"""The error tree, and errors that cross a process."""

from __future__ import annotations

import concurrent.futures
import copy
import inspect
import multiprocessing
import pickle

import pytest

from wren_sessions import errors
from wren_sessions.errors import (
    InvalidSessionIdError,
    SessionError,
    WrenSessionsError,
)
from wren_sessions.keys import check_session

CLASSES = [
    each
    for each in vars(errors).values()
    if inspect.isclass(each) and issubclass(each, WrenSessionsError)
]


def make(kind: type[WrenSessionsError]) -> WrenSessionsError:
    """An error of a class, with all its facts."""
    facts: dict[str, object] = {}
    for name in list(inspect.signature(kind).parameters)[1:]:
        facts[name] = 3 if name in ("found", "supported") else f"the {name}"
    return kind("what happened, and what to do", **facts)


def drawn_tree() -> dict[str, str | None]:
    """The parent of each class, as the docstring of the module draws it."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.strip("│├└─ ").split(" ")[0]
        if not name.endswith("Error") or not line.startswith("    "):
            continue
        depth = (len(line) - len(line.lstrip("│├└─ ")) - 4) // 4
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else None
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    """The docstring shows every class, below its parent."""
    tree = {kind.__name__: kind.__base__ for kind in CLASSES}
    drawn = drawn_tree()
    assert set(drawn) == set(tree)
    for name, parent in drawn.items():
        base = tree[name]
        assert base is not None
        assert base.__name__ == (parent or "Exception")


@pytest.mark.parametrize(
    ("kind", "builtin"), [("ConfigurationError", ValueError), ("SessionNotFoundError", LookupError)]
)
def test_errors_are_caught_as_the_built_in_ones(kind: str, builtin: type[Exception]) -> None:
    """Code that was written for another checkpointer, or for a dict, catches them."""
    error = make(getattr(errors, kind))
    with pytest.raises(builtin, match="what happened") as caught:
        raise error
    assert repr(caught.value) == f"{kind}('what happened, and what to do')"
    assert str(caught.value) == "what happened, and what to do"


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_are_pickled(kind: type[WrenSessionsError]) -> None:
    """An error comes out of a pickle with its class, text and facts."""
    error = make(kind)
    error.add_note("seen in a worker")
    for other in (
        pickle.loads(pickle.dumps(error)),  # noqa: S301 -- our own
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(other) is kind
        assert str(other) == "what happened, and what to do"
        assert other.args == error.args
        assert vars(other) == vars(error)
        assert other.__notes__ == ["seen in a worker"]


def test_errors_cross_processes() -> None:
    """An error raised in a process pool is caught with its facts."""
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(InvalidSessionIdError) as caught,
    ):
        pool.submit(check_session, "").result()
    assert caught.value.value == ""


@pytest.mark.parametrize("kind", [each for each in CLASSES if issubclass(each, SessionError)])
def test_errors_of_a_session_name_it(kind: type[SessionError]) -> None:
    """What is about one session says which."""
    assert isinstance(make(kind), SessionError)
    assert vars(make(kind))["session"] == "the session"


def test_an_invalid_id_is_named() -> None:
    """What was given as an id is kept, as its repr where it might not survive pickling."""
    assert InvalidSessionIdError("no id", value=7).value == 7
    assert InvalidSessionIdError("no id", value=["a"]).value == "['a']"


def test_errors_are_caught_by_their_parents() -> None:
    """One except clause catches everything this package raises."""
    for kind in CLASSES:
        with pytest.raises(WrenSessionsError, match="what happened"):
            raise make(kind)

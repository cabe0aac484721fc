"""Whatever is damaged: the right value, or an error of ours.

``nox -s damage`` runs as many trials as asked for, and looks at time, memory and the server too. A
trial that fails here is run again with all of its paths by
``nox -s damage -- --form "file, zstd" --seed 123``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from damage.forms import GRAPH, PROTECTIONS, DumpForm, ExportForm, FileForm, Form, RedisForm
from damage.trials import BAD, NAMED, Outcome, Trials
from golden import content
from servers import start_server
from wren_sessions import Sessions
from wren_sessions.archives import export_session
from wren_sessions.errors import CorruptSessionError

FORMS = [f"{kind}, {how}" for kind in ("file", "redis", "dump") for how in PROTECTIONS]
TRIALS = 30
PATHS = 3  # of each trial
GENEROUS_S = 120.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of its own: nothing on it has a deadline."""
    with start_server() as server:
        yield server.url


@pytest.fixture
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Form]:
    """What is damaged."""
    kind, _, protection = request.param.partition(", ")
    if kind == "redis":
        found: Form = RedisForm(protection, request.getfixturevalue("url"))
    elif kind == "file":
        found = FileForm(protection, tmp_path)
    else:
        found = DumpForm(protection) if kind == "dump" else ExportForm(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("form", [*FORMS, "export, plain"], indirect=True)
def test_damage_gives_the_right_value_or_an_error_of_ours(form: Form) -> None:
    """Any cell, field, line or byte; each trial by some of the ways to read and to go on."""
    trials = Trials(form, GENEROUS_S)
    found: list[tuple[int, str, Outcome]] = []
    tried = 0
    for seed in range(TRIALS):
        done, outcomes = trials.run(seed, PATHS)
        tried += len(outcomes)
        found += [(seed, str(done), outcome) for outcome in outcomes if outcome.kind in BAD]
    assert not found, form.name
    assert tried > TRIALS


def test_a_latest_checkpoint_that_is_not_there_is_damage(url: str) -> None:
    """It is no empty conversation, and no export without it."""
    form = RedisForm("plain", url)
    key = "langgraph:checkpoint:golden%3Asession%2F1:latest"
    form.client.hset(key, ":head/", " ".join([content.checkpoint(77, {})["id"]] * 2 + ["-"]))
    with form.store() as store:
        for read in (Sessions(store).transcript, lambda id_: list(export_session(store, id_))):
            with pytest.raises(CorruptSessionError) as caught:
                read(GRAPH)
            assert caught.value.session == GRAPH
    form.close()


def test_each_excuse_says_why() -> None:
    """What is not counted as unseen is a list that can be read, and that gets shorter."""
    assert all(excuse.why for excuse in NAMED)

"""`show`, `history`, `diff`: one session, its checkpoints, what is different between them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from cli.running import Cli, terminal
from cli.sample_app import HOSTILE
from wren_sessions import FileStore, Sessions, SessionSaver, open_store

INTERVIEW: Final = "cli_20251108_145739"
FORKED: Final = "cli_20251108_150001"
ADDED: Final[Any] = DeltaChannel(lambda state, writes: state + sum(writes), int)


def test_a_session_is_shown_whole(cli: Cli, url: str) -> None:
    """Header, state with types, parts, namespaces, checkpoint."""
    (found,) = cli("show", INTERVIEW, "--json", url=url).json
    assert (found["id"], found["status"], found["turns"]) == (INTERVIEW, "complete", 3)
    assert found["types"]["profile"] == "Profile"
    assert found["state"]["profile"] == {
        "mood": "hungry",
        "score": "0.5",
        "seen": "2025-11-08T00:00:00+00:00",
    }
    assert found["namespaces"] == {"": 5}
    assert found["parts"]["checkpoints_bytes"] > 500
    assert found["checkpoint"]["step"] == 3
    assert found["next"] == found["interrupts"] == []


def test_the_parts_of_a_session_add_up(cli: Cli, url: str) -> None:
    """What is none of the named parts is called other."""
    (found,) = cli("show", INTERVIEW, "--json", url=url).json
    assert found["parts"]["other_bytes"] > 0
    assert sum(found["parts"].values()) == found["size_bytes"]
    assert "; other " in cli("show", INTERVIEW, url=url).out


def test_messages_that_are_dicts_are_shown_as_said(cli: Cli, tmp_path: Path) -> None:
    """In the state and in a list, as messages of LangChain are; other dicts are not."""
    url = f"file:{tmp_path}/s.db"
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Who are you?"}]
    with open_store(url, dotenv=False) as store:
        Sessions(store).save("s", {"messages": said[:1]})
        state = {"messages": said, "last": {"type": "ai", "content": "hm"}, "job": {"role": "cook"}}
        Sessions(store).save("s", state)
    shown = {line.split("\t")[0]: line for line in cli("show", "s", url=url).lines}
    assert shown["messages"].endswith("\t… ai: Who are you?")
    assert shown["last"].endswith("\tai: hm")
    assert shown["job"].endswith('\t{"role": "cook"}')
    wide = terminal("list", "--url", url, columns=200, NO_COLOR="1").out
    assert wide.splitlines()[1].endswith("  ai: Who are you?")


def test_a_viewer_needs_none_of_the_apps_classes(cli: Cli, file_url: str) -> None:
    """What the data names is neither imported nor built."""
    before = set(sys.modules)
    for command in ("show", "history", "conversation"):
        assert cli(command, INTERVIEW, url=file_url).code == 0
    new = {name.split(".")[0] for name in set(sys.modules) - before}
    assert "sample_app" not in sys.modules
    assert not new & {"langchain", "pydantic_core", "os.system"}


def test_what_a_session_waits_for_is_shown(cli: Cli, url: str) -> None:
    """The question, and the node that goes on when it is answered."""
    (found,) = cli("show", "web_visitor", "--json", url=url).json
    assert found["interrupts"] == [{"question": "Question 1: how are you?"}]
    assert found["next"] == ["ask"]
    assert "waits for\t" in cli("show", "web_visitor", url=url).out


def test_states_of_all_kinds_are_shown(cli: Cli, file_url: str) -> None:
    """A state that is no dict, keys with a colon, and values that live in what was written."""
    extend: Any = DeltaChannel(
        lambda state, writes: [*state, *(x for write in writes for x in write)]
    )
    mixed: Any = TypedDict(
        "mixed",
        {"user:age": int, "log": Annotated[list[str], extend], "total": Annotated[int, ADDED]},
    )
    with SessionSaver.from_url(file_url) as saver:
        states: dict[str, tuple[Any, Any]] = {
            "whole": (int, 7),
            "mixed": (mixed, {"user:age": 30, "log": ["question"], "total": 1}),
        }
        for name, (schema, state) in states.items():
            builder: Any = StateGraph(schema)
            builder = builder.add_node("a", lambda state: state)
            graph = builder.add_edge(START, "a").compile(checkpointer=saver)
            graph.invoke(state, Sessions.thread(name))
    (whole,) = cli("show", "whole", "--json", url=file_url).json
    assert whole["state"] == {"__root__": 7}
    (found,) = cli("show", "mixed", "--json", url=file_url).json
    assert (found["state"]["user:age"], found["state"]["log"]) == (30, ["question", "question"])
    assert found["types"]["total"] == "unreadable"


def test_a_subgraph_has_its_own_namespace(cli: Cli, url: str) -> None:
    """It is listed, and its state can be shown."""
    (found,) = cli("show", "nested", "--json", url=url).json
    (inner,) = (name for name in found["namespaces"] if name)
    assert inner.startswith("analyst:")
    (shown,) = cli("show", "nested", "--namespace", inner, "--json", url=url).json
    assert shown["checkpoint"]["namespace"] == inner
    assert cli("history", "nested", "--namespace", inner, "--json", url=url).json


def test_a_failed_step_is_shown_with_its_error(cli: Cli, url: str) -> None:
    """What the task raised stands in the pending writes."""
    (found,) = cli("show", "broken", "--json", url=url).json
    assert found["status"] == "failed"
    assert "the model is down" in str(found["errors"])


def test_an_address_names_what_an_id_names(cli: Cli, url: str) -> None:
    """The session, and one checkpoint of it, for every command that takes one."""
    address = f"langgraph:checkpoint:{INTERVIEW}:latest"
    by_id = cli("show", INTERVIEW, "--json", url=url).json[0]
    assert cli("show", address, "--json", url=url).json[0]["state"] == by_id["state"]
    first = cli("history", INTERVIEW, "--json", url=url).json[-2]
    old = f"langgraph:checkpoint:{INTERVIEW}:{first['id']}"
    (shown,) = cli("show", old, "--json", url=url).json
    assert shown["checkpoint"]["id"] == first["id"]
    assert cli("show", INTERVIEW, "--at", old, "--json", url=url).json == [
        {**shown, "ttl_seconds": pytest.approx(shown["ttl_seconds"], abs=60)}
    ]
    assert cli("conversation", old, "--json", url=url).code == 0


def test_a_checkpoint_may_be_named_by_a_part(cli: Cli, url: str) -> None:
    """As long as no other one begins or ends so."""
    id_ = cli("history", INTERVIEW, "--json", url=url).json[2]["id"]
    (shown,) = cli("show", INTERVIEW, "--at", id_[-12:], "--json", url=url).json
    assert shown["checkpoint"]["id"] == id_
    several = cli("show", INTERVIEW, "--at", "1", url=url)
    assert several.code == 3
    assert "5 checkpoints begin or end with '1'" in several.err


def test_one_value_is_printed_whole(cli: Cli, url: str) -> None:
    """As JSON, for other programs; a key that is not there names those that are."""
    assert cli("show", INTERVIEW, "--key", "turn_count", url=url).json == [3]
    wrong = cli("show", INTERVIEW, "--key", "turns", url=url)
    assert wrong.code == 2
    assert "turn_count" in wrong.err


def test_the_history_is_a_tree_with_its_forks(cli: Cli, url: str) -> None:
    """Newest first; two lines that come together where they part."""
    entries = cli("history", FORKED, "--json", url=url).json
    forked, left, origin, _ = entries
    assert forked["parent_id"] == left["parent_id"] == origin["id"]
    assert forked["source"] == "update"
    assert forked["changed"] == ["+turn_count = 40"]
    assert "messages +4" in left["changed"]
    drawn = cli("history", FORKED, url=url).lines
    assert sum(line.startswith("├─╯") for line in drawn) == 1
    assert next(line for line in drawn if left["id"] in line).startswith("│ ● ")
    assert next(line for line in drawn if origin["id"] in line).startswith("● ")


def test_a_history_names_what_changed(cli: Cli, url: str) -> None:
    """Numbers with both values, lists with how much came; and what waits."""
    entries = cli("history", INTERVIEW, "--json", url=url).json
    assert [entry["step"] for entry in entries] == [3, 2, 1, 0, -1]
    assert entries[0]["changed"] == [
        "messages +4",
        "turn_count 2 → 3",
        "is_complete false → true",
        "profile changed",
    ]
    assert cli("history", "web_visitor", "--json", url=url).json[0]["waits_for"]


def test_a_limit_on_the_history_says_that_there_is_more(cli: Cli, url: str) -> None:
    """And the last one shown is still compared with its parent, which is not."""
    found = cli("history", INTERVIEW, "--limit", "2", url=url)
    assert "earlier ones" in found.err
    entries = cli("history", INTERVIEW, "--limit", "2", "--json", url=url).json
    assert entries[1]["changed"][0] == "messages +4"


def test_a_difference_goes_down_to_single_values(cli: Cli, url: str) -> None:
    """Added, removed and changed, with both values."""
    newest, older, *_ = cli("history", INTERVIEW, "--json", url=url).json
    found = cli("diff", INTERVIEW, older["id"], "latest", "--json", url=url).json
    changes = {change["path"]: change for change in found}
    assert changes["turn_count"] == {
        "path": "turn_count",
        "change": "changed",
        "before": 2,
        "after": 3,
    }
    assert changes["profile.mood"]["after"] == "hungry"
    assert {path for path, c in changes.items() if c["change"] == "added"} == {
        f"messages[{at}]" for at in range(10, 14)
    }
    back = cli("diff", INTERVIEW, newest["id"], older["id"], url=url).lines
    assert any(line.startswith("- messages[10]: human: hungry") for line in back)
    assert "no difference" in cli("diff", INTERVIEW, "latest", "latest", url=url).err


def test_an_added_zero_is_a_difference(cli: Cli, file_url: str) -> None:
    """Values that count as false are values."""
    with open_store(file_url) as store:
        sessions = Sessions(store)
        first = sessions.save("zero", {"a": 1}).checkpoint_id
        sessions.save("zero", {"a": 1, "b": 0, "c": False})
    assert first
    assert cli("diff", "zero", first, url=file_url).lines == ["+ b: 0", "+ c: false"]


def test_a_session_without_a_state_is_shown(cli: Cli, url: str) -> None:
    """It has a life, and nothing else yet."""
    (found,) = cli("show", "empty", "--json", url=url).json
    assert (found["checkpoint"], found["state"], found["status"]) == (None, {}, "empty")
    for command in ("show", "history", "conversation"):
        assert cli(command, "empty", url=url).code == 0


def test_a_value_that_is_not_read_does_not_hide_the_others(cli: Cli, file_url: str) -> None:
    """A pickle is never opened; what stands beside it is shown."""

    class Pickling:
        def dumps_typed(self, obj: object) -> tuple[str, bytes]:
            from wren_sessions.serializers import default_serializer

            kind, data = default_serializer().dumps_typed(obj)
            return ("pickle", b"\x80\x04N.") if obj == "pickle me" else (kind, data)

        def loads_typed(self, data: tuple[str, bytes]) -> object:
            from wren_sessions.serializers import default_serializer

            return None if data[0] == "pickle" else default_serializer().loads_typed(data)

    with open_store(file_url) as store:
        Sessions(store, serde=Pickling()).save("pickled", {"bad": "pickle me", "good": 1})
    (found,) = cli("show", "pickled", "--json", url=file_url).json
    assert found["types"] == {"bad": "unreadable", "good": "int"}
    assert found["state"]["good"] == 1


def test_looking_is_no_use_of_the_session(cli: Cli, file_url: str) -> None:
    """Also where reading counts as use, the deadline stays where it is."""
    url = f"{file_url}?ttl=2h&refresh=read"
    path = file_url.removeprefix("file:")
    with FileStore(path) as store:
        set_ = store.set_ttl(INTERVIEW, "1h")
        assert set_ is not None
    checkpoint = cli("history", INTERVIEW, "--json", url=url).json[1]["id"]
    for command in (
        ["show", INTERVIEW],
        ["show", INTERVIEW, "--at", checkpoint],
        ["history", INTERVIEW],
        ["diff", INTERVIEW, checkpoint],
        ["conversation", INTERVIEW],
        ["conversation", INTERVIEW, "--at", checkpoint],
        ["export", INTERVIEW],
        ["export", INTERVIEW, "--format", "html"],
        ["list"],
        ["stats"],
        ["ttl", INTERVIEW],
        ["check"],
    ):
        assert cli(*command, url=url).code == 0, command
    with FileStore(path) as store:
        info = store.info(INTERVIEW)
    assert info is not None
    assert info.life.deadline_ms == set_.deadline_ms
    assert info.life.revision == set_.revision


def test_hostile_text_is_json_again(cli: Cli, url: str) -> None:
    """JSON is exact, whatever the text; and has no control character of its own."""
    found = cli("show", "hostile", "--json", url=url)
    assert found.json[0]["state"]["note"] == HOSTILE
    assert HOSTILE in found.json[0]["state"]
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in found.out[:-1])

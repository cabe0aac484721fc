"""Runs, states, forks, copies and questions through the Agent Server, on a file and on Redis."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from deploy.running import AgentServer, until
from wren_sessions import Sessions, open_store

RUN = ["begin", "waited", "end"]


def stored(url: str) -> set[str]:
    """The sessions that a store has."""
    with open_store(url, dotenv=False) as store:
        return {info.session for info in Sessions(store).list().sessions}


def test_the_server_says_that_it_keeps_checkpoints_with_us(server: AgentServer) -> None:
    """Its log names our saver, misses none of its methods, and says where sessions are kept."""
    assert "Using custom checkpointer: ServerSaver" in server.log
    assert "sessions are kept in" in server.log
    assert "missing a" not in server.log


def test_runs_are_waited_for_streamed_and_joined(server: AgentServer, store_url: str) -> None:
    """Three runs in three ways go on from each other, and each step is in the history."""
    thread = server.thread()
    assert server.wait(thread, {"steps": ["1"]})["steps"] == ["1", *RUN]
    body = {"assistant_id": "steps", "input": {"steps": ["2"]}, "stream_mode": ["updates"]}
    with httpx.stream(
        "POST", f"{server.url}/threads/{thread}/runs/stream", json=body, timeout=60
    ) as stream:
        data = [line.removeprefix("data: ") for line in stream.iter_lines() if "data: " in line]
    assert [list(json.loads(each)) for each in data[1:]] == [["begin"], ["wait"], ["ask"]]
    run = server.launch_run(thread, {"steps": ["3"]})
    joined = server.get(f"/threads/{thread}/runs/{run}/join")
    assert joined["steps"] == ["1", *RUN, "2", *RUN, "3", *RUN]
    states = server.history(thread)
    assert [len(each["values"].get("steps", [])) for each in states[:5]] == [12, 11, 10, 9, 8]
    assert len(states) == 15
    assert thread in stored(store_url)


def test_a_state_is_changed_and_the_run_goes_on_from_there(server: AgentServer) -> None:
    """An update is a checkpoint of its own, and what follows its node runs."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"]})
    body = {"values": {"steps": ["by hand"]}, "as_node": "begin"}
    changed = server.post(f"/threads/{thread}/state", body)
    state = server.state(thread)
    assert state["checkpoint"]["checkpoint_id"] == changed["checkpoint"]["checkpoint_id"]
    assert state["next"] == ["wait"]
    assert server.wait(thread)["steps"] == ["1", *RUN, "by hand", "waited", "end"]


def test_a_run_forks_from_an_earlier_checkpoint(server: AgentServer) -> None:
    """It goes on from there, becomes the latest, and leaves what was there before."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"]})
    server.wait(thread, {"steps": ["2"]})
    before = server.history(thread)
    early = next(each for each in reversed(before) if each["next"] == ["wait"])
    named = {"checkpoint_id": early["checkpoint"]["checkpoint_id"]}
    for choice in (named, {"checkpoint": early["checkpoint"]}):
        assert server.wait(thread, **choice)["steps"] == ["1", *RUN]
        assert server.state(thread)["values"]["steps"] == ["1", *RUN]
    after = {each["checkpoint"]["checkpoint_id"] for each in server.history(thread)}
    assert {each["checkpoint"]["checkpoint_id"] for each in before} < after
    assert server.wait(thread, {"steps": ["3"]})["steps"] == ["1", *RUN, "3", *RUN]


def test_each_state_is_asked_for_by_its_id(server: AgentServer) -> None:
    """By either path, with what it holds, its parent and what comes next."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"]})
    for state in server.history(thread):
        named = state["checkpoint"]
        path = f"/threads/{thread}/state/{named['checkpoint_id']}"
        for found in (
            server.get(path),
            server.post(f"/threads/{thread}/state/checkpoint", {"checkpoint": named}),
        ):
            for part in ("values", "next", "checkpoint", "parent_checkpoint"):
                assert found[part] == state[part]


def test_a_history_is_asked_for_in_pieces(server: AgentServer) -> None:
    """By number, before a checkpoint, and by what metadata holds."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"]})
    whole = server.history(thread)
    path, second = f"/threads/{thread}/history", whole[1]["checkpoint"]
    assert server.post(path, {"limit": 2}) == whole[:2]
    assert server.get(f"{path}?limit=9&before={second['checkpoint_id']}") == whole[2:]
    assert server.post(path, {"limit": 9, "before": second}) == whole[2:]
    assert server.post(path, {"limit": 9, "metadata": {"step": 1}}) == [whole[2]]
    assert server.post(path, {"limit": 9, "metadata": {"step": 99}}) == []


def test_a_thread_is_made_with_a_past(server: AgentServer) -> None:
    """Each step that it is given is a checkpoint, and a run goes on from the last."""
    updates = [
        {"updates": [{"values": {"steps": ["1"]}, "as_node": "__start__"}]},
        {"updates": [{"values": {"steps": ["2"]}, "as_node": "begin"}]},
    ]
    body = {"metadata": {"graph_id": "steps"}, "supersteps": updates}
    thread = server.post("/threads", body)["thread_id"]
    assert [each["values"]["steps"] for each in server.history(thread)] == [["1", "2"], ["1"]]
    assert server.wait(thread)["steps"] == ["1", "2", "waited", "end"]


def test_a_copy_is_a_thread_of_its_own(server: AgentServer, store_url: str) -> None:
    """It has the history and the open question, goes on alone, and outlives its source."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"], "question": "on?"})
    copy = server.post(f"/threads/{thread}/copy")["thread_id"]
    ours = [each["values"] for each in server.history(thread)]
    assert [each["values"] for each in server.history(copy)] == ours
    assert server.state(copy)["metadata"]["thread_id"] == copy
    answered = server.wait(copy, graph="steps", command={"resume": "yes"})
    assert answered["steps"] == ["1", "begin", "waited", "on? yes"]
    assert server.state(thread)["next"] == ["ask"]
    assert server.ask("DELETE", f"/threads/{thread}").is_success
    assert server.state(copy)["values"]["steps"][-1] == "on? yes"
    assert {thread, copy} & stored(store_url) == {copy}


def test_a_question_waits_for_its_answer(server: AgentServer) -> None:
    """The thread is interrupted, says what is asked, and goes on with the answer."""
    thread = server.thread()
    asked = server.wait(thread, {"question": "on?"})
    assert asked["__interrupt__"][0]["value"] == "on?"
    assert server.get(f"/threads/{thread}")["status"] == "interrupted"
    (task,) = server.state(thread)["tasks"]
    assert task["interrupts"][0]["value"] == "on?"
    assert server.wait(thread, command={"resume": "yes"})["steps"][-1] == "on? yes"
    assert server.get(f"/threads/{thread}")["status"] == "idle"


def test_a_question_within_a_subgraph_waits_too(server: AgentServer) -> None:
    """Its state is shown with the thread's, and it goes on within."""
    thread = server.thread()
    server.wait(thread, {"question": "on?"}, graph="nested")
    (task,) = server.get(f"/threads/{thread}/state?subgraphs=true")["tasks"]
    assert task["state"]["next"] == ["ask"]
    answered = server.wait(thread, graph="nested", command={"resume": "yes"})
    assert answered["steps"][-1] == "on? yes"


def test_a_channel_that_lives_in_its_history_is_read(server: AgentServer) -> None:
    """Messages in a delta channel are whole after each run, and in each earlier state."""
    thread = server.thread()
    for count in range(1, 4):
        said = {"messages": [{"role": "user", "content": "hello"}]}
        messages = server.wait(thread, said, graph="chat")["messages"]
        assert messages[-1]["content"] == f"there are {2 * count - 1} messages"
        assert len(messages) == 2 * count
    lengths = [len(each["values"].get("messages", [])) for each in server.history(thread)]
    assert sorted(lengths, reverse=True) == lengths
    assert lengths[0] == 6


def test_a_run_without_a_thread_leaves_nothing(server: AgentServer, store_url: str) -> None:
    """Its checkpoints go with it."""
    before = stored(store_url)
    body = {"assistant_id": "steps", "input": {"steps": ["1"]}}
    assert server.post("/runs/wait", body)["steps"] == ["1", *RUN]
    until(lambda: stored(store_url) == before)


@pytest.mark.parametrize("way", ["delete", "prune"])
def test_a_deleted_thread_is_gone(server: AgentServer, store_url: str, way: str) -> None:
    """The server forgets it, and the store has no session of it."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"]})
    assert thread in stored(store_url)
    if way == "delete":
        assert server.ask("DELETE", f"/threads/{thread}").status_code == 204
    else:
        body = {"thread_ids": [thread], "strategy": "delete"}
        assert server.post("/threads/prune", body) == {"pruned_count": 1}
    assert server.ask("GET", f"/threads/{thread}/state").status_code == 404
    assert thread not in stored(store_url)


def test_what_belongs_to_a_request_is_not_stored(server: AgentServer, store_url: str) -> None:
    """Metadata says which run and graph wrote a checkpoint, and not who asked."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"]})
    for state in server.history(thread):
        metadata = state["metadata"]
        assert {"run_id", "graph_id", "assistant_id"} <= metadata.keys()
        assert not {name for name in metadata if name.startswith("langgraph_auth")}
        assert "langgraph_request_id" not in metadata
        assert metadata["thread_id"] == thread


@pytest.mark.parametrize("strategy", ["reject", "enqueue", "interrupt", "rollback"])
def test_a_second_text_comes_while_the_first_runs(
    server: AgentServer, tmp_path: Path, strategy: str
) -> None:
    """It is refused, waits, cuts the first run off, or undoes it, and so is what is stored."""
    thread, gate = server.thread(), tmp_path / "gate"
    run = server.launch_run(thread, {"steps": ["first"], "gate": str(gate)})
    until(lambda: server.state(thread)["next"] == ["wait"])
    second = {
        "assistant_id": "steps",
        "input": {"steps": ["second"], "gate": ""},
        "multitask_strategy": strategy,
    }
    response = server.ask("POST", f"/threads/{thread}/runs", second)
    if strategy in {"reject", "enqueue"}:
        gate.touch()
    if strategy == "reject":
        assert response.status_code == 409
    else:
        server.get(f"/threads/{thread}/runs/{response.json()['run_id']}/join")
    until(lambda: server.get(f"/threads/{thread}")["status"] == "idle")
    states = server.history(thread)
    assert (
        states[0]["values"]["steps"]
        == {
            "reject": ["first", *RUN],
            "enqueue": ["first", *RUN, "second", *RUN],
            "interrupt": ["first", "begin", "second", *RUN],
            "rollback": ["second", *RUN],
        }[strategy]
    )
    left = [each for each in states if each["metadata"]["run_id"] == run]
    assert len(left) == {"reject": 5, "enqueue": 5, "interrupt": 3, "rollback": 0}[strategy]
    parents = [each["parent_checkpoint"] for each in states]
    assert [bool(each) for each in parents] == [True] * (len(states) - 1) + [False]


def test_a_run_is_cancelled_and_rolled_back(server: AgentServer, tmp_path: Path) -> None:
    """The thread is where it was before the run, and goes on from there."""
    thread = server.thread()
    server.wait(thread, {"steps": ["1"]})
    run = server.launch_run(thread, {"steps": ["2"], "gate": str(tmp_path / "gate")})
    until(lambda: server.state(thread)["next"] == ["wait"])
    path = f"/threads/{thread}/runs/{run}/cancel?action=rollback&wait=true"
    assert server.ask("POST", path, {}).is_success
    until(lambda: server.state(thread)["values"]["steps"] == ["1", *RUN])
    assert server.wait(thread, {"steps": ["3"], "gate": ""})["steps"] == ["1", *RUN, "3", *RUN]

"""Messages from whatever applications keep: every shape gives the same plain message."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
)

from wren_sessions.serializers import default_serializer
from wren_sessions.serializers.plain import PlainSerializer
from wren_sessions.transcripts import Message, ToolCall, message_of, messages_of

CALL = {"id": "c1", "name": "weather", "args": {"city": "Paris"}}
INPUT = [{"type": "input_text", "text": "x"}]
Turn = namedtuple("Turn", "speaker said")  # noqa: PYI024 -- what an application may have


@dataclass
class Line:
    """An application's own message."""

    speaker: str
    text: str


def plain(message: Any) -> Any:
    """A message as a viewer reads it from a store."""
    return PlainSerializer().loads_typed(default_serializer().dumps_typed(message))


@pytest.mark.parametrize(
    "form",
    [lambda m: m, plain, message_to_dict, dumpd, lambda m: m.model_dump()],
    ids=["object", "plain", "dict", "lc", "dump"],
)
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (HumanMessage("hi", id="1"), Message(role="human", text="hi", id="1")),
        (SystemMessage("be kind"), Message(role="system", text="be kind")),
        (
            AIMessage("", id="2", tool_calls=[CALL]),
            Message(
                role="ai",
                text="",
                id="2",
                tool_calls=(ToolCall(id="c1", name="weather", args={"city": "Paris"}),),
            ),
        ),
        (
            ToolMessage("21", tool_call_id="c1", name="weather", status="error"),
            Message(role="tool", text="21", tool_call_id="c1", name="weather", status="error"),
        ),
        (ChatMessage(content="hm", role="critic"), Message(role="critic", text="hm")),
        (AIMessageChunk(content="part"), Message(role="ai", text="part")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_langchains_messages_in_every_form(form: Any, message: Any, expected: Message) -> None:
    """A LangChain message is read alike as object, as plain data, and as each of its dicts."""
    assert message_of(form(message)) == expected


@pytest.mark.parametrize(
    ("raw", "role", "text"),
    [
        ("hello", "human", "hello"),
        (("user", "hello"), "human", "hello"),
        (["assistant", "hello"], "ai", "hello"),
        (("narrator", "once"), "narrator", "once"),
        ({"role": "assistant", "content": "hello"}, "ai", "hello"),
        ({"role": "developer", "content": "rules"}, "developer", "rules"),
        ({"type": "human", "content": "hello"}, "human", "hello"),
        ({"type": "message", "role": "user", "content": INPUT}, "human", "x"),
        ({"role": "assistant", "content": None}, "ai", ""),
        (Line("Anna", "hello"), "Anna", "hello"),
        (Turn("bot", "hello"), "ai", "hello"),
        ({"speaker": "user", "message": "hello"}, "human", "hello"),
        ({"a": 1}, "unknown", '{"a": 1}'),
        (42, "unknown", "42"),
        ({"role": "user", "content": 7}, "human", '{"role": "user", "content": 7}'),
    ],
)
def test_other_shapes(raw: Any, role: str, text: str) -> None:
    """Dicts, pairs, text and an application's own objects have a role and a text."""
    found = message_of(raw)
    assert (found.role, found.text) == (role, text)


def test_a_list_of_strings_is_no_pair() -> None:
    """Two strings in a list are two messages, unless the first one is a role."""
    assert [m.text for m in messages_of(["hello", "world"])] == ["hello", "world"]
    assert [m.text for m in messages_of([["user", "x"], ["assistant", "y"]])] == ["x", "y"]
    assert messages_of(None) == ()
    assert messages_of("only one")[0].text == "only one"
    assert messages_of(("user", "only one"))[0].role == "human"


def test_what_is_no_text_leaves_a_label() -> None:
    """Blocks that are no text stand in it as labels; their data do not."""
    blocks = [
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,SECRET"}},
        {"type": "image", "source_type": "base64", "mime_type": "image/jpeg", "data": "SECRET"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file", "file": {"filename": "cv.pdf", "file_data": "SECRET"}},
        {"type": "thinking", "thinking": "SECRET", "signature": "SECRET"},
        {"type": "refusal", "refusal": "I will not"},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "21"}]},
        {"type": "hologram"},
        "and text",
    ]
    text = message_of({"role": "user", "content": blocks}).text
    assert text.split("\n") == [
        "Look: ",
        "[image]",
        "[image: image/jpeg]",
        "[image: https://example.org/a.png]",
        "[file: cv.pdf]",
        "[reasoning]",
        "[refusal] I will not",
        "[tool result] 21",
        "[hologram]",
        "and text",
    ]


def test_text_blocks_follow_each_other_as_they_are() -> None:
    """A sentence that a provider parts into blocks is one sentence."""
    parts = [{"type": "text", "text": "The sky "}, {"type": "text", "text": "is blue."}]
    assert message_of({"role": "assistant", "content": parts}).text == "The sky is blue."


@pytest.mark.parametrize(
    "raw",
    [
        {"role": "assistant", "content": [{"type": "tool_use", "input": {"q": 1}} | CALL]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather"}
        | {"arguments": '{"city": "Paris"}', "id": "fc_9"},
        AIMessage(
            [{"type": "tool_use", "id": "c1", "name": "weather", "input": {}}], tool_calls=[CALL]
        ),
        AIMessage(
            "",
            additional_kwargs={
                "tool_calls": [
                    {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
                ]
            },
        ),
    ],
)
def test_calls_of_tools_in_every_shape(raw: Any) -> None:
    """A call of a tool is found once, wherever a provider puts it."""
    found = message_of(raw)
    assert found.tool_calls == (ToolCall(id="c1", name="weather", args={"city": "Paris"}),)
    assert (found.role, found.text) == ("ai", "")


def test_a_call_that_is_not_valid_says_why() -> None:
    """The arguments of an invalid call stay as the model wrote them."""
    call = {"name": "w", "args": "{city:", "id": "9", "error": "no JSON", "type": "x"}
    found = message_of(AIMessage("", invalid_tool_calls=[call]))
    assert found.tool_calls == (ToolCall(id="9", name="w", args="{city:", error="no JSON"),)


def test_a_call_knows_its_result() -> None:
    """The answer of a tool is found by the call's id; another one's is not."""
    messages = messages_of(
        [
            AIMessage("", tool_calls=[CALL, CALL | {"id": "c2"}]),
            ToolMessage("21 degrees", tool_call_id="c1"),
        ]
    )
    assert [call.result for call in messages[0].tool_calls] == ["21 degrees", None]


def called(id_: str, name: str, args: Any, result: str | None = None) -> ToolCall:
    """A call of a tool."""
    return ToolCall(id=id_, name=name, args=args, result=result)


def test_hosted_tools_and_reasoning_of_responses_are_understood() -> None:
    """A tool that the provider has is a call by its name; what was thought is labelled."""
    items = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "AAAA"},
        {"type": "web_search_call", "id": "w", "action": {"query": "x"}, "status": "completed"},
        {"type": "mcp_call", "id": "m", "name": "find", "arguments": '{"a": 1}', "output": "y"},
        {"type": "computer_call", "id": "i", "call_id": "c", "action": {"type": "click"}},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}},
        {"type": "message", "role": "assistant", "status": "completed", "content": INPUT},
    ]
    assert messages_of(items) == (
        Message(role="ai", text="[reasoning] Hm."),
        Message(role="ai", text="[reasoning]"),
        Message(role="ai", text="", tool_calls=(called("w", "web_search", {"query": "x"}),)),
        Message(role="ai", text="", tool_calls=(called("m", "find", {"a": 1}),)),
        Message(
            role="ai",
            text="",
            tool_calls=(called("c", "computer", {"type": "click"}, "[computer_screenshot]"),),
        ),
        Message(role="tool", text="[computer_screenshot]", tool_call_id="c"),
        Message(role="ai", text="x"),
    )


def part(kind: str, content: Any = None, **fields: Any) -> dict[str, Any]:
    """A part of a message of Pydantic AI, as it is dumped."""
    return {"part_kind": kind, "content": content, **fields}


def test_requests_and_responses_of_pydantic_ai_are_several_messages() -> None:
    """Each part of a request is one; a response is one with its calls, and its tools' answers."""
    picture = {"kind": "binary", "data": "AAAA", "media_type": "image/png", "identifier": "i"}
    call = {"tool_name": "f", "tool_call_id": "c"}
    request = [
        part("system-prompt", "be kind"),
        part("user-prompt", ["look", picture, {"kind": "text-content", "content": "!"}]),
        part("tool-return", {"a": 1}, outcome="success", **call),
        part("tool-return", "no", outcome="denied", **call),
        part("retry-prompt", "which?", **call),
        part("retry-prompt", [{"loc": ["a"]}], tool_name=None),
    ]
    response = [
        part("thinking", "Hm."),
        part("text", "Well."),
        {"part_kind": "tool-call", "args": '{"a": 2}', **call},
        {"part_kind": "builtin-tool-call", "args": None, "tool_name": "web", "tool_call_id": "d"},
        part("builtin-tool-return", "found", tool_name="web", tool_call_id="d"),
        part("file", {"kind": "binary", "data": "AAAA", "media_type": "image/png"}),
    ]
    said = messages_of(
        [{"kind": "request", "parts": request}, {"kind": "response", "parts": response}]
    )
    assert [(each.role, each.text, each.status) for each in said] == [
        ("system", "be kind", None),
        ("human", "look\n[image: image/png]\n!", None),
        ("tool", '{"a": 1}', None),
        ("tool", "no", "denied"),
        ("tool", "which?", "retried"),
        ("system", '{"loc": ["a"]}', None),
        ("ai", "[reasoning] Hm.\nWell.\n[image: image/png]", None),
        ("tool", "found", None),
    ]
    assert [(each.name, each.args, each.result) for each in said[6].tool_calls] == [
        ("f", {"a": 2}, '{"a": 1}'),
        ("web", None, "found"),
    ]
    assert message_of({"kind": "request", "parts": request}).text.startswith("look")


@pytest.mark.parametrize(
    "raw",
    [
        {"kind": "request", "parts": "x"},
        {"kind": "request", "parts": [{"content": "x"}]},
        {"kind": "answer", "parts": [part("text", "x")]},
        {"kind": "request", "content": "x", "role": "user"},
    ],
)
def test_what_only_looks_like_pydantic_ai_is_read_as_anything_else(raw: Any) -> None:
    """One message, with what it has."""
    (message,) = messages_of([raw])
    assert "x" in message.text

"""A conversation as people read it in a terminal: who says what, calls of tools folded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from wren_sessions.cli._screen import Screen, Style, Styled
from wren_sessions.cli._text import BLOCK, block
from wren_sessions.transcripts import Message, ToolCall, Transcript
from wren_sessions.transcripts._values import compact, jsonable

_STYLES: Final[dict[str, Style]] = {"human": "key", "ai": "good", "interrupt": "warn"}
_NAMES: Final = {"interrupt": "waits for an answer"}
_FOLDED: Final = 100  # characters of a tool's arguments or result
_WIDEST: Final = 100  # text is hard to read in longer lines
_INDENT: Final = 2


class Dialogue:
    """Prints messages.

    Args:
        screen: where to print them.
        tools: whether to unfold what tools were asked and answered, and system messages.
        full: whether to show long texts whole.
    """

    def __init__(self, screen: Screen, *, tools: bool = False, full: bool = False) -> None:
        self._screen = screen
        self._tools = tools
        self._most = 1 << 60 if full else BLOCK

    def title(self, transcript: Transcript) -> None:
        """Which conversation this is."""
        count = len(transcript.messages)
        facts = [f"owner {transcript.owner}"] if transcript.owner else []
        facts += [f"tags {', '.join(transcript.tags)}"] if transcript.tags else []
        facts += [f"{count} message{'' if count == 1 else 's'}"]
        facts += [f"started {_time(transcript.created)}"] if transcript.created else []
        facts += [f"updated {_time(transcript.updated)}"] if transcript.updated else []
        self._screen.line(
            Styled(transcript.session or "conversation", "strong"),
            *([Styled(f"  {transcript.title}", "strong")] if transcript.title else []),
            Styled(f"  {', '.join(facts)}", "dim"),
        )

    def messages(self, messages: Iterable[Message]) -> None:
        """Messages, one below the other."""
        for message in messages:
            if message.role == "tool" and message.tool_call_id and not self._tools:
                continue  # it stands in the call that it answers
            self._message(message)

    def _message(self, message: Message) -> None:
        name = _NAMES.get(message.role, message.role)
        name += f" ({message.name})" if message.name else ""
        name += f" [{message.status}]" if message.status else ""
        when = f"  {_time(message.time)}" if message.time else ""
        self._screen.line()
        self._screen.line(Styled(name, _STYLES.get(message.role, "strong")), Styled(when, "dim"))
        if message.role == "system" and not self._tools:
            text = message.text.strip()
            first = text.splitlines()[0] if text else ""
            if len(first) > _FOLDED or first != text:
                size = f"{len(message.text):,} characters"
                first = f"{first[:_FOLDED]}… (system, {size}; --tools shows all)"
            self._screen.line(Styled(first, "dim"), indent=_INDENT)
        elif message.text:
            self._text(message.text)
        for call in message.tool_calls:
            self._call(call)

    def _text(self, text: str, indent: int = _INDENT) -> None:
        width = min(self._screen.width - indent, _WIDEST) if self._screen.terminal else None
        for line in block(text, self._most):
            self._screen.block_line(line, width=width, indent=indent)

    def _call(self, call: ToolCall) -> None:
        if self._tools:
            self._screen.line(f"→ {call.name}", indent=_INDENT)
            self._text(compact(jsonable(call.args)), _INDENT + 4)
            return
        args = "" if call.args is None else compact(call.args)
        if isinstance(call.args, dict):
            args = ", ".join(f"{name}={compact(value)}" for name, value in call.args.items())
        result = f" → {_one_line(call.result)}" if call.result is not None else ""
        fault = f" (not valid: {_one_line(call.error)})" if call.error else ""
        self._screen.line(
            Styled(f"→ {call.name}({_one_line(args)}){result}{fault}", "dim"), indent=_INDENT
        )


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _FOLDED else f"{flat[:_FOLDED]}… ({len(text):,} characters)"


def _time(time: Any) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"

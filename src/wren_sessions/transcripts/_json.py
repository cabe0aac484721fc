"""``conversation.json``: a transcript as a file that programs read, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from wren_sessions.errors import CorruptSessionError, FormatVersionError
from wren_sessions.serializers.limits import OverBudgetError, budget_for
from wren_sessions.transcripts._data import Message, ToolCall, Transcript, damaged_file
from wren_sessions.transcripts._messages import answered, message_of
from wren_sessions.transcripts._values import json_text

SCHEMA: Final = "wren-sessions/conversation"
SCHEMA_VERSION: Final = 1


def conversation_text(transcript: Transcript) -> str:
    """A transcript as JSON."""
    fields = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "session_id": transcript.session,
        "checkpoint_id": transcript.checkpoint_id,
        "created_at": iso(transcript.created),
        "updated_at": iso(transcript.updated),
        **_noted(transcript),
        "waiting": transcript.waiting,
        "messages": list(map(_message, transcript.messages)),
    }
    return json_text(fields)


def _noted(transcript: Transcript) -> dict[str, Any]:
    """Owner, title and tags, where there are any."""
    noted = {"owner": transcript.owner, "title": transcript.title, "tags": list(transcript.tags)}
    return {name: value for name, value in noted.items() if value}


def _message(message: Message) -> dict[str, Any]:
    """A message's fields, without those that have no value."""
    fields: dict[str, Any] = {
        "role": message.role,
        "content": message.text,
        "name": message.name,
        "id": message.id,
        "tool_calls": list(map(_call, message.tool_calls)) or None,
        "tool_call_id": message.tool_call_id,
        "status": message.status,
        "timestamp": iso(message.time),
        "checkpoint_id": message.checkpoint_id,
        "pending": message.pending or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _call(call: ToolCall) -> dict[str, Any]:
    """A call's fields; its result is the answer's text, which stands there."""
    fields = {"id": call.id, "name": call.name, "args": call.args}
    return fields | ({} if call.error is None else {"error": call.error})


def iso(time: datetime | None) -> str | None:
    """A time as text."""
    return None if time is None else time.isoformat()


# --- reading --------------------------------------------------------------------------------------


def conversation_fields(text: str | bytes, name: str) -> dict[str, Any]:
    """The fields of the transcript in a file; see `Transcript.from_json`."""
    found = parsed(text, name)
    if isinstance(found, list):
        found = {"messages": found}
    with times_located(text, name):
        return _conversation(found, name)


def _conversation(found: Any, name: str) -> dict[str, Any]:
    fields = checked(found, name, SCHEMA, SCHEMA_VERSION)
    messages = fields.get("messages")
    if not isinstance(messages, list):
        raise damaged_file(name, "it has no list of messages", _session(fields))
    ours = fields.get("schema") == SCHEMA
    return {
        "session": _session(fields),
        "messages": answered(_read(raw, name, ours=ours) for raw in messages),
        "checkpoint_id": optional(fields, "checkpoint_id", str, name),
        "created": time_of(fields.get("created_at") or fields.get("started_at")),
        "updated": time_of(fields.get("updated_at") or fields.get("completed_at")),
        **(_read_noted(fields, name) if ours else {}),
    }


def _read_noted(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    tags = optional(fields, "tags", list, name) or []
    if not all(isinstance(tag, str) for tag in tags):
        raise damaged_file(name, "a tag in it is not text", _session(fields))
    return {
        "owner": optional(fields, "owner", str, name),
        "title": optional(fields, "title", str, name) or "",
        "tags": tuple(tags),
    }


def parsed(text: str | bytes, name: str) -> Any:
    """What JSON says."""
    try:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        budget_for(len(data)).build_json(data)
        return json.loads(data.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except OverBudgetError as error:
        raise damaged_file(name, error.why) from None
    except (ValueError, RecursionError) as error:
        if getattr(error, "msg", "") == "Extra data":
            raise CorruptSessionError(
                f"{name} is no conversation: it has several lines of JSON. If `wren-sessions "
                "export` wrote it, import it: wren-sessions import FILE",
                session="",
            ) from None
        raise damaged_file(name, f"it is not JSON, or is cut off ({error})") from None


def checked(found: Any, name: str, schema: str, newest: int) -> Mapping[str, Any]:
    """The fields of a file, if it is one of this schema and of a version that is known."""
    if not isinstance(found, Mapping):
        raise damaged_file(name, "it is not a JSON object")
    session = _session(found)
    if found.get("schema", schema) != schema:
        raise damaged_file(name, f"it does not have the schema {schema!r}", session)
    version = found.get("schema_version", newest)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise damaged_file(name, "its schema_version is not a number of at least 1", session)
    if version > newest:
        raise FormatVersionError(
            f"{name} has schema version {version}, and this wren-sessions reads up to {newest}: "
            "upgrade it",
            session=session,
            found=version,
            supported=newest,
        )
    return found


def _session(fields: Mapping[str, Any]) -> str:
    found = fields.get("session_id", "")
    return found if isinstance(found, str) else ""


def optional(fields: Mapping[str, Any], key: str, kind: type, name: str) -> Any:
    """A field of one type, or None."""
    found = fields.get(key)
    if found is not None and not isinstance(found, kind):
        raise damaged_file(name, f"its {key} is no {kind.__name__}", _session(fields))
    return found


class _TimeError(Exception):
    """What stands where a time should."""


def time_of(raw: Any) -> datetime | None:
    """A time from text; without a zone it is taken as UTC. Called within `times_located`."""
    if raw is None:
        return None
    try:
        found = datetime.fromisoformat(raw)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        found.astimezone(UTC)  # the first and the last day of the calendar may have no such time
    except (TypeError, ValueError, OverflowError):
        raise _TimeError(raw) from None
    return found


@contextmanager
def times_located(text: str | bytes, name: str) -> Iterator[None]:
    """Raise the error for a time that is none, with the line that it stands in."""
    try:
        yield
    except _TimeError as error:
        (raw,) = error.args
        whole = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        before, found, _ = whole.partition(json.dumps(raw, ensure_ascii=False))
        line = f"line {before.count(chr(10)) + 1}: " if found and isinstance(raw, str) else ""
        shown = json.dumps(raw)[:60]
        raise damaged_file(
            name, f"{line}{shown} is not an ISO 8601 time from the year 1 to the year 9999"
        ) from None


def _read(raw: Any, name: str, *, ours: bool) -> Message:
    """A message of ours is read as it was written, any other as far as it is understood."""
    message = _exact(raw, name) if ours else message_of(raw)
    if not isinstance(raw, Mapping):
        return message
    stamp = raw.get("timestamp") or raw.get("time") or raw.get("created_at")
    return replace(
        message,
        time=time_of(stamp) if ours or isinstance(stamp, str) else None,
        checkpoint_id=optional(raw, "checkpoint_id", str, name),
        pending=raw.get("pending") is True,
    )


def _exact(raw: Any, name: str) -> Message:
    texts = isinstance(raw, Mapping) and (raw.get("role"), raw.get("content"))
    if not texts or not all(isinstance(text, str) for text in texts):
        raise damaged_file(name, "a message in it has no role, or no content")
    calls = optional(raw, "tool_calls", list, name) or []
    if not all(isinstance(call, Mapping) for call in calls):
        raise damaged_file(name, "a tool call in it is not a JSON object")
    return Message(
        role=raw["role"],
        text=raw["content"],
        tool_calls=tuple(
            ToolCall(
                id=optional(call, "id", str, name),
                name=optional(call, "name", str, name) or "",
                args=call.get("args"),
                error=optional(call, "error", str, name),
            )
            for call in calls
        ),
        tool_call_id=optional(raw, "tool_call_id", str, name),
        name=optional(raw, "name", str, name),
        id=optional(raw, "id", str, name),
        status=optional(raw, "status", str, name),
    )

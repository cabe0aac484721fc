"""The files of a finished interview, which stay when the session expires.

::

    user_profiles/<session>/logs/conversation.json
    user_profiles/<session>/profiles/profile.json

Each is written whole or not at all, and readable by its owner only.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from graph import Interview
from langchain_core.messages import AnyMessage, HumanMessage

from wren_sessions.keys import check_session

SCHEMA_VERSION: Final = 1
MAX_NAME_BYTES: Final = 200
CONVERSATION: Final = Path("logs/conversation.json")
PROFILE: Final = Path("profiles/profile.json")

Json: TypeAlias = Mapping[str, Any]


def paths(root: Path, session: str) -> list[Path]:
    """Where the files of a session are, or would be."""
    folder = root / path_part(session)
    return [folder / CONVERSATION, folder / PROFILE]


def path_part(session: str) -> str:
    """A session's id as the name of one folder, different for different ids.

    Separators and control characters are percent-encoded, and so are the dots of ``.`` and ``..``.
    What is too long for a file system ends in a digest instead.

    Raises:
        InvalidSessionIdError: it is no session id.
    """
    name = check_session(session)
    if not name.strip("."):
        return name.replace(".", "%2E")
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    return f"{name[:32]}%~{hashlib.sha256(name.encode()).hexdigest()}"


def write_files(root: Path, session: str, state: Interview) -> list[Path]:
    """Write the files of a session that are not there yet; all its paths."""
    contents = (conversation(session, state), profile(session, state))
    where = paths(root, session)
    for path, content in zip(where, contents, strict=True):
        if not path.exists():
            write_json(path, content)
    return where


def conversation(session: str, state: Interview) -> Json:
    """What was said, by whom and when."""
    messages = [_plain(message) for message in state["messages"]]
    return {
        "schema_version": SCHEMA_VERSION,
        "session_id": session,
        "started_at": messages[0]["timestamp"],
        "completed_at": messages[-1]["timestamp"],
        "turn_count": state["turn_count"],
        "messages": messages,
    }


def profile(session: str, state: Interview) -> Json:
    """What was found out about the person."""
    return {
        "schema_version": SCHEMA_VERSION,
        "session_id": session,
        "completed_at": _plain(state["messages"][-1])["timestamp"],
        "profile_data": state["profile_data"],
        "analysis": state["current_analysis"],
    }


def write_json(path: Path, content: Json) -> None:
    """Write a file so that nobody ever sees half of it, whatever happens in between."""
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _plain(message: AnyMessage) -> dict[str, str]:
    return {
        "role": "user" if isinstance(message, HumanMessage) else "assistant",
        "content": str(message.text),
        "timestamp": message.additional_kwargs["at"],
    }

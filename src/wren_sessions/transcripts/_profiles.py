"""``profile.json``: the results of a session, apart from the conversation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from wren_sessions.transcripts._data import damaged_file
from wren_sessions.transcripts._json import (
    checked,
    iso,
    optional,
    parsed,
    time_of,
    times_located,
)
from wren_sessions.transcripts._values import by_name, json_text, jsonable, key_text

SCHEMA: Final = "wren-sessions/profile"
SCHEMA_VERSION: Final = 1
CHANNELS: Final = ("profile_data", "profile", "current_analysis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The parts of a session's state that are worth keeping.

    Attributes:
        session: the session's id.
        values: values of the state by name, as JSON data: the requested ones, and all numbers and
            booleans.
        checkpoint_id: the checkpoint it comes from; None for a session without one.
        updated: when that checkpoint was created.
    """

    session: str
    values: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_id: str | None = None
    updated: datetime | None = None

    @classmethod
    def of(
        cls,
        session: str,
        state: Mapping[str, Any],
        *,
        channels: Collection[str] = CHANNELS,
        checkpoint_id: str | None = None,
        updated: datetime | None = None,
    ) -> Self:
        """The profile of a state.

        Args:
            session: the session's id.
            state: its state.
            channels: which values to keep if they exist, in addition to numbers and booleans.
            checkpoint_id: the checkpoint of the state.
            updated: when that checkpoint was created.
        """
        values = {
            key_text(name): jsonable(value)
            for name, value in by_name(state).items()
            if name in channels or isinstance(value, bool | int | float)
        }
        return cls(session=session, values=values, checkpoint_id=checkpoint_id, updated=updated)

    def to_json(self) -> str:
        """The text of a ``profile.json``; see ``docs/reference/files.md``."""
        fields = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "session_id": self.session,
            "checkpoint_id": self.checkpoint_id,
            "updated_at": iso(self.updated),
            "values": self.values,
        }
        return json_text(fields)

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "profile.json") -> Self:
        """The profile in a ``profile.json``.

        Args:
            text: JSON.
            name: the file name, for errors.

        Raises:
            CorruptSessionError: it is not JSON, or not a profile.
            FormatVersionError: a newer version of this package wrote it.
        """
        fields = checked(parsed(text, name), name, SCHEMA, SCHEMA_VERSION)
        session = optional(fields, "session_id", str, name)
        values = optional(fields, "values", dict, name)
        if session is None or values is None:
            raise damaged_file(name, "it has no session_id, or no values", session or "")
        with times_located(text, name):
            updated = time_of(fields.get("updated_at"))
        return cls(
            session=session,
            values=values,
            checkpoint_id=optional(fields, "checkpoint_id", str, name),
            updated=updated,
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The profile in a file. Raises the errors of `from_json`, and `OSError`."""
        return cls.from_json(Path(path).read_bytes(), name=str(path))

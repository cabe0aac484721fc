"""What to do about a session of which a part is damaged.

Most of it can usually still be read, so no error proposes to delete it: `check` finds what is
intact, and its ``--repair`` keeps that.
"""

from __future__ import annotations

import shlex

from wren_sessions.errors import CorruptSessionError


def damage_error(session: str, what: str) -> CorruptSessionError:
    """The error for a session that cannot be read, because of `what`."""
    return CorruptSessionError(f"{what}{advice(session)}", session=session)


def advice(session: str) -> str:
    """How such an error ends; `session` is empty if it is not known which one it is.

    A name with line breaks or other hidden characters is not repeated: it could forge log lines.
    """
    named = session and session.isprintable()
    which = f"--session {shlex.quote(session)}" if named else "--all"
    return f"; run wren-sessions check {which} to see what is intact, and add --repair to keep that"

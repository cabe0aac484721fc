"""Archives: write sessions to files, and read them back.

`export_session` writes a session as JSON lines, and `import_session` reads it into any store: all
checkpoints, pending writes and versions, with the serializer's bytes. `SessionArchiver` keeps such
a file. Beside it are two files for people: what was said, and what was found out.
"""

from wren_sessions.archives._archiver import Archive, AsyncSessionArchiver, SessionArchiver
from wren_sessions.archives._transfer import (
    aexport_session,
    aexport_sessions,
    aimport_session,
    aimport_sessions,
    export_session,
    export_sessions,
    import_session,
    import_sessions,
)

__all__ = [
    "Archive",
    "AsyncSessionArchiver",
    "SessionArchiver",
    "aexport_session",
    "aexport_sessions",
    "aimport_session",
    "aimport_sessions",
    "export_session",
    "export_sessions",
    "import_session",
    "import_sessions",
]

"""Archives: sessions as files, and files as sessions again.

`export_session` writes a session as JSON lines, `import_session` brings it back, in any store: all
checkpoints, pending writes and versions, with the serializer's bytes. `SessionArchiver` keeps such
a file, and beside it for people what was said and what was found out.
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

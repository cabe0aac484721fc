"""Session stores for LangGraph apps: memory, file and Redis behind one protocol.

What is here is public, and so is what the API reference shows of other modules
(``docs/reference/api``). Everything else may change in any version, underscore or not.

Names are imported when they are first used: ``import wren_sessions`` loads neither redis, nor
langgraph, nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from wren_sessions.archives import (
        Archive,
        SessionArchiver,
        aexport_session,
        aexport_sessions,
        aimport_session,
        aimport_sessions,
        export_session,
        export_sessions,
        import_session,
        import_sessions,
    )
    from wren_sessions.checkpoints.prune import Retention
    from wren_sessions.config import Settings, open_store
    from wren_sessions.errors import (
        ConfigurationError,
        ConflictError,
        CorruptSessionError,
        DecryptionError,
        FormatVersionError,
        InvalidSessionIdError,
        SerializationError,
        SessionError,
        SessionExistsError,
        SessionExpiredError,
        SessionGoneError,
        SessionNotFoundError,
        StoreTimeoutError,
        StoreUnavailableError,
        UnsafeTypeError,
        WrenSessionsError,
    )
    from wren_sessions.keys import Address, KeySpace
    from wren_sessions.langgraph import SessionSaver
    from wren_sessions.protocols import AsyncSessionStore, SessionStore
    from wren_sessions.records import Life, SessionInfo, SessionPage
    from wren_sessions.serializers.compression import Compression
    from wren_sessions.serializers.encryption import Encryption
    from wren_sessions.serializers.limits import Limits
    from wren_sessions.serializers.migrations import Migrations
    from wren_sessions.serializers.plain import PlainObject, PlainSerializer
    from wren_sessions.serializers.safe import SafeSerializer
    from wren_sessions.serializers.unreadable import UnreadableValue
    from wren_sessions.sessions import AsyncSessions, Sessions
    from wren_sessions.sessions.operations import Session
    from wren_sessions.stores.file import FileStore
    from wren_sessions.stores.memory import MemoryStore
    from wren_sessions.stores.protected import ProtectedStore
    from wren_sessions.stores.redis import RedisStore
    from wren_sessions.stores.traced import Telemetry, TracedStore
    from wren_sessions.transcripts import Message, Profile, ToolCall, Transcript
    from wren_sessions.transfer import (
        acopy_sessions,
        aimport_checkpoints,
        copy_sessions,
        import_checkpoints,
    )
    from wren_sessions.transfer._reports import (
        CopiedSession,
        CopyReport,
        ImportedThread,
        ImportReport,
        Progress,
    )
    from wren_sessions.transfer.erasing import ErasureReceipt, aerase_owner, erase_owner
    from wren_sessions.transfer.rekey import RekeyReport, arekey, rekey
    from wren_sessions.ttl import TTLPolicy

__version__: Final = "0.2.0.dev0"

_MODULES: Final = {
    "archives": (
        "Archive",
        "SessionArchiver",
        "aexport_session",
        "aexport_sessions",
        "aimport_session",
        "aimport_sessions",
        "export_session",
        "export_sessions",
        "import_session",
        "import_sessions",
    ),
    "config": ("Settings", "open_store"),
    "errors": (
        "ConfigurationError",
        "ConflictError",
        "CorruptSessionError",
        "DecryptionError",
        "FormatVersionError",
        "InvalidSessionIdError",
        "SerializationError",
        "SessionError",
        "SessionExistsError",
        "SessionExpiredError",
        "SessionGoneError",
        "SessionNotFoundError",
        "StoreTimeoutError",
        "StoreUnavailableError",
        "UnsafeTypeError",
        "WrenSessionsError",
    ),
    "keys": ("Address", "KeySpace"),
    "checkpoints.prune": ("Retention",),
    "langgraph": ("SessionSaver",),
    "transfer": ("acopy_sessions", "aimport_checkpoints", "copy_sessions", "import_checkpoints"),
    "transfer._reports": (
        "CopiedSession",
        "CopyReport",
        "ImportReport",
        "ImportedThread",
        "Progress",
    ),
    "protocols": ("AsyncSessionStore", "SessionStore"),
    "records": ("Life", "SessionInfo", "SessionPage"),
    "transfer.erasing": ("ErasureReceipt", "aerase_owner", "erase_owner"),
    "transfer.rekey": ("RekeyReport", "arekey", "rekey"),
    "serializers.compression": ("Compression",),
    "serializers.encryption": ("Encryption",),
    "serializers.limits": ("Limits",),
    "serializers.migrations": ("Migrations",),
    "serializers.plain": ("PlainObject", "PlainSerializer"),
    "serializers.safe": ("SafeSerializer",),
    "serializers.unreadable": ("UnreadableValue",),
    "sessions": ("AsyncSessions", "Sessions"),
    "sessions.operations": ("Session",),
    "stores.file": ("FileStore",),
    "stores.memory": ("MemoryStore",),
    "stores.protected": ("ProtectedStore",),
    "stores.redis": ("RedisStore",),
    "stores.traced": ("Telemetry", "TracedStore"),
    "transcripts": ("Message", "Profile", "ToolCall", "Transcript"),
    "ttl": ("TTLPolicy",),
}
_HOME: Final = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Address",
    "Archive",
    "AsyncSessionStore",
    "AsyncSessions",
    "Compression",
    "ConfigurationError",
    "ConflictError",
    "CopiedSession",
    "CopyReport",
    "CorruptSessionError",
    "DecryptionError",
    "Encryption",
    "ErasureReceipt",
    "FileStore",
    "FormatVersionError",
    "ImportReport",
    "ImportedThread",
    "InvalidSessionIdError",
    "KeySpace",
    "Life",
    "Limits",
    "MemoryStore",
    "Message",
    "Migrations",
    "PlainObject",
    "PlainSerializer",
    "Profile",
    "Progress",
    "ProtectedStore",
    "RedisStore",
    "RekeyReport",
    "Retention",
    "SafeSerializer",
    "SerializationError",
    "Session",
    "SessionArchiver",
    "SessionError",
    "SessionExistsError",
    "SessionExpiredError",
    "SessionGoneError",
    "SessionInfo",
    "SessionNotFoundError",
    "SessionPage",
    "SessionSaver",
    "SessionStore",
    "Sessions",
    "Settings",
    "StoreTimeoutError",
    "StoreUnavailableError",
    "TTLPolicy",
    "Telemetry",
    "ToolCall",
    "TracedStore",
    "Transcript",
    "UnreadableValue",
    "UnsafeTypeError",
    "WrenSessionsError",
    "__version__",
    "acopy_sessions",
    "aerase_owner",
    "aexport_session",
    "aexport_sessions",
    "aimport_checkpoints",
    "aimport_session",
    "aimport_sessions",
    "arekey",
    "copy_sessions",
    "erase_owner",
    "export_session",
    "export_sessions",
    "import_checkpoints",
    "import_session",
    "import_sessions",
    "open_store",
    "rekey",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

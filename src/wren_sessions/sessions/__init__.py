"""`Sessions`: the same sessions for apps that do not use LangGraph."""

from wren_sessions.sessions.async_facade import AsyncSessions
from wren_sessions.sessions.facade import Sessions
from wren_sessions.sessions.operations import Session

__all__ = ["AsyncSessions", "Session", "Sessions"]

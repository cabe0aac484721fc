"""`SessionSaver`, a LangGraph checkpointer on any session store."""

from wren_sessions.langgraph.saver import SessionSaver

__all__ = ["SessionSaver"]

"""Transcripts: a session's conversation as people read it.

`Sessions.transcript` makes one from what an application keeps; it needs neither the application's
classes nor LangChain. A transcript is plain data: it is written as JSON and read back, and shown as
Markdown or as a page of HTML. A `Profile` is the rest of what is worth keeping: what was found out.
"""

from wren_sessions.transcripts._data import Message, ToolCall, Transcript
from wren_sessions.transcripts._messages import message_of, messages_of
from wren_sessions.transcripts._profiles import Profile

__all__ = ["Message", "Profile", "ToolCall", "Transcript", "message_of", "messages_of"]

"""A chat as LangGraph drives a checkpointer.

The calls are those of a graph with one node, in the order of a turn: get_tuple, put (the input),
put_writes and put (the input becomes a message), put_writes and put (the node's answer).
"""

from __future__ import annotations

from typing import Final

from benchmarks.faces import Face
from benchmarks.measuring import Watch
from benchmarks.threads import Speech, Thread
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.constants import START

MESSAGE_BYTES: Final = 600
CHAT: Final = "branch:to:chat"
CALLS: Final = {"get": 1, "put": 3, "put_writes": 2}
"""How many calls a turn makes."""


class LostError(Exception):
    """A saver gave back something else than what was put."""


class Conversation:
    """A chat on any saver. A turn begins with what was stored, as a graph's does.

    Args:
        face: the saver.
        thread_id: its thread.

    Attributes:
        watch: the times of all calls.
        messages: how many there are.
        last: the list as it is now.
    """

    def __init__(self, face: Face, thread_id: str) -> None:
        self.face = face
        self.thread = Thread(face.saver, thread_id)
        self.watch = Watch()
        self.messages = 0
        self.last: list[AnyMessage] = []
        self._speech = Speech()

    async def hold(self, messages: int) -> None:
        """As many turns as it takes to come to so many messages."""
        while self.messages < messages:
            await self.turn()

    async def begin(self, messages: int) -> None:
        """Begin with a checkpoint of so many messages."""
        for at in range(messages):
            kind = AIMessage if at % 2 else HumanMessage
            self._say(kind(self._speech.text(MESSAGE_BYTES), id=self._speech.task_id()))
        values = {"messages": self.last, "turn_count": messages // 2}
        await self._put(Watch(), values, {*values}, "loop")
        self.messages = messages

    async def turn(self, watch: Watch | None = None) -> None:
        """One message of the person's, one answer.

        Args:
            watch: notes the times; None for the chat's own.

        Raises:
            LostError: the stored list is not the one that was put.
        """
        watch = watch or self.watch
        await self.read(watch)
        number = self.messages // 2
        state = {"messages": self.last, "turn_count": number} if number else {}
        asked = HumanMessage(self._speech.text(MESSAGE_BYTES), id=self._speech.task_id())
        entered = {**state, START: {"messages": [asked]}}
        await self._put(watch, entered, {START}, "input")
        await self._write(watch, [("messages", [asked]), (CHAT, None)])
        self._say(asked)
        state = {**state, "messages": self.last, CHAT: None}
        await self._put(watch, state, {START, "messages", CHAT}, "loop", START, START)
        answer = AIMessage(self._speech.text(MESSAGE_BYTES), id=self._speech.task_id())
        await self._write(watch, [("messages", [answer]), ("turn_count", number + 1)])
        self._say(answer)
        state = {"messages": self.last, "turn_count": number + 1}
        await self._put(watch, state, {"messages", "turn_count", CHAT}, "loop")
        self.messages += 2

    async def read(self, watch: Watch) -> None:
        """Read the latest checkpoint, and continue from it."""
        found = await watch.time("get", lambda: self.face.get(self.thread.latest))
        self.thread.continue_from(found)
        stored = found.checkpoint["channel_values"]["messages"] if found else []
        if len(stored) != self.messages or (stored and stored[-1] != self.last[-1]):
            raise LostError(f"{self.messages} messages were put, {len(stored)} were found")
        self.last = stored

    def _say(self, message: AnyMessage) -> None:
        self.last = [*self.last, message]

    async def _put(
        self, watch: Watch, values: dict[str, object], changed: set[str], *how: str
    ) -> None:
        arguments = self.thread.next_put(values, changed, *how)
        self.thread.config = await watch.time("put", lambda: self.face.put(arguments))

    async def _write(self, watch: Watch, writes: list[tuple[str, object]]) -> None:
        config, task_id = self.thread.config, self._speech.task_id()
        await watch.time("put_writes", lambda: self.face.put_writes(config, writes, task_id))

    def on(self, face: Face) -> Conversation:
        """The same chat, as it stands, on another saver."""
        other = Conversation(face, str(self.thread.latest["configurable"]["thread_id"]))
        other.messages, other.last, other._speech = self.messages, self.last, self._speech
        return other

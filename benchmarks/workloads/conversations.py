"""A chat as LangGraph drives a checkpointer: get_tuple, put (input), put_writes, put (loop)."""

from __future__ import annotations

from typing import Final

from benchmarks.faces import Face
from benchmarks.measuring import Watch
from benchmarks.threads import Speech, Thread
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

MESSAGE_BYTES: Final = 600


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
        await self._put(Watch(), {"messages": self.last, "turn_count": messages // 2}, "loop")
        self.messages = messages

    async def turn(self, watch: Watch | None = None) -> None:
        """One message of the person's, one answer.

        Args:
            watch: notes the times; None for the chat's own.

        Raises:
            LostError: the stored list is not the one that was put.
        """
        watch = watch or self.watch
        number = self.messages // 2
        await self.read(watch)
        self._say(HumanMessage(self._speech.text(MESSAGE_BYTES), id=self._speech.task_id()))
        values = {"messages": self.last, "turn_count": number, "branch:to:chat": None}
        await self._put(watch, values, "input")
        answer = AIMessage(self._speech.text(MESSAGE_BYTES), id=self._speech.task_id())
        writes = [("messages", [answer]), ("turn_count", number + 1)]
        task_id = self._speech.task_id()
        config = self.thread.config
        await watch.time("put_writes", lambda: self.face.put_writes(config, writes, task_id))
        self._say(answer)
        await self._put(watch, {"messages": self.last, "turn_count": number + 1}, "loop")
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

    async def _put(self, watch: Watch, values: dict[str, object], source: str) -> None:
        arguments = self.thread.next_put(values, values.keys(), source)
        self.thread.config = await watch.time("put", lambda: self.face.put(arguments))

    def on(self, face: Face) -> Conversation:
        """The same chat, as it stands, on another saver."""
        other = Conversation(face, str(self.thread.latest["configurable"]["thread_id"]))
        other.messages, other.last, other._speech = self.messages, self.last, self._speech
        return other

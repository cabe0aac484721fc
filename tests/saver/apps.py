"""An app that runs graphs on a saver, blocking or awaited, and notes what came of it."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from saver.observe import Observer, masked


class App:
    """One graph on one saver.

    Args:
        saver: the checkpointer.
        face: ``"sync"`` calls the graph's blocking methods, ``"async"`` the awaitable ones.

    Attributes:
        notes: what was seen so far.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], face: str) -> None:
        self.saver = saver
        self.blocking = face == "sync"
        self.notes: list[Any] = []
        self.graph: Any = None
        self._observer = Observer()

    def use(self, builder: Any, **options: Any) -> None:
        """Compile a graph; or take one that needs no compiling, made by a function of the saver."""
        if hasattr(builder, "compile"):
            self.graph = builder.compile(checkpointer=self.saver, **options)
        else:
            self.graph = builder(self.saver)

    def note(self, value: Any) -> Any:
        """Remember something seen; returns it as it was."""
        self.notes.append(self._observer.see(value))
        return value

    async def invoke(self, given: Any, config: RunnableConfig, **options: Any) -> Any:
        """Run the graph, and note its result or its error."""
        try:
            if self.blocking:
                result = self.graph.invoke(given, config, **options)
            else:
                result = await self.graph.ainvoke(given, config, **options)
        except Exception as error:  # noqa: BLE001 -- an error is a result like any other
            return self.note(error)
        return self.note(result)

    async def stream(self, given: Any, config: RunnableConfig, **options: Any) -> list[Any]:
        """Run the graph, and note what it streams."""
        if self.blocking:
            parts = list(self.graph.stream(given, config, **options))
        else:
            parts = [part async for part in self.graph.astream(given, config, **options)]
        self.note(parts)
        return parts

    async def state(self, config: RunnableConfig, **options: Any) -> Any:
        """Look at the graph's state, and note it."""
        return self.note(await self.peek(config, **options))

    async def peek(self, config: RunnableConfig, **options: Any) -> Any:
        """Look at the graph's state."""
        if self.blocking:
            return self.graph.get_state(config, **options)
        return await self.graph.aget_state(config, **options)

    async def history(self, config: RunnableConfig, **options: Any) -> list[Any]:
        """Look at the graph's history, newest first, and note it."""
        if self.blocking:
            found = list(self.graph.get_state_history(config, **options))
        else:
            found = [state async for state in self.graph.aget_state_history(config, **options)]
        self.note(found)
        return found

    async def update(self, config: RunnableConfig, values: Any, **options: Any) -> RunnableConfig:
        """Update the graph's state, and note where it went."""
        updated: RunnableConfig
        if self.blocking:
            updated = self.graph.update_state(config, values, **options)
        else:
            updated = await self.graph.aupdate_state(config, values, **options)
        self.note(updated)
        return updated

    async def update_many(self, config: RunnableConfig, steps: Any) -> RunnableConfig:
        """Update the graph's state in several steps, and note where it went."""
        updated: RunnableConfig
        if self.blocking:
            updated = self.graph.bulk_update_state(config, steps)
        else:
            updated = await self.graph.abulk_update_state(config, steps)
        self.note(updated)
        return updated

    async def everything(self, thread: str) -> None:
        """Note all that the saver holds of a thread: the root, then each namespace, with writes.

        (LangGraph's own memory lists a namespace that was only looked for before others.)
        """
        config: RunnableConfig = {"configurable": {"thread_id": thread}}
        if self.blocking:
            found = list(self.saver.list(config))
        else:
            found = [item async for item in self.saver.alist(config)]
        for item in sorted(
            found, key=lambda item: masked(item.config["configurable"]["checkpoint_ns"])
        ):
            self.note(item)


def thread(name: str = "t", **more: Any) -> RunnableConfig:
    """The config of a thread."""
    return {"configurable": {"thread_id": name, **more}}

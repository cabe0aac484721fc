"""Savers that count the versions of channels in other ways: as other runtimes do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import cycle
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from wren_sessions import SessionSaver
from wren_sessions.protocols import SessionStore


def _number(current: Any) -> int:
    """The counter of a version of any kind."""
    if current is None:
        return 0
    return int(current.split(".")[0]) if isinstance(current, str) else int(current)


def langgraph(current: Any) -> Any:
    """As LangGraph's own savers and its server do."""
    return InMemorySaver().get_next_version(current, None)


COUNTS: Final[dict[str, Callable[[Any], Any]]] = {
    "langgraph": langgraph,
    "0.1.0": lambda current: f"{_number(current) + 1:010}.abcdefgh",
    "plain text": lambda current: f"{_number(current) + 1:04}",
    "integers": lambda current: _number(current) + 1,
    "floats": lambda current: float(_number(current) + 1),
    "fractions": lambda current: (current or 0.0) + 0.25,
}
"""The version after another one, in the ways in which people count."""


class Counting(SessionSaver):
    """A saver that counts in one of these ways.

    Args:
        store: where the sessions are.
        how: the way, a key of `COUNTS`.
    """

    def __init__(self, store: SessionStore, how: str) -> None:
        super().__init__(store)
        self.count = COUNTS[how]

    def get_next_version(self, current: Any, channel: None = None) -> Any:
        """The version after `current`."""
        del channel
        return self.count(current)


class Alternating(Counting):
    """A saver that counts in another way from run to run, its own among them.

    A run begins when the latest checkpoint of the root namespace is read; one that begins at an
    earlier checkpoint goes on as the last one did.

    Args:
        store: where the sessions are.
    """

    def __init__(self, store: SessionStore) -> None:
        super().__init__(store, "langgraph")
        whole = [way for name, way in COUNTS.items() if name != "fractions"]
        self._ways = cycle([*whole, super(Counting, self).get_next_version])

    def _begin(self, config: RunnableConfig) -> None:
        where = config["configurable"]
        if not where.get("checkpoint_ns") and "checkpoint_id" not in where:
            self.count = next(self._ways)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Count in the next way, then read."""
        self._begin(config)
        return super().get_tuple(config)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        self._begin(config)
        return await super().aget_tuple(config)

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:
        """List with versions as LangGraph's, so that a test can compare them.

        But not what LangGraph lists for itself, which it goes on from: always with `before`.
        """
        for found in super().list(config, **options):
            yield found if options.get("before") else _as_langgraph(found)

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        async for found in super().alist(config, **options):
            yield found if options.get("before") else _as_langgraph(found)


def _as_langgraph(found: CheckpointTuple) -> CheckpointTuple:
    """A checkpoint whose versions look as LangGraph's, and say the same."""

    def looking(versions: dict[str, Any]) -> dict[str, Any]:
        return {channel: f"{_number(version):032}.x" for channel, version in versions.items()}

    checkpoint = found.checkpoint.copy()
    checkpoint["channel_versions"] = looking(checkpoint["channel_versions"])
    seen = checkpoint["versions_seen"]
    checkpoint["versions_seen"] = {node: looking(own) for node, own in seen.items()}
    return found._replace(checkpoint=checkpoint)

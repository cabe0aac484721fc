"""Threads that run calls for an event loop, and stay for a moment for the next one.

An executor's own way of handing work over takes 40 µs there and back, a queue that a thread waits
at takes 27. So the threads of an executor serve a queue here, and leave when nothing comes for a
while; starting threads, their number and the end of the process are the executor's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

_PATIENCE_S: Final = 0.01  # so long the end of the process may have to wait


class Workers:
    """Runs calls in threads, each as soon as a thread is free.

    Who hands work over puts it into the queue first and looks then whether somebody waits there;
    who leaves, or has taken something, says so first and looks then whether there is more. So one
    of them sees that a thread is needed.

    Args:
        most: how many threads there may be.
    """

    def __init__(self, most: int) -> None:
        self._executor = ThreadPoolExecutor(most, "wren-sessions")
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._waiting: set[int] = set()

    def start(self, call: Callable[[], object]) -> None:
        """Have something run that raises nothing.

        Raises:
            RuntimeError: no thread could be started, or the process is about to end.
        """
        self._calls.put(call)
        if len(self._waiting) < self._calls.qsize():
            self._executor.submit(self._serve)

    def shutdown(self) -> None:
        """Let the threads end once they have done what they were given."""
        self._executor.shutdown(wait=False)

    def _serve(self) -> None:
        thread, patience = threading.get_ident(), 0.0
        while True:
            self._waiting.add(thread)
            try:
                call = self._calls.get(timeout=patience)
            except Empty:
                call = None
            self._waiting.discard(thread)
            if call is not None:
                if self._calls.qsize() and not self._waiting:
                    with suppress(RuntimeError):  # it was shut down: then this thread does it all
                        self._executor.submit(self._serve)
                call()
                patience = _PATIENCE_S
            elif not self._calls.qsize():
                return

"""Group commit: one writer per process, one transaction for all waiting; see `leader_queue`.

With ``synchronous=full``, on a busy machine with two cores, 200 threads make 2,500 to 9,600 commits
a second, against 350 with a connection per thread.

A caller that is alone does not wait for others. But those who come while it runs its statements
share its transaction: LangGraph often calls ``put`` and ``put_writes`` at the same time.

Rules:

- An operation is answered only after its COMMIT. If the COMMIT fails, every operation in it gets
  the error.
- If an operation fails, only this operation is rolled back. For that, the transaction starts again
  with a SAVEPOINT around each operation. This is rare, so the first attempt uses no savepoints,
  which saves two statements.
- If SQLite then rolls back the whole transaction, each operation gets its own transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

from wren_sessions._blocking import Lock
from wren_sessions.stores.leader_queue import Batch, LeaderQueue, Ticket, fail_all

T = TypeVar("T")

Operation: TypeAlias = Callable[[sqlite3.Connection], Any]


class _LostError(Exception):
    """A transaction was rolled back because of one of several operations."""


class GroupCommit(LeaderQueue[Operation]):
    """The one writer of a process.

    An operation gets the connection, inside a transaction that was begun. It may be run again after
    it was rolled back, and in another thread. It is answered with what it returned or raised (then
    it was rolled back), or with an `sqlite3.Error`: the transaction failed, nothing was written.

    Args:
        begin: begins a write transaction and gives its connection; called by whoever leads alone.
        commit: ends it, so that what was written stays.
        chore: gives an operation to run along with a batch, if there is one to be done.
        turn: held during a transaction; what else writes the file in this process shares it, so
            that it waits here and not by asking SQLite again and again.
    """

    def __init__(
        self,
        begin: Callable[[], sqlite3.Connection],
        commit: Callable[[sqlite3.Connection], None],
        chore: Callable[[], Operation | None],
        turn: Lock,
    ) -> None:
        super().__init__()
        self._begin = begin
        self._commit = commit
        self._chore = chore
        self._turn = turn

    def alone(self, work: Operation) -> Any:
        """Run an operation in a transaction, and with it what was queued meanwhile."""
        with self._turn:
            try:
                return self._run_one(work, self._chore(), self._queue)
            except _LostError:
                return self._run_one(work)

    def together(self, tickets: Sequence[Ticket[Operation]]) -> None:
        """Run operations, all in one transaction if none of them fails."""
        with self._turn:
            for run, chore in ((_run_together, self._chore()), (_run_apart, None)):
                with suppress(_LostError):
                    self._run_batch(tickets, run, chore)
                    return
            for ticket in tickets:
                self._run_batch([ticket], _run_together)

    def _run_one(
        self,
        operation: Callable[[sqlite3.Connection], T],
        chore: Operation | None = None,
        queue: Collection[Ticket[Operation]] = (),
    ) -> T:
        """Run an operation, and what is in the queue behind it, in a transaction."""
        connection = self._begin()
        try:
            answer = operation(connection)
            if queue:
                self._take_along(connection, chore)
            else:
                if chore is not None:
                    _run_chore(connection, chore)
                self._commit(connection)
        except BaseException:
            roll_back(connection)
            raise
        return answer

    def _run_batch(
        self,
        tickets: Sequence[Ticket[Operation]],
        run: Callable[[sqlite3.Connection, Sequence[Ticket[Operation]]], None],
        chore: Operation | None = None,
    ) -> None:
        """Settle tickets, all in one transaction."""
        batch = Batch()
        for ticket in tickets:
            ticket.join(batch)
        try:
            connection = self._begin()
        except Exception as error:  # noqa: BLE001 -- it is everybody's answer
            fail_all(tickets, error, batch)
            return
        try:
            run(connection, tickets)
            if connection.in_transaction:
                self._end(connection, tickets, batch, chore)
            batch.settled = True
        except sqlite3.Error as error:
            roll_back(connection)
            if not batch.settled:
                fail_all(tickets, error, batch)
        except BaseException:
            roll_back(connection)
            raise

    def _take_along(self, connection: sqlite3.Connection, chore: Operation | None) -> None:
        """Run what is queued in a transaction, and end that."""
        tickets, batch = self.queued(), Batch()
        for ticket in tickets:
            ticket.join(batch)
        _run_apart(connection, tickets)
        self._end(connection, tickets, batch, chore)

    def _end(
        self,
        connection: sqlite3.Connection,
        tickets: Sequence[Ticket[Operation]],
        batch: Batch,
        chore: Operation | None,
    ) -> None:
        """End a transaction; then the answers of tickets are final, or its error is."""
        if chore is not None:
            _run_chore(connection, chore)
        try:
            self._commit(connection)
            batch.settled = True
        except sqlite3.Error as error:
            fail_all(tickets, error, batch)
            raise
        except BaseException:
            if not connection.in_transaction:  # interrupted just behind the COMMIT
                batch.settled = True
            raise


def _run_together(connection: sqlite3.Connection, tickets: Sequence[Ticket[Operation]]) -> None:
    """Run operations; if one of several fails, nothing of them is left and none is answered."""
    for ticket in tickets:
        try:
            ticket.give(ticket.work(connection))
        except Exception as error:
            roll_back(connection)
            if len(tickets) > 1:
                raise _LostError from error
            ticket.fail(error)


def _run_apart(connection: sqlite3.Connection, tickets: Sequence[Ticket[Operation]]) -> None:
    """Run operations; what one of them wrote is undone if it fails."""
    for ticket in tickets:
        connection.execute("SAVEPOINT ticket")
        try:
            ticket.give(ticket.work(connection))
        except Exception as error:  # noqa: BLE001 -- it is the caller's answer
            ticket.fail(error)
            _undo_to(connection, "ticket", error)
        connection.execute("RELEASE ticket")


def _run_chore(connection: sqlite3.Connection, chore: Operation) -> None:
    """Run a chore; what it wrote is undone if it fails, and nobody is told: it comes again."""
    connection.execute("SAVEPOINT chore")
    try:
        chore(connection)
    except Exception as error:  # noqa: BLE001 -- it is nobody's answer
        _undo_to(connection, "chore", error)
    connection.execute("RELEASE chore")


def _undo_to(connection: sqlite3.Connection, savepoint: str, error: Exception) -> None:
    if not connection.in_transaction:
        raise _LostError from error
    connection.execute(f"ROLLBACK TO {savepoint}")


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo a transaction that has failed, if there is one."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")

"""Runs many trials and prints what came of them: ``nox -s damage -- --trials 10000``.

A trial that failed is run again by its form and seed: ``--form "file, zstd" --seed 123``. What a
trial may take is looked at here, and not in the ordinary tests, which a busy machine would fail:
a second client's PING every few milliseconds, and the peak of this process's memory. What was too
slow is tried twice more before it counts.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from redis import Redis

from damage.forms import PROTECTIONS, DumpForm, ExportForm, FileForm, Form, RedisForm
from damage.trials import BAD, Outcome, Trials, table
from servers import start_server

LIMIT_S: Final = 5.0
PING_S: Final = 0.1
MOST_BYTES: Final = 1_500_000_000
STOP_BYTES: Final = 6_000_000_000  # of address space: an error, not a machine that swaps
AGAIN: Final = 2
EVERY_S: Final = 0.005


class Pinger:
    """Asks a server all the time, and knows how long the slowest answer took."""

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url)
        self._begun: float | None = None
        self._slowest = 0.0
        self._client.config_set("slowlog-log-slower-than", int(PING_S * 1_000_000 / 2))
        self._going = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._going:
            self._begun = time.monotonic()
            self._client.ping()
            self._slowest = max(self._slowest, time.monotonic() - self._begun)
            self._begun = None
            time.sleep(EVERY_S)

    def reset(self) -> None:
        """Begin anew."""
        self._slowest = 0.0
        self._client.slowlog_reset()

    def blocked(self) -> bool:
        """Whether an answer took too long, and the server says that it was busy with a command.

        This process may have had to wait for a processor as well.
        """
        begun = self._begun
        slowest = max(self._slowest, time.monotonic() - begun if begun else 0.0)
        return slowest > PING_S and bool(self._client.slowlog_len())

    def end(self) -> None:
        """Stop."""
        self._going = False
        self._thread.join()
        self._client.close()


def _status(name: str) -> int:
    found = [line for line in Path("/proc/self/status").read_text().splitlines() if name in line]
    return int(found[0].split()[1]) * 1_024


@contextmanager
def forms(wanted: str, stack: ExitStack) -> Iterator[list[tuple[Form, Pinger | None]]]:
    """The forms whose names contain a text."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    found: list[tuple[Form, Pinger | None]] = []
    for protection in PROTECTIONS:
        if wanted in f"file, {protection}":
            found.append((FileForm(protection, folder), None))
        if wanted in f"redis, {protection}":
            server = stack.enter_context(start_server())
            pinger = Pinger(server.url)
            stack.callback(pinger.end)
            found.append((RedisForm(protection, server.url), pinger))
        if wanted in f"dump, {protection}":
            found.append((DumpForm(protection), None))
    if wanted in "export, plain":
        found.append((ExportForm(folder), None))
    for form, _ in found:
        stack.callback(form.close)
    yield found


def trial(
    trials: Trials, pinger: Pinger | None, seed: int, paths: int | None
) -> tuple[str, list[Outcome]]:
    """One trial, with what it may take."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    if pinger is not None:
        pinger.reset()
    done, outcomes = trials.run(seed, paths)
    slow = pinger is not None and pinger.blocked()
    large = _status("VmHWM") - before > MOST_BYTES
    outcomes += [Outcome("all paths", "BLOCKED")] * slow + [Outcome("all paths", "MEMORY")] * large
    return str(done), outcomes


def confirmed(
    trials: Trials, pinger: Pinger | None, seed: int, paths: int | None
) -> tuple[str, list[Outcome]]:
    """The same; what was slow counts where it is slow again."""
    done, outcomes = trial(trials, pinger, seed, paths)
    for _ in range(AGAIN):
        if not any(outcome.kind in {"BLOCKED", "HANG"} for outcome in outcomes):
            break
        done, outcomes = trial(trials, pinger, seed, paths)
    return done, outcomes


def main() -> int:
    """Run trials; 1 if something was found."""
    parser = argparse.ArgumentParser(description="damage what is stored, and read it")
    parser.add_argument("--trials", type=int, default=700, help="over all forms")
    parser.add_argument("--seed", type=int, help="run this trial alone")
    parser.add_argument("--paths", type=int, help="so many of each trial, drawn; else all")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--form", default="", help='a part of the name, as in "redis, zstd"')
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (STOP_BYTES, STOP_BYTES))
    counts: dict[str, Counter[str]] = {}
    with ExitStack() as stack, forms(given.form, stack) as chosen:
        each = -(-given.trials // len(chosen))
        for form, pinger in chosen:
            trials = Trials(form, LIMIT_S)
            counts[form.name] = Counter()
            seeds = range(given.first, given.first + each) if given.seed is None else [given.seed]
            for seed in seeds:
                faulthandler.dump_traceback_later(60 * LIMIT_S, exit=True)  # it hangs in C
                done, outcomes = confirmed(trials, pinger, seed, given.paths)
                counts[form.name].update(outcome.kind for outcome in outcomes)
                _tell(form, seed, done, outcomes, everything=given.seed is not None)
                gc.unfreeze()  # a command keeps what it has loaded from being looked through
                if seed % 20 == 0:
                    gc.collect()
            faulthandler.cancel_dump_traceback_later()
            sys.stderr.write(f"{form.name}: {dict(counts[form.name])}\n")
    sys.stdout.write(f"{table(counts)}\n")
    return int(any(found[kind] for found in counts.values() for kind in BAD))


def _tell(form: Form, seed: int, done: str, outcomes: list[Outcome], *, everything: bool) -> None:
    for outcome in outcomes:
        if everything or outcome.kind in BAD:
            again = f'--form "{form.name}" --seed {seed}'
            told = f"{outcome.kind}: {outcome.path}: {outcome.detail}"
            sys.stdout.write(f"{again}: {done}: {told}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

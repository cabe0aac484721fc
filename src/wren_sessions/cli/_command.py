"""What all commands share: their common options, the store, and errors as exit codes.

A command is a function that takes a `Run` and its own options. `command` gives it the common
options, opens the store when it is first asked for, and closes it in the end.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from wren_sessions.cli import _exits
from wren_sessions.cli._screen import Screen
from wren_sessions.cli._where import Where, open_there
from wren_sessions.errors import (
    ConfigurationError,
    SessionError,
    SessionNotFoundError,
    WrenSessionsError,
)
from wren_sessions.protocols import SessionStore

_COMMON: Final = {
    "url": Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="The store, such as redis://HOST:6379/0 or file:sessions.db. Default: the "
            "environment and .env.",
        ),
    ],
    "prefix": Annotated[
        str | None,
        typer.Option(
            "--prefix",
            metavar="TEXT",
            help="What session names begin with. Default: langgraph:checkpoint.",
        ),
    ],
    "env_file": Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Read this file instead of .env in the current folder.",
        ),
    ],
    "as_json": Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print only JSON, one object per line. Errors are JSON on standard error.",
        ),
    ],
    "color": Annotated[
        bool | None,
        typer.Option(
            "--color/--no-color",
            help="Print with or without colour. Default: colour on a terminal, unless NO_COLOR is "
            "set.",
            show_default=False,
        ),
    ],
}
_ARGUMENTS: Final = {
    "pass replace=True": "add --replace",
    "pass None to begin, then the cursor of the page before": (
        "leave out --cursor to begin, then use the one that the page before printed"
    ),
    "(session=…)": "(--as ID)",
    "(encryption=, WREN_SESSIONS_ENCRYPTION_KEYS)": "(WREN_SESSIONS_ENCRYPTION_KEYS)",
    "the store has no encryption: open it with encryption=Encryption([new, old]), or set": (
        "the store has no encryption: set"
    ),
    "open the store with Encryption(…, migrate=True) and rewrite it": (
        "encrypt it with `wren-sessions rekey --migrate`"
    ),
}
"""What errors say about arguments of Python, and the options of the commands that raise them."""
_DEFAULTS: Final[dict[str, Any]] = {"as_json": False}


class Run:
    """One run of a command.

    Args:
        where, screen, as_json: what the command line says.
        makes: whether a file that is not there may be made.

    Attributes:
        code: the exit code if nothing goes wrong.
    """

    def __init__(
        self, where: Where, screen: Screen, *, as_json: bool = False, makes: bool = False
    ) -> None:
        self.where = where
        self.screen = screen
        self.as_json = as_json
        self.code = _exits.OK
        self._makes = makes
        self._opened: list[SessionStore] = []

    def say(self, facts: Mapping[str, object], words: str) -> None:
        """Print a result: its facts for programs, or in words."""
        if self.as_json:
            self.screen.json(facts)
        else:
            self.screen.line(words)

    def done(self, session: str, result: str, words: str, **facts: object) -> None:
        """Say what was done with a session: in one word and facts for programs, or in words."""
        self.say({"id": session, "result": result, **facts}, f"{session}: {words}")

    def note(self, words: str) -> None:
        """Print something beside the result, for people alone."""
        if not self.as_json:
            self.screen.note(words)

    @cached_property
    def store(self) -> SessionStore:
        """The store, opened when first asked for."""
        store = self.opened(open_there(self.where, may_make=self._makes))
        gc.freeze()
        gc.enable()
        return store

    def opened(self, store: SessionStore) -> SessionStore:
        """Close a store in the end."""
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Close what was opened."""
        while self._opened:
            self._opened.pop().close()

    def can_ask(self) -> bool:
        """Whether somebody is there to answer a question."""
        return sys.stdin.isatty() and not self.as_json

    def agreed(self, question: str, otherwise: str) -> bool:
        """Whether somebody says yes.

        Raises:
            ConfigurationError: nobody is there to ask; its text is `otherwise`.
        """
        if not self.can_ask():
            raise ConfigurationError(otherwise)
        self.screen.flush()
        return typer.confirm(question, default=False)


def command(
    *, examples: str, makes: bool = False, store: bool = True
) -> Callable[[Callable[..., None]], Any]:
    """Make a command of a function that takes a `Run` first.

    Args:
        examples: command lines for the help, one per line.
        makes: whether the command may make a file that is not there.
        store: whether it has to do with a store.
    """
    options = {name: info for name, info in _COMMON.items() if store or name not in Where._fields}

    def decorate(function: Callable[..., None]) -> Any:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_DEFAULTS.get(name),
                annotation=annotation,
            )
            for name, annotation in options.items()
        ]

        @wraps(function)
        def command_function(**given: Any) -> None:
            common = {name: given.pop(name) for name in options}
            screen, as_json = Screen(color=common.pop("color")), common.pop("as_json")
            run = Run(Where(**common), screen, as_json=as_json, makes=makes)
            raise typer.Exit(_guarded(run, function, given))

        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        parameters = [*keyword, *common]
        changed: Any = command_function
        del changed.__wrapped__
        changed.__signature__ = inspect.Signature(parameters)
        changed.__annotations__ = {p.name: p.annotation for p in parameters}
        changed.__doc__ = flowing(function.__doc__ or "")
        lines = [line.strip() for line in examples.strip().splitlines()]
        changed.examples = "\n".join(lines)
        return changed

    return decorate


def flowing(text: str) -> str:
    """A docstring whose paragraphs are one line each, for a help that wraps them."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


def _guarded(run: Run, function: Callable[..., None], options: dict[str, Any]) -> int:
    """Run a command; the exit code."""
    try:
        function(run, **options)
        run.screen.flush()
    except WrenSessionsError as error:
        return told(run, error)
    except KeyboardInterrupt:
        return _exits.INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _exits.OK
    except OSError as error:
        name = f" {os.fsdecode(error.filename)}" if error.filename else ""
        run.screen.error(f"{error.strerror or error}:{name}")
        return _exits.FAILED
    finally:
        run.close()
    return run.code


def in_options(text: str) -> str:
    """What an error says, with options of commands in place of arguments of Python."""
    for argument, option in _ARGUMENTS.items():
        text = text.replace(argument, option)
    return text


def told(run: Run, error: WrenSessionsError) -> int:
    """Print an error; the exit code for it."""
    code = _exits.code_of(error)
    near = _near(run, error)
    message = in_options(error.message)
    if run.as_json:
        facts = {"error": type(error).__name__, "message": message, "exit_code": code}
        if isinstance(error, SessionError):
            facts["session"] = error.session
        run.screen.error_json(facts | ({"near": near} if near else {}))
        return code
    run.screen.error(message)
    if near:
        run.screen.note(f"Did you mean {' or '.join(near)}?")
    return code


def _near(run: Run, error: WrenSessionsError) -> list[str]:
    """Ids that are like one that was not found."""
    if not isinstance(error, SessionNotFoundError) or not error.session:
        return []
    from wren_sessions.cli._names import near_ids

    try:
        return near_ids(run.store, error.session)
    except WrenSessionsError:
        return []

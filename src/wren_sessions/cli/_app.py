"""The commands and how they are found; a command's module is imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, ClassVar, Final

import typer
import typer.main

import wren_sessions
from wren_sessions.cli import _exits
from wren_sessions.cli._command import flowing
from wren_sessions.cli._help import Command, Group

_LOOK: Final = "Look"
_KEEP: Final = "Manage"
_MOVE: Final = "Copy and export"
_SERVE: Final = "The store"

COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "list": ("listing", "list_sessions", _LOOK),
    "show": ("showing", "show", _LOOK),
    "history": ("history", "history", _LOOK),
    "diff": ("history", "diff", _LOOK),
    "conversation": ("conversation", "conversation", _LOOK),
    "log": ("conversation", "log", _LOOK),
    "stats": ("stats", "stats", _LOOK),
    "web": ("serving", "web", _LOOK),
    "ttl": ("lifetime", "ttl", _KEEP),
    "touch": ("lifetime", "touch", _KEEP),
    "fork": ("changing", "fork", _KEEP),
    "prune": ("changing", "prune", _KEEP),
    "delete": ("deleting", "delete", _KEEP),
    "copy": ("moving", "copy", _MOVE),
    "export": ("archives", "export", _MOVE),
    "import": ("archives", "import_", _MOVE),
    "check": ("checking", "check", _SERVE),
    "rekey": ("rekeying", "rekey", _SERVE),
    "verify": ("verifying", "verify", _SERVE),
    "migrate": ("verifying", "migrate", _SERVE),
}
"""Name to module, function and the part of the help that lists it."""


_STORE: Final = frozenset({"--url", "--prefix", "--env-file"})


class Commands(Group):
    """The commands, imported one by one: `list` starts without what the others need."""

    sections: ClassVar[dict[str, list[str]]] = {
        panel: [name for name, (_, _, found) in COMMANDS.items() if found == panel]
        for panel in dict.fromkeys(panel for _, _, panel in COMMANDS.values())
    }

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 -- the signature is typer's
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 -- as above
        """One command, or None."""
        return command_of(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is asked for; a wrong name suggests near ones."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=3)
            advice = f" Did you mean {' or '.join(near)}?" if near else " See --help."
            ctx.fail(f"No such command {args[0]!r}.{advice}")
        return super().resolve_command(ctx, args)


def command_of(name: str) -> Any:
    """The command of that name, as typer runs it."""
    module, function, _ = COMMANDS[name]
    found = getattr(import_module(f"wren_sessions.cli.{module}"), function)
    small = typer.Typer(rich_markup_mode=None, add_completion=False)
    small.command(name, cls=Command, epilog=found.examples)(found)
    return typer.main.get_command(small)


app = typer.Typer(
    cls=Commands,
    name="wren-sessions",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 -- the signature is typer's
    if wanted:
        print(f"wren-sessions {wren_sessions.__version__}")
        raise typer.Exit


@app.callback(
    epilog="wren-sessions list\n"
    "wren-sessions conversation cli_20251108_145739\n"
    "wren-sessions check --url rediss://default:PASSWORD@HOST:PORT\n"
    "wren-sessions show --help"
)
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Look at and manage the sessions of LangGraph apps, on Redis, on Valkey or in a file.

    Set the store with --url, or in the environment or the file .env in the current folder:
    WREN_SESSIONS_URL, REDIS_URL, or REDIS_HOST with REDIS_PORT and REDIS_PASSWORD.

    --url, --prefix and --env-file may also stand before the command.

    Name a session by its id, or by its address, such as langgraph:checkpoint:ID:latest.
    """


_root.__doc__ = flowing(_root.__doc__ or "")


def _command_first(argv: Sequence[str]) -> list[str]:
    """The arguments with those that name the store behind the command, where commands take them."""
    rest, store = list(argv), []
    while rest and rest[0].partition("=")[0] in _STORE:
        taken = 1 if "=" in rest[0] else 2
        store += rest[:taken]
        del rest[:taken]
    return [*rest[:1], *store, *rest[1:]] if rest and rest[0] in COMMANDS else [*rest]


def run(argv: Sequence[str]) -> int:
    """Run the command line; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        typer.main.get_command(app)(args=_command_first(argv), prog_name="wren-sessions")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else _exits.FAILED
    except KeyboardInterrupt:
        return _exits.INTERRUPTED
    return _exits.OK

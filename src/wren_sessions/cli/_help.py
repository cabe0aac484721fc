"""How ``--help`` looks: arguments, options, what all commands share, and examples.

It is plain text, so it reads the same in a narrow terminal, in a pipe and through a screen reader.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import typer.core

from wren_sessions.cli._plainly import take_plainly

SHARED: Final = ("url", "prefix", "env_file", "as_json", "color", "help")
"""Options of every command, which stand below its own."""


class Command(typer.core.TyperCommand):
    """A command whose help has its examples."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, and ``--help``."""
        found = super().get_params(ctx)
        take_plainly(found)
        return found

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        sections: dict[str, list[tuple[str, str]]] = {
            "Arguments": [],
            "Options": [],
            "Where and how": [],
        }
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                name = f"{param.metavar}{'...' if param.nargs == -1 else ''}"
                sections["Arguments"].append((name, param.help or ""))
            elif record := param.get_help_record(ctx):
                title = "Where and how" if param.name in SHARED else "Options"
                sections[title].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 -- typer's
        """Write the examples, line by line."""
        _write_examples(self.epilog, formatter)


class Group(typer.core.TyperGroup):
    """Commands whose help lists them by what they are for."""

    sections: ClassVar[dict[str, list[str]]] = {}

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, and ``--help``."""
        found = super().get_params(ctx)
        take_plainly(found)
        return found

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands first, as they are what one looks for, then the options."""
        for title, names in self.sections.items():
            known = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name, one.get_short_help_str(limit=200) if one else "")
                        for name, one in known
                    ]
                )
        records = [param.get_help_record(ctx) for param in self.get_params(ctx)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 -- typer's
        """Write the examples, line by line."""
        _write_examples(self.epilog, formatter)


def _write_examples(text: str | None, formatter: Any) -> None:
    with formatter.section("Examples"):
        for line in (text or "").splitlines():
            formatter.write(f"  {line}\n")

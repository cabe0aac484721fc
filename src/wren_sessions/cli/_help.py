"""How typer's commands are changed: what ``--help`` shows, and how plain values are taken.

The help is plain text, so it reads the same in a narrow terminal, in a pipe and through a screen
reader. It has arguments, options, what all commands share, and examples.

typer 0.29 imports pydantic to convert any value, and that takes longer than all the rest of `list`.
So plain values (text, whole numbers, flags, options that were not given) are used as they are. All
other values, and every mistake, are left to typer. Versions of typer before 0.29 do not use
pydantic. There, nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final, get_args

import typer.core

SHARED: Final = ("url", "prefix", "env_file", "as_json", "color", "help")
"""Options of every command, which stand below its own."""


class _Ours:
    """What a command and the group of commands have in common."""

    epilog: str | None

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, and ``--help``."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc] # typer's
        take_plainly(found)
        return found

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 -- typer's
        """Write the examples, line by line."""
        with formatter.section("Examples"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"  {line}\n")


class Command(_Ours, typer.core.TyperCommand):
    """A command whose help has its examples."""

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


class Group(_Ours, typer.core.TyperGroup):
    """Commands whose help lists them by what they are for."""

    sections: ClassVar[dict[str, list[str]]] = {}

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


_NUMBER: Final = re.compile(r"\d{1,9}")


def take_plainly(params: Iterable[Any]) -> None:
    """Let parameters take plain values as they are."""
    try:
        from typer._coercion import RuntimeParam, build_runtime_param
    except ImportError:
        return

    class Plainly(RuntimeParam):  # type: ignore[misc, unused-ignore] # not in every version
        """Converts what is plain, and leaves the rest to typer."""

        def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
            """The value."""
            found = plain(value, self.annotation, self.parameter_info)
            if found is not _NOT_PLAIN:
                return found
            return build_runtime_param(param.type_descriptor).coerce(value, param=param, ctx=ctx)

        def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
            return self.coerce(value, param, ctx)

    for param in params:
        try:
            described = param.type_descriptor
            param._runtime_param = Plainly(described.parameter_info, described.annotation)  # noqa: SLF001 -- see above
        except (AttributeError, TypeError):
            continue  # made otherwise in this version: typer's own way


_NOT_PLAIN: Final = object()


def plain(value: Any, annotation: Any, info: Any) -> Any:
    """The value if it is plain; `_NOT_PLAIN` if typer should look at it."""
    if value is None:
        return None
    kinds = {annotation, *get_args(annotation)} - {type(None)}
    if isinstance(value, str) and (annotation is str or annotation == str | None):
        return value
    if isinstance(value, bool) and bool in kinds:
        return value
    if isinstance(value, list | tuple) and annotation == list[str]:
        return list(value) if all(isinstance(item, str) for item in value) else _NOT_PLAIN
    return _plain_number(value, kinds, info)


def _plain_number(value: Any, kinds: set[Any], info: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value) and int in kinds:
        value = int(value)
    if type(value) not in kinds & {int, float}:
        return _NOT_PLAIN
    low, high = getattr(info, "min", None), getattr(info, "max", None)
    inside = (low is None or value >= low) and (high is None or value <= high)
    return value if inside else _NOT_PLAIN

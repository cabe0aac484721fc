"""Values from the command line without pydantic.

typer 0.29 imports pydantic to convert any value, and that takes longer than all the rest of `list`.
So plain values (text, whole numbers, flags, options that were not given) are used as they are. All
other values, and every mistake, are left to typer. Versions of typer before 0.29 do not use
pydantic. There, nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, get_args

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

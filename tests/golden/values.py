"""Single values in golden files: of classes whose names or forms in stored data have changed."""

from __future__ import annotations

import enum
from typing import (  # noqa: UP035 -- the old words are what was stored
    Annotated,
    Any,
    Dict,
    Final,
    Generic,
    List,
    Literal,
    Optional,
    TypeVar,
    Union,
)

import pydantic
import pydantic.v1
import pydantic.v1.generics
import pydantic_core
from pydantic import AfterValidator, BaseModel, Field

T = TypeVar("T")


class Color(enum.Enum):
    """An enum."""

    RED = 1


class Leaf(BaseModel):
    """A model."""

    n: int = 1


class Page(BaseModel, Generic[T]):
    """A generic model."""

    it: T | None = None


class OldPage(pydantic.v1.generics.GenericModel, Generic[T]):
    """A generic model of pydantic 1."""

    it: Optional[T] = None  # noqa: UP045 -- as pydantic 1 wants it


def check(value: Any) -> Any:
    """A validator."""
    return value


GENERIC: Final[dict[str, Any]] = {
    "class": Page[Leaf](it=Leaf()),
    "optional": Page[Optional[int]](it=1),  # noqa: UP045
    "union": Page[Union[int, str, None]](it=1),  # noqa: UP007
    "pipe": Page[bytes | None](it=b"x"),
    "list": Page[List[Leaf]](it=[Leaf()]),  # noqa: UP006
    "dict": Page[Dict[str, Optional[Leaf]]](it={"a": None}),  # noqa: UP006, UP045
    "literal": Page[Literal["a", 1, Color.RED]](it="a"),
    "nested": Page[Page[int]](it=Page[int](it=1)),
    "constraint": Page[Annotated[int, Field(gt=0)]](it=1),
    "other constraint": Page[Annotated[int, Field(gt=1)]](it=2),
    "validator": Page[Annotated[int, AfterValidator(check)]](it=1),
    "pydantic 1": OldPage[int](it=1),
}
OWN: Final[dict[str, Any]] = {
    "url": pydantic.HttpUrl("https://ann:pw@example.org:81/a?b#c"),
    "dsn": pydantic.PostgresDsn("postgresql://a@one:1,two:2/db"),
    "core url": pydantic_core.Url("https://example.org/a"),
    "size": pydantic.ByteSize(1_024),
    "secret": pydantic.Secret(5),
    "text secret": pydantic.SecretStr("hush"),
    "name and address": pydantic.NameEmail("Ann", "ann@example.org"),
    "missing": pydantic_core.MISSING,
    "old url": pydantic.v1.parse_obj_as(pydantic.v1.AnyUrl, "https://example.org/a"),
}
VALUES: Final = GENERIC | OWN

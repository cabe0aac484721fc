"""Classes of an application, of every kind that may be stored, and some that must not."""

from __future__ import annotations

import dataclasses
import enum
from collections import namedtuple
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import pydantic
import pydantic.v1
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel

T = TypeVar("T")
RAN: list[str] = []  # what ran that must not


# --- enums ----------------------------------------------------------------------------------------


class Mood(enum.Enum):
    """Plain members, one of them with a value that is no scalar, and an alias."""

    CALM = "calm"
    TIRED = 2
    PAIR = (1, 2)
    QUIET = "calm"  # noqa: PIE796 -- an alias is what it is


class Level(enum.IntEnum):
    """Members that are integers."""

    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    """Members that are text."""

    YES = "yes"


class Access(enum.Flag):
    """Members that combine."""

    READ = 1
    WRITE = 2
    BOTH = 3
    RUN = 4


class Bits(enum.IntFlag):
    """Members that combine and are integers, also with bits that have no name."""

    ONE = 1
    TWO = 2


# --- named tuples and dataclasses -----------------------------------------------------------------

Point = namedtuple("Point", ["x", "y"], defaults=[0])  # noqa: PYI024 -- the other way to make one


class Pair(NamedTuple):
    """A typed one."""

    left: Any
    right: Any = None


@dataclass
class Note:
    """A plain dataclass, whose constructor must not run."""

    text: str
    tags: list[str] = field(default_factory=list)
    length: int = field(init=False, default=0)
    factor: InitVar[int] = 1
    count: ClassVar[int] = 0

    def __post_init__(self, factor: int) -> None:
        """Leave a trace."""
        RAN.append("Note")
        self.length = len(self.text) * factor
        self.seen = True

    @cached_property
    def upper(self) -> str:
        """Something that can be made again."""
        return self.text.upper()


@dataclass(frozen=True)
class Frozen:
    """A frozen one: it can be a key."""

    name: str
    number: int = 0


@dataclass(slots=True)
class Slotted:
    """One with slots."""

    left: Any
    right: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenSlotted:
    """One with both."""

    inner: Any


@dataclass
class Child(Slotted):
    """One that adds a ``__dict__`` to slots."""

    extra: Any = None


@pydantic.dataclasses.dataclass
class Checked:
    """Pydantic's own kind of dataclass."""

    number: int


@dataclass
class Box1(Generic[T]):
    """A generic dataclass."""

    content: T


# --- pydantic -------------------------------------------------------------------------------------


class Answer(BaseModel):
    """A model with a validator, a private attribute and a cached property."""

    text: str = Field(alias="answerText")
    score: float = 0.5
    tags: list[str] = Field(default_factory=list)
    mood: Mood | None = None
    _seen: int = PrivateAttr(default=1)
    _never: int = PrivateAttr()

    model_config = ConfigDict(populate_by_name=True)

    @pydantic.field_validator("text")
    @classmethod
    def _trace(cls, value: str) -> str:
        RAN.append("Answer")
        return value

    def model_post_init(self, context: Any, /) -> None:
        """Leave a trace."""
        RAN.append("Answer")

    @cached_property
    def upper(self) -> str:
        """Something that can be made again."""
        return self.text.upper()


class Profile(BaseModel):
    """A model of models."""

    name: str
    answers: list[Answer] = []
    by_key: dict[str, Answer] = {}
    best: Answer | None = None
    place: tuple[int, ...] = ()


class Open(BaseModel):
    """A model that takes any field."""

    a: int = 1

    model_config = ConfigDict(extra="allow")


class Steady(BaseModel):
    """A frozen model: it can be a key."""

    name: str

    model_config = ConfigDict(frozen=True)


class Names(RootModel[list[str]]):
    """A model that is one value."""


class Box(BaseModel, Generic[T]):
    """A generic model."""

    content: T


IntBox = Box[int]
ListBox = Box[list[int]]
NoteBox = Box[Answer]


class Anything(BaseModel):
    """A model that holds anything."""

    it: Any = None


class Old(pydantic.v1.BaseModel):
    """A model of pydantic 1."""

    name: str
    inner: Any = None
    tags: list[str] = []
    _secret: int = pydantic.v1.PrivateAttr(default=3)


class OldOpen(pydantic.v1.BaseModel):
    """One that takes any field."""

    a: int = 1

    class Config:
        """Pydantic's name for it."""

        extra = "allow"


class Loud(HumanMessage):
    """An application's own message."""

    volume: int = 3


class Outer:
    """A place for a nested class."""

    class Inner(BaseModel):
        """A nested class."""

        a: int = 1


# --- what must not be stored, or built ------------------------------------------------------------


class Plain:
    """No data type."""


class Texts(list[str]):
    """A list of one's own."""


class Text(str):
    """A text of one's own."""

    __slots__ = ()


class Hashed(BaseModel):
    """A model with a hash of its own."""

    name: str

    def __hash__(self) -> int:
        RAN.append("Hashed")
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        RAN.append("Hashed")
        return isinstance(other, Hashed) and self.name == other.name


@dataclass
class Deleted:
    """A dataclass that does something when it goes."""

    a: int = 1

    def __del__(self) -> None:
        RAN.append("Deleted")


@dataclass
class Problem(Exception):  # noqa: N818 -- a dataclass first
    """An exception that is a dataclass."""

    a: int = 1


class Trap(type):
    """A metaclass that notices attribute access."""

    def __getattribute__(cls, name: str) -> Any:
        if name not in {"__class__", "__module__", "__qualname__", "__name__"}:
            RAN.append(f"Trap.{name}")
        return super().__getattribute__(name)


class Trapped(metaclass=Trap):
    """A class that notices being looked at."""


class Loaded:
    """A class with everything that could run."""

    def __new__(cls, *args: Any) -> Loaded:  # noqa: PYI034 -- nobody derives from it
        """Leave a trace."""
        RAN.append("new")
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        """Leave a trace."""
        RAN.append("init")

    def __setstate__(self, state: Any) -> None:
        """Leave a trace."""
        RAN.append("setstate")

    def __setattr__(self, name: str, value: Any) -> None:
        """Leave a trace."""
        RAN.append("setattr")


@dataclass
class LoadedData(Loaded):
    """The same as a data type."""

    a: Any = 1

    def __getattribute__(self, name: str) -> Any:
        """Leave a trace."""
        RAN.append("getattribute")
        return super().__getattribute__(name)


class Missing(enum.Flag):
    """Flags with an own idea of what is missing."""

    A = 1
    B = 2

    @classmethod
    def _missing_(cls, value: object) -> Any:
        RAN.append("missing")
        return super()._missing_(value)


def a_function(*args: Any) -> None:
    """Leave a trace."""
    RAN.append("function")


def __getattr__(name: str) -> Any:
    if not name.startswith("__"):
        RAN.append(f"module.{name}")
    raise AttributeError(name)


FIELDS = dataclasses.fields

"""Parametrized models are found by what their arguments say: in any process, words and Python."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgpack
import pytest

from wren_sessions import PlainSerializer, SafeSerializer
from wren_sessions.errors import SerializationError, UnsafeTypeError
from wren_sessions.serializers._meanings import meaning
from wren_sessions.serializers._resolve import ref_of
from wren_sessions.serializers._wire import MARKER

APP: Final = """
import collections.abc, datetime, decimal, enum, functools, pathlib, typing
from typing import *
from pydantic import *
import pydantic.v1.generics
T = TypeVar("T")
RAN = []
class Leaf(BaseModel): n: int = 1
class Color(enum.Enum): RED = 1
class Page(BaseModel, Generic[T]): it: T | None = None
class OldLeaf(pydantic.v1.BaseModel): n: int = 1
class OldPage(pydantic.v1.generics.GenericModel, Generic[T]): it: T = None
class Mark:
    def __init__(self, size): self.size, self.own = size, object()
    def __repr__(self): RAN.append("repr"); return "x"
    def __eq__(self, other): RAN.append("eq"); return True
    __hash__ = object.__hash__
def check(v): return v
def outer():
    def inner(v): return v
    return inner
"""
ARGUMENTS: Final = [
    "int",
    "Optional[int]",
    "int | str | None",
    "List[Optional[Leaf]]",
    "dict[str, list[int | None]]",
    "Literal['a', 1, b'x', Color.RED, None, True]",
    "Callable[[int, str], Any]",
    "collections.abc.Callable[..., int]",
    "tuple[()]",
    "Tuple[int, ...]",
    "Type[Leaf]",
    "pathlib.Path",
    "NewType('UserId', int)",
    "Page[Annotated[int, Strict()]]",
    "Annotated[int, AfterValidator(check)]",
    "Annotated[int, BeforeValidator(lambda v: v)]",
    "Annotated[int, AfterValidator(outer())]",
    "Annotated[int, AfterValidator(functools.partial(check))]",
    "Annotated[int, PlainSerializer(str)]",
    "Annotated[str, AfterValidator(str.strip)]",
    "Annotated[int, Field(default_factory=lambda: 1, gt=0)]",
    "Annotated[decimal.Decimal, Field(gt=decimal.Decimal('1.5'))]",
    "Annotated[str, StringConstraints(pattern='[(]')]",
    "Annotated[int, Mark(3)]",
]


@pytest.fixture
def app(few_objects: None) -> Iterator[Any]:
    """Makes an application that parametrizes its models, each time in place of the one before."""

    def made(**classes: str) -> ModuleType:
        module = ModuleType("generic_app")
        sys.modules["generic_app"] = module
        lines = [f"{name} = {text}" for name, text in classes.items()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic thinks little of a factory in there
            exec("\n".join([APP, *lines]), module.__dict__)  # noqa: S102 -- its own classes
        module.__dict__["RAN"].clear()  # pydantic prints what it makes
        return module

    yield made
    sys.modules.pop("generic_app", None)
    gc.collect()


def written(value: Any) -> tuple[str, bytes]:
    """A value as it is stored."""
    return SafeSerializer().dumps_typed(value)


def read(stored: tuple[str, bytes]) -> Any:
    """What is stored, as a value."""
    return SafeSerializer().loads_typed(stored)


def printed(module: ModuleType, argument: Any) -> tuple[str, bytes]:
    """A page as version 0.1.0 stored it: with what Python prints of its argument."""
    mark = msgpack.ExtType(0, b"p")._replace(code=MARKER)
    name = argument if isinstance(argument, str) else repr(argument)
    items = [mark, [f"{module.__name__}:Page", name], {"it": 1}, 1]
    return "safe", msgpack.packb(items)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_another_process_finds_it(tmp_path: Path, argument: str) -> None:
    """Nothing in the name is of one process: no address, no order of making."""
    (tmp_path / "app.py").write_text(f"{APP}\nOther = Page[bytes]\nP = Page[{argument}]\n")
    run = [sys.executable, "-B", "-c"]
    write = "import app, sys; from wren_sessions import SafeSerializer as S;"
    for code in (
        "open('it', 'wb').write(S().dumps_typed(app.P.model_construct(it=1))[1])",
        "sys.exit(type(S().loads_typed(('safe', open('it', 'rb').read()))) is not app.P)",
    ):
        subprocess.run([*run, write + code], cwd=tmp_path, check=True)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_naming_runs_nothing_of_the_application(app: Any, argument: str) -> None:
    """Neither its ``__repr__`` nor its ``__eq__``, when writing and when reading."""
    module = app(P=f"Page[{argument}]")
    assert type(read(written(module.P.model_construct(it=1)))) is module.P
    assert module.RAN == []


SAME: Final = [
    ("Optional[int]", "int | None"),
    ("Union[int, None]", "None | int"),
    ("Union[int, str, None]", "str | int | None"),
    ("List[int]", "list[int]"),
    ("Dict[str, Optional[Leaf]]", "dict[str, Leaf | None]"),
    ("Sequence[int]", "collections.abc.Sequence[int]"),
    ("Callable[[int], str]", "collections.abc.Callable[[int], str]"),
    ("Annotated[int, Field(gt=0)]", "Annotated[int, Field(gt=1)]"),
    ("Annotated[int, BeforeValidator(lambda v: v)]", "Annotated[int, BeforeValidator(lambda v:1)]"),
    ("Page[Optional[int]]", "Page[int | None]"),
]


@pytest.mark.parametrize(("before", "after"), [*SAME, *(pair[::-1] for pair in SAME)])
def test_the_same_in_other_words_is_found(app: Any, before: str, after: str) -> None:
    """As if the application had been edited; also what version 0.1.0 stored."""
    module = app(P=f"Page[{before}]")
    stored = written(module.P.model_construct(it=1))
    old = printed(module, module.P.__pydantic_generic_metadata__["args"][0])
    module = app(Other="Page[bytes]", P=f"Page[{after}]")
    assert type(read(stored)) is module.P
    if "Page" not in before:  # a class is no text
        assert type(read(old)) is module.P


def test_what_differs_is_not_the_same(app: Any) -> None:
    """Another type, another literal, and ``Annotated`` where there was none."""
    stored = [
        written(app(P=f"Page[{argument}]").P.model_construct(it=1))
        for argument in ("int | str", "Literal['a']", "Annotated[int, Field(gt=0)]", "list[int]")
    ]
    app(A="Page[int | bytes]", B="Page[Literal['b']]", C="Page[int]", D="Page[list[str]]")
    for value in stored:
        with pytest.raises(UnsafeTypeError, match="generic_app:Page"):
            read(value)


def test_of_several_that_differ_the_very_one_is_found(app: Any) -> None:
    """By constraints, by spelling, by the place of a lambda in its line."""
    arguments = [
        "Annotated[int, Field(gt=0)]",
        "Annotated[int, Field(gt=1)]",
        "Annotated[int, AfterValidator(lambda v: v)]",
        "Annotated[int, AfterValidator(check)]",
        "Optional[int]",
        "int | None",
        "List[int]",
        "list[int]",
    ]
    classes = {f"P{at}": f"Page[{argument}]" for at, argument in enumerate(arguments)}
    module = app(**classes)
    for name in classes:
        kind = getattr(module, name)
        assert type(read(written(kind.model_construct(it=1)))) is kind
    for name in ("P0", "P1", "P3", "P4"):
        kind = getattr(module, name)
        assert type(read(printed(module, kind.__pydantic_generic_metadata__["args"][0]))) is kind


def test_one_is_not_guessed_of_several(app: Any) -> None:
    """A validator that is gone, and two that may have come in its place."""
    stored = written(app(P="Page[Annotated[int, Field(gt=0)]]").P(it=1))
    app(P="Page[Annotated[int, Field(gt=1)]]", Q="Page[Annotated[int, Field(gt=2)]]")
    with pytest.raises(UnsafeTypeError, match=r"generic_app:Page\[int\]"):
        read(stored)
    plain = PlainSerializer().loads_typed(stored)
    assert (plain.type_name, plain.value) == ("generic_app:Page[int]", {"it": 1})


def test_an_allowed_model_is_allowed_in_any_words(app: Any) -> None:
    """The list holds for the class that is found."""
    module = app(P="Page[int | None]")
    old = printed(module, "typing.Optional[int]")
    assert type(SafeSerializer(allow=[module.P]).loads_typed(old)) is module.P
    with pytest.raises(UnsafeTypeError, match="not allowed"):
        SafeSerializer(allow=[module.Leaf]).loads_typed(old)


def test_generics_of_pydantic_1_are_found(app: Any) -> None:
    """Under what they say, and under the text that version 0.1.0 stored."""
    module = app(P="OldPage[List[OldLeaf]]")
    assert type(read(written(module.P(it=[])))) is module.P
    mark = msgpack.ExtType(0, b"v")._replace(code=MARKER)
    name = f"generic_app:{module.P.__qualname__}"
    assert type(read(("safe", msgpack.packb([mark, name, {"it": []}, 1])))) is module.P


@pytest.mark.parametrize(
    "text",
    ["typing.Optional[", "a b", "[" * 5_000, "x" * 20_000, "int |", "'", "<" * 5_000, "a,b", "\\"],
    ids=lambda text: text[:12],
)
def test_text_that_nobody_printed_is_refused(app: Any, text: str) -> None:
    """It means nothing, however long it is."""
    module = app(P="Page[int | None]")
    with pytest.raises((UnsafeTypeError, SerializationError)):
        read(printed(module, text))


def test_names_of_other_pythons_mean_the_same() -> None:
    """Python 3.13 has paths in another module, 3.14 one class for unions."""
    for ours, theirs in [
        ("pathlib:Path", "pathlib._local:Path"),
        (["typing:Union", "builtins:int", "None"], ["types:UnionType", "None", "builtins:int"]),
        (["typing:List", "pathlib:Path"], "list[pathlib._local.Path]"),
        (["typing:Union", "builtins:int", "None"], "int | None"),
    ]:
        assert meaning(ours, whole=True) == meaning(theirs, whole=True)
    assert ref_of(int) == "builtins:int"

"""``__main__`` and the module of the same file are one: what one stores, the other reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Final

import msgpack
import pytest

from wren_sessions import PlainSerializer
from wren_sessions.serializers._wire import marker

APP: Final = """
import dataclasses, enum, sys
from typing import Generic, NamedTuple, TypeVar
from pydantic import BaseModel
from wren_sessions import PlainSerializer, SafeSerializer, Sessions, open_store

T = TypeVar("T")
class Mood(enum.Enum): CALM = 1
class Profile(BaseModel): mood: Mood = Mood.CALM
class Box(BaseModel, Generic[T]): content: T
ProfileBox = Box[Profile]
@dataclasses.dataclass(frozen=True)
class Note: text: str = "n"
class Pair(NamedTuple): left: int = 1
class Outer:
    class Inner(BaseModel): a: int = 1

def value():
    return [Profile(), ProfileBox(content=Profile()), {Note(): 1}, Pair(), Outer.Inner(), Mood.CALM]

def save(serde=None): Sessions(open_store(URL), serde=serde).save("s", {"it": value()})
def load(serde=None): return Sessions(open_store(URL), serde=serde).load("s").state["it"]
def main():
    if sys.argv[1:] == ["save"]: save()
    else:
        try: found = load()
        except Exception as error: print(error)
        else: print(found == value() and [*map(type, found)] == [*map(type, value())])
"""

MARKED: Final = {
    "app:Note#__main__": "app:Note",
    "app:make.<locals>.Note#0123456789abcdef": "app:make.<locals>.Note",
    "app:Note#2": "app:Note#2",  # the name of a class that somebody has called so
}


class Place:
    """A folder with the application in it, and a file for its session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"file:{folder / 's.db'}"

    def put(self, *files: str, main: str = "main()\n") -> None:
        """The application, which runs `main` as a program; or nothing in an ``__init__.py``."""
        text = f"{APP}\nif __name__ == '__main__':\n{indent(main, '    ')}"
        for file in files:
            path = self.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                "" if path.name == "__init__.py" else text.replace("URL", repr(self.url))
            )

    def python(self, *arguments: str, under: str = "") -> str:
        """What a Python process prints."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
        run = subprocess.run(
            [sys.executable, "-B", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder / under,
            env=environment,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty one."""
    return Place(tmp_path)


def imported(module: str, call: str) -> tuple[str, str]:
    """Arguments to Python: import the module and call something of it."""
    return (
        "-c",
        f"import sys; sys.argv[1:] = {call.split()!r}; import {module} as app; app.main()",
    )


WAYS: Final = {
    "file": ("app.py", [(["app.py"], ""), (["-m", "app"], "")], [("app", "")]),
    "module of a package": (
        "pkg/app.py",
        [(["-m", "pkg.app"], ""), (["pkg/app.py"], ""), (["app.py"], "pkg")],
        [("pkg.app", ""), ("app", "pkg")],
    ),
    "package": ("pkg/__main__.py", [(["-m", "pkg"], "")], [("pkg.__main__", "")]),
    "deep package": (
        "pkg/sub/app.py",
        [(["-m", "pkg.sub.app"], ""), (["pkg/sub/app.py"], "")],
        [("pkg.sub.app", "")],
    ),
    "folder without __init__": ("space/app.py", [(["-m", "space.app"], "")], [("space.app", "")]),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_one_stores_the_other_reads(name: str, place: Place) -> None:
    """However the file is run, and however it is imported; in both directions."""
    file, programs, modules = WAYS[name]
    place.put(file)
    parents = [parent for parent in Path(file).parents if parent != Path()]
    if name != "folder without __init__":
        place.put(*(str(parent / "__init__.py") for parent in parents))
    writers = [((*words, "save"), under) for words, under in programs]
    writers += [(imported(module, "save"), under) for module, under in modules]
    readers = [(tuple(words), under) for words, under in programs]
    readers += [(imported(module, "load"), under) for module, under in modules]
    for write, write_under in writers:
        if write[0] == "-c" and write_under:
            continue  # a module that is imported under two names: two modules, as ever
        place.python(*write, under=write_under)
        for read, read_under in readers:
            if write[0] == read[0] == "-c":
                continue
            found = place.python(*read, under=read_under)
            assert found == "True", (write, read)


def test_a_file_that_is_loaded_twice_has_two_classes(place: Place) -> None:
    """The program imports itself: each value comes back as its own class."""
    place.put(
        "app.py",
        main="import app\n"
        "serde = SafeSerializer()\n"
        "before = serde.dumps_typed([Profile(), Note()])\n"
        "found = serde.loads_typed(serde.dumps_typed([Profile(), app.Profile()]))\n"
        "print([*map(type, found)] == [Profile, app.Profile] and Profile is not app.Profile)\n"
        "print(serde.loads_typed(before) == [Profile(), Note()])\n"
        "print(PlainSerializer().loads_typed(before)[0].type_name)\n",
    )
    assert place.python("app.py").splitlines() == ["True", "True", "app:Profile"]


def test_a_list_names_the_class_either_way(place: Place) -> None:
    """By class, as ``__main__``'s, and as the module's."""
    place.put(
        "app.py",
        main="for entry in (Note, '__main__:Note', ('__main__', 'Note'), 'app:Note'):\n"
        "    serde = SafeSerializer(allow=[entry])\n"
        "    Sessions(open_store(URL), serde=serde).save('s', {'it': {'note': Note()}})\n"
        "    print(load(serde) == {'note': Note()})\n",
    )
    (place.folder / "listed.py").write_text(
        "import app\n"
        "for entry in (app.Note, 'app:Note', ('app', 'Note')):\n"
        "    print(app.load(app.SafeSerializer(allow=[entry])) == {'note': app.Note()})\n"
    )
    assert place.python("app.py").split() == ["True"] * 4
    assert place.python("listed.py").split() == ["True"] * 3


def test_the_error_names_what_helps(place: Place) -> None:
    """The module to import, never ``__main__``; and importing it helps."""
    place.put("app.py")
    place.python("app.py", "save")
    code = (
        "from wren_sessions import *\n"
        f"sessions = Sessions(open_store({place.url!r}))\n"
        "try: sessions.load('s')\n"
        "except Exception as error: print(error)\n"
        "import app\n"
        "print(sessions.load('s').state['it'] == app.value())\n"
    )
    error, read = place.python("-c", code).splitlines()
    assert "import app in the application" in error
    assert "__main__" not in error
    assert read == "True"


def test_a_program_that_cannot_be_imported(place: Place) -> None:
    """A file such as ``my-script.py`` reads its own; others are told to read it there."""
    place.put("my-script.py")
    place.python("my-script.py", "save")
    assert place.python("my-script.py") == "True"
    code = f"from wren_sessions import *\nprint(Sessions(open_store({place.url!r})).load('s'))\n"
    with pytest.raises(AssertionError, match=r"read the value there.*missing='plain'"):
        place.python("-c", code)


def test_a_notebook_that_runs_a_cell_again(place: Place) -> None:
    """What was stored is of the new class; an old object is still of the old one."""
    code = (
        "from wren_sessions import SafeSerializer\n"
        "from dataclasses import dataclass\n"
        "serde = SafeSerializer()\n"
        "cell = '@dataclass\\nclass Note:\\n    text: str = str()\\n'\n"
        "exec(cell); old = Note(); stored = serde.dumps_typed(old); first = Note\n"
        "exec(cell)\n"
        "print(type(serde.loads_typed(stored)) is Note)\n"
        "print(type(serde.loads_typed(serde.dumps_typed(old))) is first is not Note)\n"
    )
    assert place.python("-c", code).split() == ["True", "True"]


def test_a_process_of_multiprocessing(place: Place) -> None:
    """It has the program's module under another name."""
    place.put(
        "app.py",
        main="import multiprocessing\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    pool.apply(save)\n"
        "    print(load() == value())\n"
        "    save()\n"
        "    print(pool.apply(load) == value())\n",
    )
    assert place.python("app.py").split() == ["True", "True"]


def test_the_marks_in_stored_data() -> None:
    """They are part of the format: behind a name, and never shown."""
    named = [[marker(b"o"), name, {"text": "n"}] for name in MARKED]
    shown = PlainSerializer().loads_typed(("safe", msgpack.packb(named)))
    assert [plain.type_name for plain in shown] == list(MARKED.values())

"""The project itself: what importing it loads, and which module may import which."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import wren_sessions

SOURCE = Path(wren_sessions.__file__).parent

LAYERS = (
    {"errors", "keys", "protocols", "records", "ttl"},
    {"_arguments", "_blocking", "_damage", "_invisible", "_options", "serializers"},
    {"_walks", "delta", "checkpoints"},
    {"stores"},
    {"config"},
    {
        "langgraph.convert",
        "sessions.delta_channels",
        "sessions.operations",
        "sessions.states",
        "transcripts",
    },
    {"langgraph"},
    {"archives", "testing", "transfer", "upgrading"},
    {"sessions"},
    {"viewing"},
    {"adapters", "cli", "deploy", "web"},
    {"__main__"},
)
DRIVERS = {
    "redis": {"stores.redis."},
    "sqlite3": {"stores.file."},
    "langgraph": {"deploy", "langgraph.", "serializers."},
    "langchain_core": {"deploy", "langgraph.", "serializers.", "adapters.langchain"},
    "agents": {"adapters.openai_agents"},
    "pydantic": {"serializers.", "adapters.pydantic_ai"},
    "pydantic_ai": {"adapters.pydantic_ai"},
    "opentelemetry": {"stores.traced"},
    "cryptography": {"serializers.encryption", "serializers.keyring"},
    "zstandard": {"serializers.compression"},
    "typer": {"cli"},
    "rich": {"cli"},
    "starlette": {"web."},
    "uvicorn": {"web."},
    "jinja2": {"web."},
    "markupsafe": {"web."},
    "markdown_it": {"web."},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """The package's modules: dotted name below it, and what is in it."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text("utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Names of the modules that are imported, other than for type checking alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        else:
            yield from imports(node)


def layer(name: str) -> int:
    """The layer of a module; a higher number may import a lower one."""
    head = name.split(".", maxsplit=1)[0]
    whole = [at for at, names in enumerate(LAYERS) if name in names]
    found = whole or [at for at, names in enumerate(LAYERS) if head in names]
    assert found, f"{name} is in no layer: add it to LAYERS"
    return found[0]


@pytest.mark.parametrize(
    ("name", "tree"), list(modules()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_go_down_only(name: str, tree: ast.Module) -> None:
    """A module imports from its own layer or a lower one."""
    if name in {"__init__", ""}:
        return
    for imported in imports(tree):
        if imported.startswith("wren_sessions."):
            below = imported.removeprefix("wren_sessions.")
            assert layer(below) <= layer(name), f"{name} imports {below}, which is above it"


def test_stores_do_not_import_each_other() -> None:
    """What a store needs of another belongs below both."""
    backends = {path.parent.name for path in (SOURCE / "stores").glob("*/__init__.py")}

    def kind(name: str) -> str | None:
        return next(iter(backends & set(name.split("."))), None)

    for name, tree in modules():
        if name.startswith("stores.") and kind(name):
            for imported in imports(tree):
                if ".stores." in imported:
                    assert kind(imported) in {None, kind(name)}, f"{name} imports {imported}"


@pytest.mark.parametrize("package", sorted(DRIVERS))
def test_a_driver_is_imported_in_its_place_alone(package: str) -> None:
    """Only the module that is there for a driver imports it."""
    for name, tree in modules():
        allowed = any(name.startswith(place) for place in DRIVERS[package]) or name.startswith(
            "testing"
        )
        for imported in imports(tree):
            if imported.split(".")[0] == package:
                assert allowed, f"{name} imports {imported}"


def loaded_by(statement: str) -> set[str]:
    """The packages that a statement loads in a new process."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    # Coverage measures child processes too where these are set, and loads sqlite3 to do so.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    return set(run.stdout.split())


def test_importing_the_package_is_light() -> None:
    """``import wren_sessions`` loads neither redis, nor langgraph, nor pydantic."""
    heavy = {"redis", "langgraph", "langchain_core", "pydantic", "sqlite3", "msgpack", "dotenv"}
    assert not loaded_by("import wren_sessions") & heavy


def test_opening_memory_or_a_file_loads_no_redis() -> None:
    """A store loads its own driver and no other."""
    loaded = loaded_by("from wren_sessions import open_store; open_store('memory://').close()")
    assert not loaded & {"redis", "langgraph", "pydantic", "sqlite3"}


def test_every_public_name_is_there() -> None:
    """Each name of ``__all__`` can be imported, and the lazy table holds no other."""
    for name in wren_sessions.__all__:
        assert getattr(wren_sessions, name) is not None
    assert set(dir(wren_sessions)) == set(wren_sessions.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        wren_sessions.no_such_name  # noqa: B018


def test_every_public_name_has_a_docstring() -> None:
    """What users import says what it is, and so do its public methods."""
    for name in wren_sessions.__all__:
        value = getattr(wren_sessions, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, name
        for attribute, member in vars(value).items() if isinstance(value, type) else ():
            if callable(member) and not attribute.startswith("_"):
                assert member.__doc__, f"{name}.{attribute}"


def test_the_version_is_the_same_everywhere() -> None:
    """The package says its version as pyproject does; the changelog has the latest release on top.

    Between releases the version is that of the next one, and ends with ``.dev0``.
    """
    root = Path(__file__).parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert wren_sessions.__version__ == version
    titles = re.findall(r"^## (.*)$", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", each) for each in titles[1:]]
    assert all(released), titles
    latest = released[0][1] if released[0] else ""
    assert version == latest or (version.endswith(".dev0") and version > latest)

"""What a wheel does in a fresh environment, far from the source: ``python -I smoke.py [EXTRA]``.

What an installed extra brings works, and what needs another extra says which one. Nothing but the
wheel and what it depends on is needed: no pytest either.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypedDict

import wren_sessions
from wren_sessions import Compression, Encryption, FileStore, MemoryStore, Sessions, SessionSaver


def told(call: Callable[[], object]) -> str:
    """What a call says is missing; empty if it works."""
    try:
        call()
    except (ImportError, wren_sessions.ConfigurationError) as error:
        return str(error)
    return ""


def ran(*arguments: str) -> str:
    """What a command says is missing; empty if it works."""
    command = [sys.executable, "-I", "-m", "wren_sessions", *arguments]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    return run.stderr if run.returncode else ""


def compress() -> None:
    """A session that is stored compressed comes back."""
    store = wren_sessions.ProtectedStore(MemoryStore(), compression=Compression())
    session = Sessions(store).create(state={"text": "long " * 1000})
    assert Sessions(store).load(session.id).state == session.state


def encrypt() -> None:
    """A session that is stored encrypted comes back."""
    encryption = Encryption.from_text(Encryption.generate_key())
    store = wren_sessions.ProtectedStore(MemoryStore(), encryption=encryption)
    session = Sessions(store).create(state={"text": "secret"})
    assert Sessions(store).load(session.id).state == session.state


class Counted(TypedDict, total=False):
    """A state that counts."""

    count: int


def run_graph() -> None:
    """A graph goes on in a second invocation."""
    graphs = import_module("langgraph.graph")
    builder: Any = graphs.StateGraph(Counted)
    builder.add_node("count", lambda state: {"count": state.get("count", 0) + 1})
    builder.add_edge("__start__", "count")
    with SessionSaver(MemoryStore()) as saver:
        graph = builder.compile(checkpointer=saver)
        config = {"configurable": {"thread_id": "ann"}}
        assert [graph.invoke({}, config)["count"] for _ in range(2)] == [1, 2]


def browse() -> None:
    """The app of the web pages is made, with its templates and styles."""
    assert import_module("wren_sessions.web").app(MemoryStore()) is not None


def trace() -> None:
    """A store tells OpenTelemetry what it does."""
    wren_sessions.TracedStore(MemoryStore(), wren_sessions.Telemetry()).ping()


def adapter(name: str) -> Callable[[], object]:
    """Imports an adapter."""
    return lambda: import_module(f"wren_sessions.adapters.{name}")


def contract() -> None:
    """The contract of stores, and the fixtures for apps, can be imported."""
    import_module("wren_sessions.testing.contract")
    import_module("wren_sessions.testing.fixtures")


NEEDS: Final[dict[str, tuple[str, Callable[[], str]]]] = {
    "cli": ("rich typer", lambda: ran("--version")),
    "compression": ("zstandard", lambda: told(compress)),
    "encryption": ("cryptography", lambda: told(encrypt)),
    "langchain": ("langchain_core", lambda: told(adapter("langchain"))),
    "langgraph": ("langgraph.graph", lambda: told(run_graph)),
    "openai-agents": ("agents", lambda: told(adapter("openai_agents"))),
    "opentelemetry": ("opentelemetry", lambda: told(trace)),
    "pydantic-ai": ("pydantic_ai", lambda: told(adapter("pydantic_ai"))),
    "testing": ("fakeredis pytest pytest_asyncio", lambda: told(contract)),
    "web": ("jinja2 markdown_it starlette uvicorn", lambda: told(browse)),
}
"""By extra: the modules that it brings, and what uses them."""
ALL: Final = {"cli", "compression", "encryption", "langgraph", "web"}  # what apps can use
UNSAID: Final = {"langgraph", "testing"}  # other packages' names are imported there, by the app


def here(modules: str) -> bool:
    """Whether modules are installed; another extra, or what we depend on, may bring them."""
    try:
        return all(find_spec(module) is not None for module in modules.split())
    except ModuleNotFoundError:
        return False


def keeps_sessions() -> None:
    """All public names are there, and a file store keeps a session."""
    assert wren_sessions.__file__.startswith(sys.prefix), wren_sessions.__file__
    assert wren_sessions.__version__ == metadata.version("wren-sessions")
    assert all(getattr(wren_sessions, name) is not None for name in wren_sessions.__all__)
    with TemporaryDirectory() as folder:
        path = Path(folder, "sessions.db")
        with FileStore(path) as store:
            Sessions(store).create("ann", state={"turn": 1})
        with FileStore(path) as store:
            assert Sessions(store).load("ann").state == {"turn": 1}
            assert SessionSaver(store).get_tuple({"configurable": {"thread_id": "ann"}})
        if here("rich typer") and (said := ran("show", "ann", "--url", f"file:{path}")):
            sys.exit(said)


def main(extra: str) -> None:
    """Try everything, and say what was not as it should be."""
    keeps_sessions()
    offered = {*metadata.metadata("wren-sessions").get_all("Provides-Extra", ())} - {"all"}
    assert offered == {*NEEDS}, f"extras that are not tried: {offered ^ {*NEEDS}}"
    wanted = ALL if extra == "all" else {extra}
    wrong = []
    for name, (module, attempt) in NEEDS.items():
        said = attempt()
        if name in wanted and not here(module):
            wrong.append(f"{name} does not bring {module}")
        if here(module) and said:
            wrong.append(f"{name} is installed, and fails: {said}")
        if not here(module) and name not in UNSAID and f"wren-sessions[{name}]" not in said:
            wrong.append(f"{name} is not installed, which is not said: {said!r}")
    if wrong:
        sys.exit("\n".join(wrong))
    works = ", ".join(name for name, (module, _) in NEEDS.items() if here(module))
    print("Python", sys.version.split()[0], f"[{extra}]:", works or "no extra", "works")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")

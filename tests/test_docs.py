"""The documentation is run: every Python example in the README and below docs works as printed."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from servers import in_ci

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = {ROOT / "docs/how-to/other-frameworks.md": "agents"}  # may be missing on a desk
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALL = re.compile(r"""pip install (?:-e )?["'](wren-sessions|\.)\[([\w,-]+)\]""")
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def page_id(page: Path) -> str:
    """A page's path from the top of the repository."""
    return str(page.relative_to(ROOT))


def installed_example_store(folder: Path) -> Path:
    """What ``pip install`` would leave of the example store: its entry points."""
    project = tomllib.loads((ROOT / "examples/store/pyproject.toml").read_text())["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    points = configparser.ConfigParser()
    points.read_dict(project["entry-points"])
    with (info / "entry_points.txt").open("w") as file:
        points.write(file)
    return folder


@pytest.mark.parametrize(
    "page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=page_id
)
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python blocks of a page run one after the other, in an empty folder, without settings."""
    if page in NEEDS and not in_ci():
        pytest.importorskip(NEEDS[page])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what a page leaves goes with it
    monkeypatch.syspath_prepend(installed_example_store(tmp_path))
    for name in ("WREN_SESSIONS_URL", "REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    scope: dict[str, object] = {"__name__": "example"}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, page_id(page), "exec"), scope)  # noqa: S102 -- our own documentation


def test_a_stranger_can_run_the_readme_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example works in a process of its own, again in the same folder, as do the commands."""
    for name in ("WREN_SESSIONS_URL", "REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    readme = (ROOT / "README.md").read_text()

    def outputs(*arguments: str) -> str:
        command = [sys.executable, "-X", "utf8", *arguments]
        return subprocess.check_output(command, cwd=tmp_path, encoding="utf-8")

    shown: list[str] = []
    commands = re.findall(r"^\$ wren-sessions (.*)$", readme, re.MULTILINE)
    for turn in (1, 3):
        printed = [outputs("-c", block) for block in BLOCK.findall(readme)]
        assert printed[0] == f"That was message {turn}.\n"
        shown = [outputs("-m", "wren_sessions", *shlex.split(command)) for command in commands]
        assert all("ann" in each for each in shown)
    assert "That was message 3." in shown[-1]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """A relative link names a file that exists."""
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page_id(page)} links to {target}"


def test_every_page_is_in_the_index() -> None:
    """The index of the documentation names each page, and so does the navigation of the site."""
    linked = {
        (ROOT / "docs" / target).resolve()
        for target in LINK.findall((ROOT / "docs/index.md").read_text())
    }
    pages = {page.resolve() for page in PAGES if "docs" in page.parts} - {ROOT / "docs/index.md"}
    assert pages == linked
    shown = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    docs = [ROOT / "docs" / name for name in shown if not name.startswith("repository/")]
    assert sorted(docs) == sorted([*pages, ROOT / "docs/index.md"])


def test_every_promise_has_a_test() -> None:
    """What the page of promises names as its test is one."""
    promised = re.findall(r"`(test_\w+)`", (ROOT / "docs/explanation/promises.md").read_text())
    code = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src/wren_sessions/testing").glob("*.py")]
    tests = set(re.findall(r"def (test_\w+)", "\n".join(file.read_text() for file in code)))
    assert len(promised) > 30
    assert set(promised) <= tests


def test_what_is_to_be_installed_can_be() -> None:
    """Each ``pip install`` names extras that exist, and says how to do without an index."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set()
    for page in [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))]:
        shown = INSTALL.findall(page.read_text())
        named |= {extra for _, extras in shown for extra in extras.split(",")}
        if any(package != "." for package, _ in shown) and page != ROOT / "README.md":
            assert "README.md#install" in page.read_text(), (
                f"{page_id(page)}: it is on no index yet"
            )
    assert named <= set(project["optional-dependencies"])
    assert {"cli", "langgraph", "testing", "web"} <= named


def test_what_the_examples_import_can_be_installed() -> None:
    """A page that needs FastAPI, which is in no extra, says how to get it."""
    pages = [page for page in PAGES if "from fastapi" in page.read_text()]
    assert len(pages) >= 2
    for page in pages:
        assert "pip install fastapi" in page.read_text(), page_id(page)


def test_the_readme_leads_those_who_know_the_old_guide() -> None:
    """To the page about its commands, and to the one about Redis Cloud."""
    readme = (ROOT / "README.md").read_text()
    assert "docs/how-to/the-guide-today.md" in readme
    assert "docs/how-to/redis-cloud.md" in readme


def test_the_readme_installs_the_same_from_the_source_as_from_an_index() -> None:
    """Today's command and that of the day of the release have the same extras."""
    install = (ROOT / "README.md").read_text().partition("## Install")[2].partition("\n## ")[0]
    (source, today), (index, later) = INSTALL.findall(install)
    assert (source, index) == (".", "wren-sessions")
    assert today == later

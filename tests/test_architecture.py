"""The map of the code is true: what the page on the architecture names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wren_sessions

ROOT = Path(__file__).parent.parent
SOURCE = Path(wren_sessions.__file__).parent
MAP = (ROOT / "docs/explanation/architecture.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
TEXT = "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))

PACKAGES = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
ROWS = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", MAP, re.MULTILINE))
GLOSSARY = re.findall(r"^\| ([\w ]+) \| (.*) \|$", MAP.partition("## Glossary")[2], re.MULTILINE)
NAMES = [name for _, meaning in GLOSSARY for name in re.findall(r"\(`(\w+)`\)", meaning)]


def test_the_map_lists_every_package() -> None:
    """Each package of the source has a row, and no row is of one that has gone."""
    assert set(ROWS) == PACKAGES


@pytest.mark.parametrize("package", sorted(ROWS))
def test_the_places_to_start_reading_exist(package: str) -> None:
    """The files that a row names are in its package."""
    for file in re.findall(r"`([\w/]+\.py)`", ROWS[package]):
        assert (SOURCE / package / file).is_file(), f"{package}/{file}"


def test_the_glossary_is_there() -> None:
    """It has about twenty terms, most of them with a name in the code."""
    assert len(GLOSSARY) >= 20
    assert len(NAMES) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_term_of_the_glossary_is_a_name_in_the_code(name: str) -> None:
    """What stands in brackets behind a term is a class, or an attribute, of the source."""
    assert re.search(rf"^class {name}\b|^    {name}: ", TEXT, re.MULTILINE), name


@pytest.mark.parametrize(
    "place",
    sorted(set(re.findall(r"`((?:src|tests|docs)/[\w/.]+|(?:cli|config)/\w+\.py)`", CONTRIBUTING))),
)
def test_the_places_that_contributing_names_exist(place: str) -> None:
    """A path in CONTRIBUTING leads somewhere."""
    root = ROOT if place.startswith(("src", "tests", "docs")) else SOURCE
    assert (root / place).exists(), place


def test_contributing_names_sessions_that_nox_has() -> None:
    """The commands that CONTRIBUTING shows can be run."""
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    for session in re.findall(r"noxfile\.py -s (\w+)", CONTRIBUTING):
        assert f"def {session}(session" in noxfile, session

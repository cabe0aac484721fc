"""Values whose names or forms have changed are read as they were stored, and stored as they are."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final

import pytest

from golden import values
from values.comparing import same
from wren_sessions import PlainSerializer, SafeSerializer

HERE: Final = Path(__file__).parent
OLD: Final[dict[str, str]] = json.loads((HERE / "v1.values.json").read_text())
SHAPELESS: Final[dict[str, str]] = json.loads((HERE / "v2.values.json").read_text())
NEW: Final[dict[str, str]] = json.loads((HERE / "v3.values.json").read_text())


@pytest.mark.parametrize("name", OLD)
def test_what_version_0_1_0_stored_is_read(name: str) -> None:
    """Under names that Python printed, with addresses of functions in them."""
    found = SafeSerializer().loads_typed(("safe", b64decode(OLD[name])))
    assert same(found, values.VALUES[name])
    PlainSerializer().loads_typed(("safe", b64decode(OLD[name])))


@pytest.mark.parametrize("name", SHAPELESS)
def test_what_was_stored_without_the_types_of_fields_is_read(name: str) -> None:
    """As development versions did, up to the shapes of classes."""
    found = SafeSerializer().loads_typed(("safe", b64decode(SHAPELESS[name])))
    assert same(found, [values.VALUES[name]])


@pytest.mark.parametrize("name", values.VALUES)
def test_what_is_stored_now_stays_as_it_is(name: str) -> None:
    """The bytes are those of the golden file, which later versions read."""
    value = values.VALUES[name]
    assert b64encode(SafeSerializer().dumps_typed([value])[1]).decode() == NEW[name]
    assert same(SafeSerializer().loads_typed(("safe", b64decode(NEW[name]))), [value])


def test_all_that_could_be_stored_is_there() -> None:
    """Of generic models, everything; of pydantic's own types, the secrets."""
    assert OLD.keys() >= values.GENERIC.keys()
    assert NEW.keys() == values.VALUES.keys()

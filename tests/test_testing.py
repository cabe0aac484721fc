"""What the package ships for tests of stores: the clock, and how the contract is taken up."""

from __future__ import annotations

import subprocess
import sys

import pytest

import wren_sessions.testing
from wren_sessions.errors import ConfigurationError
from wren_sessions.testing import FakeClock, StoreContract


def test_a_fake_clock_stands_still() -> None:
    """Time passes when it is told to, by any duration."""
    clock = FakeClock(now_ms=1_000)
    assert clock() == clock() == clock.now_ms == 1_000
    clock.advance("1h30m")
    clock.advance(0.25)
    assert clock() == 1_000 + 5_400_000 + 250


def test_a_fake_clock_does_not_go_back() -> None:
    """What is no duration leaves the clock alone."""
    clock = FakeClock()
    before = clock()
    for wrong in (-1, 0, "soon"):
        with pytest.raises(ConfigurationError):
            clock.advance(wrong)
    assert clock() == before


@pytest.mark.parametrize("fixture", ["make_store", "pass_time"])
def test_the_contract_says_what_to_override(fixture: str) -> None:
    """A subclass that forgets a fixture is told which."""
    function = getattr(StoreContract, fixture).__wrapped__
    with pytest.raises(NotImplementedError, match=fixture):
        function(StoreContract())


def test_no_other_names() -> None:
    """A name that is not there is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="nothing"):
        wren_sessions.testing.nothing  # noqa: B018


def test_the_clock_does_without_pytest() -> None:
    """An application may use the clock where pytest is not installed."""
    code = (
        "import sys; from wren_sessions.testing import FakeClock; FakeClock();"
        "assert 'pytest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

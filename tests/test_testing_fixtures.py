"""The fixtures for applications, and the page that shows them: its examples are run as tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parent.parent / "docs/how-to/test-your-app.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLUGIN = 'pytest_plugins = ["wren_sessions.testing.fixtures"]\n'
SETTINGS = """
[tool.pytest.ini_options]
filterwarnings = ["error"]
asyncio_default_fixture_loop_scope = "function"
"""


def run(pytester: pytest.Pytester, conftest: str, tests: str) -> pytest.RunResult:
    """Run tests of an application in a process of their own."""
    pytester.makepyprojecttoml(SETTINGS)
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)
    return pytester.runpytest_subprocess()


def test_the_page_is_a_test_of_an_app(pytester: pytest.Pytester) -> None:
    """What ``docs/how-to/test-your-app.md`` shows passes: its first block is the conftest."""
    conftest, *rest = BLOCK.findall(PAGE.read_text("utf-8"))
    assert conftest.endswith(PLUGIN)
    tests = "\n\n".join(rest)
    run(pytester, conftest, tests).assert_outcomes(passed=tests.count("\ndef test_"))


def test_the_fixtures_of_a_test_belong_together(pytester: pytest.Pytester) -> None:
    """Store, clock and saver are one place; the next test has another one."""
    tests = """
        import pytest
        from wren_sessions import Sessions

        @pytest.mark.parametrize("number", [1, 2])
        def test_one(session_store, session_clock, session_saver, number):
            assert session_store.list_sessions().sessions == ()
            assert session_saver.store is session_store
            life = Sessions(session_store).save("s", {"number": number}).life
            assert life.created_ms == session_clock()
            session_clock.advance("24h")
            assert session_store.info("s") is None
    """
    run(pytester, PLUGIN, tests).assert_outcomes(passed=2)


def test_the_fixtures_load_no_langgraph(pytester: pytest.Pytester) -> None:
    """An app without LangGraph pays for none; nor does one that asks for no fixture."""
    tests = """
        import sys

        def test_none():
            assert "wren_sessions.testing.fixtures" in sys.modules

        def test_store(session_store):
            assert not {"langgraph", "redis"} & sys.modules.keys()
    """
    run(pytester, PLUGIN, tests).assert_outcomes(passed=2)


def test_without_the_plugin_there_are_no_fixtures(pytester: pytest.Pytester) -> None:
    """The fixtures come by name only: installing the package changes no test run."""
    tests = """
        import sys

        def test_none():
            assert "wren_sessions" not in sys.modules

        def test_store(session_store):
            pass
    """
    run(pytester, "", tests).assert_outcomes(passed=1, errors=1)

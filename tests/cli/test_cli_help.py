"""Help and documentation: nothing is left out, and what is printed works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from cli.running import Cli
from wren_sessions.cli._app import COMMANDS, command_of
from wren_sessions.cli._help import SHARED

DOCS: Final = Path(__file__).parents[2] / "docs"
REFERENCE: Final = (DOCS / "reference/cli.md").read_text()
BLOCK: Final = re.compile(r"^```(python|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def section(name: str) -> str:
    """What the reference says of a command."""
    _, _, rest = REFERENCE.partition(f"\n### {name}\n")
    return rest.partition("\n### ")[0]


def params(name: str) -> list[Any]:
    """A command's arguments and options of its own."""
    return [param for param in command_of(name).params if param.name not in SHARED]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    """In its help, and in the reference with the same words."""
    command = command_of(name)
    text = section(name)
    assert text, f"docs/reference/cli.md has no part about {name}"
    first = command.help.partition("\n\n")[0]
    assert first in " ".join(text.split())
    for param in params(name):
        assert param.help, f"{name}: {param.name} has no help"
        for option in (*param.opts, *param.secondary_opts):
            shown = param.metavar if param.param_type_name == "argument" else option
            assert f"`{shown}`" in text, f"{name} {option} is not in docs/reference/cli.md"


def test_shared_options_are_documented_once() -> None:
    """In the part about all commands."""
    top = REFERENCE.partition("\n## Exit codes")[0]
    for param in command_of("list").params:
        if param.name in SHARED:
            assert param.help
            assert all(f"`{option}`" in top for option in param.opts)


def test_the_reference_has_no_command_too_many() -> None:
    """What was taken away is not described."""
    described = re.findall(r"^### (\w+)$", REFERENCE, re.MULTILINE)
    assert described == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_are_command_lines(name: str, cli: Cli) -> None:
    """Each names the command, and only options that it has."""
    command = command_of(name)
    examples = command.epilog.splitlines()
    assert examples
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for example in examples:
        program, called, *rest = shlex.split(example)
        assert (program, called) == ("wren-sessions", name)
        assert {word for word in rest if word.startswith("-")} <= known
    help_ = cli(name, "--help")
    assert help_.code == 0
    assert all(f"  {example}" in help_.lines for example in examples)
    assert max(map(len, help_.lines)) <= 100


def test_the_help_lists_every_command(cli: Cli) -> None:
    """With a line about each."""
    listed = cli("--help").out
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", listed, re.MULTILINE), name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_ids(cli: Cli, file_url: str, shell: str, monkeypatch: Any) -> None:
    """And commands; without a store there is nothing, and no error."""
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    words = f"wren-sessions show --url {file_url} cli_"
    monkeypatch.setenv("_WREN_SESSIONS_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_WORD_TO_COMPLETE", "cli_")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", "4")
    assert "cli_20251108_145739" in cli().out
    nowhere = f"wren-sessions show --url {file_url}.no cli_"
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", nowhere)
    monkeypatch.setenv("COMP_WORDS", nowhere)
    found = cli()
    assert "cli_2025" not in found.out
    assert "error" not in found.err


def test_the_how_to_works_as_printed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python, then its command lines, one after the other."""
    scope: dict[str, object] = {}
    for kind, text in BLOCK.findall((DOCS / "how-to/see-your-sessions.md").read_text()):
        if kind == "python":
            exec(compile(text, "see-your-sessions.md", "exec"), scope)  # noqa: S102 -- our own
            continue
        for line in text.splitlines():
            program, *argv = shlex.split(line.partition(" | ")[0])
            if program == "export":
                monkeypatch.setenv(*argv[0].split("=", 1))
                continue
            found = cli(*argv)
            assert (program, found.code) == ("wren-sessions", 0), (line, found)


def test_commands_named_in_the_pages_exist() -> None:
    """In the how-tos, each command and option that is mentioned."""
    pages = [DOCS / "how-to" / f"{name}.md" for name in ("the-guide-today", "redis-cloud")]
    for page in pages:
        for name, rest in re.findall(r"wren-sessions ([a-z]+)([^`\n]*)", page.read_text()):
            known = {option for param in command_of(name).params for option in param.opts}
            used = {word for word in rest.split() if re.fullmatch(r"--?[a-z-]+", word)}
            assert used - {"-f", "1"} <= known | {"-f"}, (page.name, name, used)


@pytest.mark.parametrize("module", ["wren_sessions", "wren_sessions.cli"])
def test_the_command_is_a_module_too(module: str) -> None:
    """Both ways: the second one is that of 0.1.0, and scripts have it."""
    done = subprocess.run(
        [sys.executable, "-m", module, "list", "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: wren-sessions list" in done.stdout

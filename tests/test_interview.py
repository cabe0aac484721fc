"""The interview example, as its users meet it: on every backend, in processes that die."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from interview_example import (
    ANSWERS,
    EXAMPLE,
    analysis,
    conversation,
    demo,
    files,
    graph,
    run,
    said_by,
    talk_through,
    terminal,
)
from wren_sessions import SessionNotFoundError, SessionSaver, open_store

SETTINGS = re.compile(r"WREN_SESSIONS_|REDIS_")
PATIENCE_S = 60
TUTORIAL = EXAMPLE.parents[1] / "docs" / "tutorials" / "interview.md"


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no settings from outside; child processes inherit both."""
    monkeypatch.chdir(tmp_path)
    for name in filter(SETTINGS.match, list(os.environ)):
        monkeypatch.delenv(name)


@pytest.fixture(params=["file", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that outlives a process."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"file://{tmp_path}/interview.db"


@pytest.fixture(params=["memory", "file", "redis"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of any kind."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return {"memory": "memory://", "file": f"file://{tmp_path}/any.db"}[request.param]


# --- a whole interview ----------------------------------------------------------------------------


def test_a_whole_interview_on_every_backend(any_url: str) -> None:
    """Eight answers, each kept once and in order, then goodbye, with all numbers filled in."""
    with closing(open_store(any_url)) as store:
        talk = conversation.Conversation(graph.build_graph(SessionSaver(store)), "whole")
        assert talk_through(talk, ANSWERS) == list(range(1, graph.TURNS + 1))
        state = talk.state
        assert talk.waiting() is None
        info = store.info("whole")
    assert said_by(state, "human") == ANSWERS
    assert said_by(state, "ai")[-1] == graph.CLOSING
    assert (state["turn_count"], state["is_complete"]) == (graph.TURNS, True)
    assert state["current_analysis"] == analysis.measure(ANSWERS)
    assert state["profile_data"]["words"] == sum(len(analysis.words(answer)) for answer in ANSWERS)
    assert info is not None
    assert json.loads(info.state)["checkpoint"]["turn_count"] == graph.TURNS


def test_a_session_that_goes_away_while_the_person_thinks(any_url: str) -> None:
    """The answer is refused with a clear error, and no fragment of a session is left behind."""
    with closing(open_store(any_url)) as store:
        talk = conversation.Conversation(graph.build_graph(SessionSaver(store)), "gone")
        talk.waiting()
        talk.answer(ANSWERS[0])
        store.delete("gone")
        with pytest.raises(SessionNotFoundError, match="'gone': not found or expired"):
            talk.answer(ANSWERS[1])
        assert store.info("gone") is None


class PowerCutError(Exception):
    """The process is gone."""


class Fuse:
    """Lets so many writes through, then none."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.cut = False

    def burn(self) -> None:
        """One write."""
        self.left -= 1
        if self.left < 0:
            self.cut = True
            raise PowerCutError


class FusedSaver(SessionSaver):
    """A saver that writes through a fuse."""

    fuse: Fuse

    def put(self, *args: Any, **named: Any) -> Any:
        """Write a checkpoint, or die."""
        self.fuse.burn()
        return super().put(*args, **named)

    def put_writes(self, *args: Any, **named: Any) -> None:
        """Write pending writes, or die."""
        self.fuse.burn()
        super().put_writes(*args, **named)


def survive(fuse: Fuse) -> graph.Interview:
    """An interview whose process dies when the fuse does, and which is then taken up again."""
    with closing(open_store("memory://")) as store:
        saver = FusedSaver(store)
        saver.fuse = fuse
        try:
            talk_through(conversation.Conversation(graph.build_graph(saver), "cut"), ANSWERS)
        except PowerCutError:
            talk_through(
                conversation.Conversation(graph.build_graph(SessionSaver(store)), "cut"), ANSWERS
            )
        return conversation.Conversation(graph.build_graph(SessionSaver(store)), "cut").state


def test_death_at_any_write_loses_and_doubles_nothing() -> None:
    """Wherever the power goes, the resumed interview ends as an uninterrupted one does."""
    undisturbed = survive(Fuse(10_000))
    for writes in range(1_000):
        fuse = Fuse(writes)
        state = survive(fuse)
        assert said_by(state, "ai") == said_by(undisturbed, "ai"), writes
        assert said_by(state, "human") == ANSWERS, writes
        assert state["is_complete"], writes
        if not fuse.cut:
            break
    assert writes > graph.TURNS


# --- the command line -----------------------------------------------------------------------------


def answers_file(folder: Path, answers: list[str]) -> str:
    """A file with these answers."""
    path = folder / "some-answers.txt"
    path.write_text("\n\n".join(answers), encoding="utf-8")
    return str(path)


def begin(url: str, folder: Path, answers: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """A new interview with these answers; its session."""
    assert run.main(["--url", url, "--answers", answers_file(folder, answers)]) == 0
    return session_in(capsys.readouterr().out)


def session_in(shown: str) -> str:
    """The session that an interview says it is."""
    found = re.search(r"^Session (\S+)$", shown, re.MULTILINE)
    assert found is not None
    return found[1]


def logged(path: Path) -> list[str]:
    """What the person said, as the log has it."""
    messages = json.loads(path.read_text(encoding="utf-8"))["messages"]
    return [message["content"] for message in messages if message["role"] == "user"]


def test_the_command_stops_when_the_answers_end_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopping is no failure, the hint is a command, and the resumed interview can be finished."""
    url = f"file://{tmp_path}/x.db"
    assert run.main(["--url", url, "--answers", answers_file(tmp_path, ANSWERS[:3])]) == 0
    shown = capsys.readouterr().out
    session = re.findall(r"--session (\S+)", shown)[0]
    assert re.fullmatch(r"cli_\d{8}_\d{6}", session)
    assert "To go on:" in shown
    assert f"--url {url}" in shown
    rest = answers_file(tmp_path, ANSWERS[3:])
    assert run.main(["--url", url, "--session", session, "--answers", rest]) == 0
    assert "Resumed: 3 of 8 questions are answered." in capsys.readouterr().out
    assert logged(tmp_path / "user_profiles" / session / files.CONVERSATION) == ANSWERS


def test_a_session_that_is_not_there_is_said_so(
    any_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and one clear line; nothing is made under that name."""
    for _ in range(2):
        assert run.main(["--url", any_url, "--session", "cli_20200101_000000"]) == run.NOT_FOUND
        shown = capsys.readouterr()
        assert shown.err == "session 'cli_20200101_000000': not found or expired\n"
        assert shown.out == ""


def test_a_complete_session_tells_where_its_files_are_and_writes_missing_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is there stays as it is, one that is missing comes back as it was."""
    url = f"file://{tmp_path}/x.db"
    session = begin(url, tmp_path, ANSWERS, capsys)
    log, profile = files.paths(Path("user_profiles"), session)
    before = log.read_bytes()
    log.unlink()
    profile.write_text("edited by hand")
    assert run.main(["--url", url, "--session", session]) == 0
    shown = capsys.readouterr().out
    assert "This interview is complete." in shown
    assert f"Wrote {log}\nFound {profile}\n" in shown
    assert log.read_bytes() == before
    assert profile.read_text() == "edited by hand"


def test_a_session_that_was_taken_but_never_begun_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that died right after it took its id leaves a session at the first question."""
    url = f"file://{tmp_path}/x.db"
    with closing(open_store(url)) as store:
        session = run.new_session(store)
    given = answers_file(tmp_path, ANSWERS)
    assert run.main(["--url", url, "--session", session, "--answers", given]) == 0
    assert "Resumed: 0 of 8" in capsys.readouterr().out
    assert logged(files.paths(Path("user_profiles"), session)[0]) == ANSWERS


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "redis://:hidden@127.0.0.1:1"],
        ["--url", "nonsense://somewhere"],
        ["--url", "file:x.db", "--session", ""],
        ["--url", "memory://", "--answers", "no-such-file.txt"],
    ],
)
def test_errors_are_one_line_without_a_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and no password."""
    assert run.main(arguments) == run.FAILED
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert "hidden" not in shown


def test_nothing_configured_means_a_file_in_the_working_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example keeps its sessions without any set-up, and says where."""
    assert run.main(["--answers", answers_file(tmp_path, [])]) == 0
    assert (tmp_path / "interview.db").exists()
    assert "interview.db" in capsys.readouterr().out


def test_the_environment_chooses_the_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is configured wins over the example's own default."""
    monkeypatch.setenv("WREN_SESSIONS_URL", "file:elsewhere.db")
    assert run.main(["--answers", answers_file(tmp_path, [])]) == 0
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "interview.db").exists()


def test_a_session_in_memory_is_not_offered_for_resuming(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ends with the process is said to do so."""
    given = answers_file(tmp_path, ANSWERS[:1])
    assert run.main(["--url", "memory://", "--answers", given]) == 0
    shown = capsys.readouterr().out
    assert "end with this process" in " ".join(shown.split())
    assert "--session" not in shown


def test_the_hint_holds_no_password() -> None:
    """A URL with credentials is left out of the command to copy."""
    options = run.parse(["--url", "redis://user:secret@host:6379/0"])
    assert "secret" not in run.resume_command("s", options)
    assert "--url" in run.resume_command("s", run.parse(["--url", "redis://host"]))


def test_an_empty_answer_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blank lines are no answers, the end of the input is none at all."""
    typed = iter(["", "   ", " at last "])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    assert terminal.ask_person() == "at last"
    assert capsys.readouterr().out.count("A word or two will do.") == 2


# --- several processes ----------------------------------------------------------------------------


def process(*arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """The real command in a process of its own."""
    return python(str(EXAMPLE / "run.py"), *arguments)


@contextmanager
def python(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process with pipes, killed if it takes too long."""
    command = [sys.executable, "-X", "utf8", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8") as running:
        watchdog = threading.Timer(PATIENCE_S, running.kill)
        watchdog.start()
        try:
            yield running
        finally:
            watchdog.cancel()
            running.kill()


def read_until(running: subprocess.Popen[str], mark: str) -> str:
    """What it prints up to and including the first line with this mark."""
    assert running.stdout is not None
    shown = ""
    for line in running.stdout:
        shown += line
        if mark in line:
            return shown
    pytest.fail(f"{mark!r} never came: {shown}")


def type_in(running: subprocess.Popen[str], *answers: str) -> None:
    """Type these answers, a line each."""
    assert running.stdin is not None
    running.stdin.write("".join(f"{answer}\n" for answer in answers))
    running.stdin.flush()


def test_killed_between_two_answers_and_resumed(url: str, tmp_path: Path) -> None:
    """After SIGKILL at the fourth question the next process asks it, and has all three answers."""
    with process("--url", url) as first:
        type_in(first, *ANSWERS[:3])
        shown = read_until(first, "4/8")
        first.send_signal(signal.SIGKILL)
        assert first.wait(PATIENCE_S) == -signal.SIGKILL
    session = session_in(shown)
    with process("--url", url, "--session", session) as second:
        again, _ = second.communicate("".join(f"{answer}\n" for answer in ANSWERS[3:]))
        assert second.returncode == 0
    assert "Resumed: 3 of 8" in again
    assert demo.questions(again)[0] == demo.questions(shown)[-1]
    assert logged(tmp_path / "user_profiles" / session / files.CONVERSATION) == ANSWERS


def test_killed_again_and_again_while_at_work(url: str, tmp_path: Path) -> None:
    """Each process dies while it takes its second answer; the log has each once, in order."""
    with closing(open_store(url)) as store:
        session = run.new_session(store)
    for _ in range(3):
        with process("--url", url, "--session", session) as running:
            number = asked_first(running)
            type_in(running, *ANSWERS[number - 1 : number + 1])
            read_until(running, f"{number + 1}/8")
            running.send_signal(signal.SIGKILL)
    with process("--url", url, "--session", session) as running:
        number = asked_first(running)
        running.communicate("".join(f"{answer}\n" for answer in ANSWERS[number - 1 :]))
        assert running.returncode == 0
    assert logged(tmp_path / "user_profiles" / session / files.CONVERSATION) == ANSWERS


def asked_first(running: subprocess.Popen[str]) -> int:
    """The number of the first question it asks."""
    return int(read_until(running, "/8  ").splitlines()[-1].split("/")[0])


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    """SIGINT at a question ends with 130, the command to resume, and no traceback."""
    with process("--url", f"file://{tmp_path}/x.db") as running:
        type_in(running, ANSWERS[0])
        read_until(running, "2/8")
        running.send_signal(signal.SIGINT)
        shown, _ = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == run.INTERRUPTED
    assert "To go on:" in shown
    assert "--session cli_" in shown


def test_end_of_input_says_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-D stops the interview; that is no failure."""
    with process("--url", f"file://{tmp_path}/x.db") as running:
        shown, _ = running.communicate(ANSWERS[0], timeout=PATIENCE_S)
        assert running.returncode == 0
    assert "2/8" in shown
    assert "To go on:" in shown


def test_the_demonstration_succeeds(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What ``nox -s interview`` runs: two processes, one interview, all checks passed."""
    assert demo.main(["--url", url, "--folder", str(tmp_path / "demo")]) == 0
    shown = capfd.readouterr().out
    assert "8 given, 8 kept" in shown
    assert "ok: nothing lost, nothing asked twice" in shown


def test_what_the_demonstration_proposes_works_where_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its last commands show the session and begin another; no temporary file is left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert demo.main([]) == 0
    assert not list(temporary.iterdir())
    end = capfd.readouterr().out.partition("What next")[2]
    show, talk, begin_another = map(shlex.split, re.findall(r"^  (\S.*)$", end, re.MULTILINE))
    assert "complete" in subprocess.check_output(show, encoding="utf-8")
    assert ANSWERS[0] in subprocess.check_output([*talk, "--full"], encoding="utf-8")
    with subprocess.Popen(
        begin_another, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as running:
        shown, _ = running.communicate(ANSWERS[0], timeout=PATIENCE_S)
    assert "To go on:" in shown


def test_commands_are_named_as_the_shell_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name where the shell finds this Python, else by path; nox changes only its own shell."""
    here = str(Path(sys.executable).parent)
    monkeypatch.delenv("NOX_CURRENT_SESSION", raising=False)
    monkeypatch.setenv("PATH", here)
    assert run.command_names() == ("python", "wren-sessions")
    monkeypatch.setenv("NOX_CURRENT_SESSION", "interview")
    assert all(Path(name).exists() for name in run.command_names())
    monkeypatch.delenv("NOX_CURRENT_SESSION")
    monkeypatch.setenv("PATH", "")
    assert run.command_names()[0] == sys.executable


def test_the_demonstration_fails_when_the_question_is_another_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It compares what the processes really asked, over line breaks."""
    first = "\n 1/8  One?\n   > Yes.\n\n 2/8  Two, and\n      more?\n"
    assert demo.resumed(first, "\n 2/8  Two,\n      and more?\n   > No.\n")
    assert not demo.resumed(first, " 1/8  One?\n")
    assert demo.verdict(False, True) == 1


def test_the_demonstration_refuses_a_store_that_ends_with_its_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes need something between them."""
    assert demo.main(["--url", "memory://", "--folder", str(tmp_path)]) == 2
    assert "ends with its process" in capsys.readouterr().err


def test_the_tutorial_shows_what_really_happens() -> None:
    """Each question and answer on the page is that of an interview with the sample answers."""
    with closing(open_store("memory://")) as store:
        talk = conversation.Conversation(graph.build_graph(SessionSaver(store)), "shown")
        talk_through(talk, ANSWERS)
        said = said_by(talk.state, "ai")
    page = TUTORIAL.read_text(encoding="utf-8")
    real = [f"{number}/8 {text}" for number, text in enumerate(said, 1)]
    shown = demo.questions(page)
    assert len(shown) >= 5
    assert set(shown) <= set(real)
    flat = " ".join(page.split())
    assert all(answer in flat for answer in ANSWERS[:3])


# --- session ids ----------------------------------------------------------------------------------


def half_past_two() -> datetime:
    """Always the same second, local time."""
    return datetime(2025, 11, 8, 14, 57, 39)  # noqa: DTZ001 -- ids show local time


def test_a_taken_id_gets_a_number(any_url: str) -> None:
    """The second interview of a second is _2, the third _3, and each exists at once."""
    with closing(open_store(any_url)) as store:
        taken = [run.new_session(store, half_past_two) for _ in range(3)]
        assert all(store.info(session) for session in taken)
    assert taken == ["cli_20251108_145739", "cli_20251108_145739_2", "cli_20251108_145739_3"]


CLAIM = """
import sys
sys.path[:0] = sys.argv[1:2]
import run
from datetime import datetime
with run.open_backend(sys.argv[2]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(10):
        print(run.new_session(store, lambda: datetime(2025, 11, 8, 14, 57, 39)))
"""


def test_processes_that_start_in_the_same_second_never_share_an_id(url: str) -> None:
    """Four processes take ten ids each, all at once: forty different ones."""
    with ExitStack() as stack:
        running = [stack.enter_context(python("-c", CLAIM, str(EXAMPLE), url)) for _ in range(4)]
        for each in running:
            read_until(each, "ready")
        for each in running:
            type_in(each, "go")
        taken = [line for each in running for line in each.communicate()[0].split()]
        assert [each.returncode for each in running] == [0] * 4
    assert len(taken) == len(set(taken)) == 40

"""``conversation`` and ``log``: the dialogue of a session, or of a file, as people read it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wren_sessions.cli._command import Run, command
from wren_sessions.cli._dialogue import Dialogue
from wren_sessions.cli._names import AtCheckpoint, MessagesKey, SessionName, place_of, value_of
from wren_sessions.errors import ConfigurationError, CorruptSessionError, SessionNotFoundError
from wren_sessions.keys import Address
from wren_sessions.transcripts import Message, Transcript
from wren_sessions.transcripts._values import by_name, jsonable, shared_start
from wren_sessions.viewing.overview import overview, transcript_of, with_status
from wren_sessions.viewing.states import Reader, state_of

Tools = Annotated[
    bool,
    typer.Option("--tools", help="Show tool calls, their results, and system messages in full."),
]
Full = Annotated[bool, typer.Option("--full", help="Do not cut very long texts.")]


@command(
    examples="""
    wren-sessions conversation cli_20251108_145739
    wren-sessions conversation cli_20251108_145739 --follow
    wren-sessions conversation cli_20251108_145739 --at 1f0bcb8e-5d2a-6c3e-8001-5b1d0f3f3a10
    wren-sessions conversation cli_20251108_145739 --json
    """
)
def conversation(
    run: Run,
    *,
    session: SessionName,
    at: AtCheckpoint = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Keep printing new messages until the session is complete or gone, or until "
            "Ctrl-C.",
        ),
    ] = False,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", metavar="SECONDS", min=0.1, help="How often to check for messages."
        ),
    ] = 1.0,
    messages: MessagesKey = "messages",
    tools: Tools = False,
    full: Full = False,
) -> None:
    """Show the conversation of a session: its messages in order, with tool calls folded.

    A question that waits for an answer comes last. If the state has no such list, the error names
    what it has; --follow waits for it instead. This needs none of the app's classes, and does
    not change the session.
    """
    if follow and at is not None:
        raise ConfigurationError("--follow does not go with --at: an old checkpoint stays as it is")
    place = place_of(run.store, session, at)
    transcript = transcript_of(run.store, place.session, place.checkpoint_id, messages)
    if not transcript.messages and not follow:
        snapshot = Reader(run.store).snapshot(place.session, place.checkpoint_id)
        if state := by_name(state_of(snapshot)):
            value_of(state, messages)
    shown = Shown(run, Dialogue(run.screen, tools=tools, full=full))
    shown.begin(transcript)
    if follow:
        _follow(run, shown, interval, place, messages)


class Shown:
    """What of a conversation has been shown."""

    def __init__(self, run: Run, dialogue: Dialogue) -> None:
        self._run = run
        self._dialogue = dialogue
        self._said: list[Message] = []
        self._asked: set[str] = set()

    def begin(self, transcript: Transcript) -> None:
        """The conversation so far."""
        if not self._run.as_json:
            self._dialogue.title(transcript)
        self.go_on(transcript)

    def go_on(self, transcript: Transcript) -> None:
        """What was not shown yet; a question only once, though it waits for long."""
        said = [message for message in transcript.messages if not message.pending]
        known = shared_start(
            [(message.role, message.text) for message in self._said],
            [(message.role, message.text) for message in said],
        )
        if known < len(self._said) and not self._run.as_json:
            self._run.screen.note(f"(the conversation has changed from message {known + 1} on)")
        asked = [message for message in transcript.messages if message.pending]
        new = [message for message in asked if message.text not in self._asked]
        self._asked = {message.text for message in asked}
        self._said = said
        self._print([*said[known:], *new])

    def _print(self, messages: Sequence[Message]) -> None:
        if self._run.as_json:
            for message in messages:
                self._run.screen.json(jsonable(message))
        else:
            self._dialogue.messages(messages)
        self._run.screen.flush()


def _follow(run: Run, shown: Shown, interval: float, place: Address, messages: str) -> None:
    """Look until the session is complete or gone."""
    seen = None
    while True:
        info = run.store.info(place.session)
        if info is None:
            run.screen.note("The session is gone: it expired or was deleted.")
            return
        if seen is not None and info.life.revision != seen:
            try:
                shown.go_on(transcript_of(run.store, place.session, place.checkpoint_id, messages))
            except SessionNotFoundError:
                continue
        row = overview(run.store, info)
        if row.complete and with_status(run.store, row).status == "complete":
            run.screen.note("The session is complete.")
            return
        # What was written between the first look and this one counts as not seen.
        seen = -1 if seen is None else info.life.revision
        time.sleep(interval)


@command(
    store=False,
    examples="""
    wren-sessions log user_profiles/cli_20251108_145739/logs/conversation.json
    wren-sessions log conversation.json --tools
    """,
)
def log(
    run: Run,
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A file in the format of conversation.json.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    tools: Tools = False,
    full: Full = False,
) -> None:
    """Show a saved conversation in the same way as the command conversation."""
    try:
        transcript = Transcript.read(file)
    except RecursionError:
        raise CorruptSessionError(f"{file} is nested too deeply to be read", session="") from None
    Shown(run, Dialogue(run.screen, tools=tools, full=full)).begin(transcript)

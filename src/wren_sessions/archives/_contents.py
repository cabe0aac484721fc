"""The contents of one session's archive. Everything is from one checkpoint."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from wren_sessions.archives._exporting import Exporting
from wren_sessions.archives._format import Opening
from wren_sessions.checkpoints import Checkpoints
from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import SessionNotFoundError
from wren_sessions.sessions.operations import SessionOperations
from wren_sessions.transcripts import Profile, Transcript
from wren_sessions.transcripts._building import Transcribing

ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The texts of an archive.

    Attributes:
        opening: the first line of the session's file.
        session: the whole session, as lines.
        transcript: what was said.
        profile: what was found out.
    """

    opening: Opening
    session: str
    transcript: Transcript
    profile: Profile


class Collecting:
    """Collects the contents of archives; see `SessionArchiver` for its channels."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        serde: Serializer,
        messages: str,
        channels: Collection[str],
    ) -> None:
        self._checkpoints = checkpoints
        self._transcribing = Transcribing(checkpoints, serde)
        self._sessions = SessionOperations(checkpoints, serde)
        self._messages = messages
        self._channels = channels

    async def collect(self, session: str) -> Contents:
        """Collect the contents for one session.

        Raises:
            SessionNotFoundError: there is no such session.
            ConflictError: it was pruned or deleted in the meantime.
        """
        for attempt in range(ATTEMPTS):
            export = Exporting(self._checkpoints.store, session, self._checkpoints.protection)
            lines: list[str] = []
            while (more := await export.more()) is not None:
                lines += more
            opening = export.begun
            try:
                return await self._rest(opening, "".join(lines))
            except SessionNotFoundError:  # its latest checkpoint was pruned, or it ended
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError  # the last attempt returns or raises

    async def _rest(self, opening: Opening, lines: str) -> Contents:
        session, head = opening.session, dict(opening.heads).get("")
        transcript = await self._transcribing.run(session, head, self._messages)
        found = await self._sessions.load(session, head)
        profile = Profile.of(
            session,
            found.state,
            channels=self._channels,
            checkpoint_id=head,
            updated=transcript.updated,
        )
        return Contents(opening=opening, session=lines, transcript=transcript, profile=profile)

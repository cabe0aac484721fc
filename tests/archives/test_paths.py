"""The folder of a session: for any id, a safe name of its own."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wren_sessions import InvalidSessionIdError, MemoryStore, SessionArchiver
from wren_sessions.archives._paths import folder_name
from wren_sessions.keys import MAX_ID_BYTES

ids = st.one_of(
    st.text(min_size=1, max_size=80),
    st.text("aAbB.~%/\\: _-éÉßſ\u0301", min_size=1, max_size=6),
    st.text(min_size=200, max_size=400),
).filter(lambda text: len(text.encode("utf-8", "replace")) <= MAX_ID_BYTES)
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\.|$)", re.IGNORECASE)


def usable(session: str) -> bool:
    """Whether a text is a session id."""
    try:
        folder_name(session)
    except InvalidSessionIdError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(ids.filter(usable))
@example("..")
@example(".")
@example("../../etc/passwd")
@example("..\\..\\windows")
@example("/absolute")
@example("C:\\x")
@example("con")
@example("NUL.txt")
@example("name.")
@example("name ")
@example("a" * 1024)
@example("é" * 512)
@example("%2e%2e")
@example("x~1")
def test_a_name_is_one_part_of_a_path(session: str) -> None:
    """No id leads out of the root, and every file system can have the name."""
    name = folder_name(session)
    assert len(name.encode()) <= 200
    assert Path("root", name).parts == ("root", name)
    assert PureWindowsPath("root", name).parts == ("root", name)
    assert not re.search(r'[<>:"/\\|?*\x00-\x20\x7f]', name)
    assert name[0] != "."
    assert name[-1] not in ". "
    assert not DEVICES.match(name)


@settings(max_examples=400, deadline=None)
@given(ids.filter(usable), ids.filter(usable))
@example("Anna", "anna")
@example("a/b", "a%2Fb")
@example("a" * 300, "a" * 301)
@example("é", "e\u0301")
@example("straße", "STRASSE")
@example("K", "\u212a")
def test_two_sessions_never_share_a_folder(one: str, other: str) -> None:
    """Different ids have different names, also where upper and lower case are the same."""
    import unicodedata

    def seen(name: str) -> str:
        return unicodedata.normalize("NFKD", name).casefold()

    if one != other:
        assert seen(folder_name(one)) != seen(folder_name(other))


@pytest.mark.parametrize(
    "session", ["cli_20251108_145739", "9f1c7c1e-8a52-4a0e-9a0e-1d2b3c4d5e6f", "user@example.org"]
)
def test_a_plain_id_is_its_own_name(session: str) -> None:
    """Ids as applications make them are found by looking."""
    assert folder_name(session) == session


@pytest.mark.parametrize("session", ["", "\ud800", "a" * 1025])
def test_what_is_no_id_is_refused(session: str) -> None:
    """An id that no store takes has no folder either."""
    archiver = SessionArchiver(MemoryStore())
    with pytest.raises(InvalidSessionIdError):
        archiver.folder(session)

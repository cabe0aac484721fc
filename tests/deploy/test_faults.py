"""What the Agent Server says where our checkpointer cannot start."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.running import PATH, AgentServer, need_server
from servers import free_port

SECRET = "correct-horse"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no store is configured: set WREN_SESSIONS_URL, for example to file:sessions.db"),
        (f"mongo://ann:{SECRET}@host/db", "no store is known for the URL scheme 'mongo'"),
        (f"redis://:{SECRET}@127.0.0.1:{{port}}/0", "it cannot be used; check host and port"),
        ("file:no/such/folder.db", "no/such is not a directory. Make it first"),
        (f"redis://:{SECRET}@127.0.0.1/0?tll=1h", "unknown option 'tll'"),
    ],
    ids=["nothing", "scheme", "refused", "folder", "option"],
)
def test_a_store_that_cannot_be_used_ends_the_start(tmp_path: Path, url: str, said: str) -> None:
    """The process ends, the last line of the traceback says why, and no line has the password."""
    need_server()
    environment = {"WREN_SESSIONS_URL": url.format(port=free_port())} if url else {}
    server = AgentServer(tmp_path, {"checkpointer": {"path": PATH}, "env": environment})
    assert server.ended() != 0
    faults = [line for line in server.log.splitlines() if line.startswith("wren_sessions.errors.")]
    assert said in faults[-1]
    assert SECRET not in server.log

"""Every text that proposes something is tried by a test, or it is said why none can."""

from __future__ import annotations

from typing import Final

import pytest

from remedies.proposals import Proposal, proposals, tried

# Parts of texts whose advice no test can follow, and why.
_NEWER: Final = "there is no newer version of this package to install"
_ELSEWHERE: Final = "the fault is on another machine, or between the two"
_OTHER_ENGINE: Final = "such an engine cannot be had here"
UNTRIED: Final[dict[str, str]] = {
    "run your own tests on it before you rely on it": _OTHER_ENGINE,
    "start it with --lua": _OTHER_ENGINE,
    "let one server take the writes": _OTHER_ENGINE,
    "turn eviction off in its console": _OTHER_ENGINE,
    "connect to the servers themselves": _OTHER_ENGINE,
    "connect to a server that knows EVAL": _OTHER_ENGINE,
    "use an engine that has these commands": _OTHER_ENGINE,
    "look at CLUSTER NODES": _ELSEWHERE,
    "add a replica: without one no Sentinel": _ELSEWHERE,
    "add replicas: if a primary without a replica": _ELSEWHERE,
    "set both clocks by NTP": "it takes a machine whose clock may be set",
    "and this wren-sessions reads up to {}: upgrade it": _NEWER,
    "and this wren-sessions reads up to {}.{}: upgrade it": _NEWER,
    "and older. Upgrade wren-sessions; the file was left as it is": _NEWER,
    "upgrade it: Redis 6.2 or newer is needed, or Valkey": "no server is so old here",
    "check its spelling, and that this machine's DNS works": _ELSEWHERE,
    "check the network, the VPN and the address": _ELSEWHERE,
    "and that no firewall or list of allowed addresses is blocking the connection": _ELSEWHERE,
    "check the port: this may be a web server or another database": _ELSEWHERE,
    "check host and port, that the server runs, and its log": _ELSEWHERE,
    "and that nothing between mixes up answers": _ELSEWHERE,
    "run the app nearer to its server": _ELSEWHERE,
    "look at the server's log and disk": _ELSEWHERE,
    "Check the disk and the system's log; network file systems": "a disk has to fail",
    "is on a file system without shared memory": "such a file system has to be there",
    "check the file and its folder": "for whatever SQLite says that is not known here",
    "install the package tzdata": "the zones of this machine would have to go",
    "try again soon": "it takes a server that is slow to start",
}

_FOUND: Final = list(proposals())
_TRIED: Final = dict(tried())


@pytest.mark.parametrize("proposal", _FOUND, ids=lambda found: found.place)
def test_a_proposal_is_tried(proposal: Proposal) -> None:
    """By a test with `tries`, which names a part of the text."""
    known = [part for part in (*_TRIED, *UNTRIED) if part in proposal.text]
    assert known, (
        f"nobody tries what {proposal.place} proposes: {proposal.text!r}. Do it in a test marked "
        "with @tries('a part of the text'), or say in UNTRIED why no test can"
    )


@pytest.mark.parametrize("part", sorted({*_TRIED, *UNTRIED}))
def test_what_is_tried_is_proposed(part: str) -> None:
    """A text that is gone, or that says something else now, needs no test of its advice."""
    assert any(part in proposal.text for proposal in _FOUND)


def test_proposals_are_found() -> None:
    """By their grammar, wherever they stand."""
    texts = "\n".join(proposal.text for proposal in _FOUND)
    assert "choose another id, or load it" in texts
    assert "SafeSerializer(allow=[" in texts
    assert len(_FOUND) > 100

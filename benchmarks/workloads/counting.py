"""What the official Redis saver sends and receives, where there is no server with its modules.

It is counted against a stand-in, see `benchmarks.standin`, and joins the table of bytes and trips;
it is timed nowhere. Every checkpoint holds the whole list, so a chat need not grow to be long: it
begins with a checkpoint of as many messages.
"""

from __future__ import annotations

from typing import Final

from benchmarks.faces import Face
from benchmarks.peers import peer_named
from benchmarks.probes import probe
from benchmarks.runs import Run, Stand
from benchmarks.sites import Place, Sites, UnavailableError
from benchmarks.standin import standing_in
from benchmarks.workloads import chats
from benchmarks.workloads.conversations import Conversation

NAME: Final = "counting"
PEER: Final = "RedisSaver"


def _has_modules(sites: Sites) -> bool:
    try:
        return bool(sites.modules)
    except UnavailableError:
        return False


async def run(run: Run) -> None:
    """Count a turn at all lengths."""
    peer = peer_named(PEER)
    if peer not in run.peers or _has_modules(run.sites):
        return
    key = run.key(chats.NAME, peer)
    with standing_in() as stand_in:
        place = Place(peer.backend, stand_in.url)
        try:
            async with peer.open(place.address, run.face, False) as saver:
                face = Face(saver, run.face)
                for size in run.sizes.probes:
                    chat = Conversation(face, f"counted-{size}")
                    await chat.begin(size)
                    await probe(run.results, key, size, Stand(peer, face, place, chat))
        except Exception as error:  # noqa: BLE001 -- whatever fails is reported
            run.results.fail(run.key(NAME, peer), error)

"""The pictures in the documentation, as a browser shows the pages.

``WREN_WRITE_PICTURES=1`` writes them anew; else this looks whether they are of these pages.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from web.browsing import Browser, served
from web.graphs import approving, asking
from wren_sessions import MemoryStore, Sessions, SessionSaver, TTLPolicy

PICTURES = Path(__file__).parents[2] / "docs/how-to/pictures"
SHOWN = {
    "web-sessions.png": (1_200, 620, "light", ""),
    "web-conversation.png": (900, 760, "light", "session?id=order_8841"),
    "web-time-line.png": (900, 760, "dark", "history?id=what_if"),
    "web-inbox.png": (390, 760, "dark", "inbox"),
}
ANSWER = """Your order **8841** left Utrecht yesterday:

| when | where |
|---|---|
| Monday | packed |
| Tuesday | at the carrier |

You can follow it on [the carrier's page](https://example.org/8841)."""


@pytest.fixture
def store() -> MemoryStore:
    """Sessions of a shop."""
    store = MemoryStore(ttl=TTLPolicy(idle="24h"))
    sessions = Sessions(store)
    for number, words in enumerate(("Do you ship to Norway?", "My code does not work", "Thanks!")):
        said = [HumanMessage(words), AIMessage("Let me look.")]
        sessions.save(f"visitor_{number}", {"messages": said, "turn_count": 1})
    call = {"name": "track_order", "args": {"order": 8841}, "id": "1"}
    said = [
        SystemMessage("You help the customers of a shop."),
        HumanMessage("Where is my order?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage('{"status": "at the carrier"}', tool_call_id="1"),
        AIMessage(ANSWER),
        HumanMessage("Great, thank you."),
    ]
    sessions.annotate("visitor_1", owner="ann", tags=["voucher"])
    for count in (2, 4, 5, 6):
        sessions.save("order_8841", {"messages": said[:count], "turn_count": count // 3})
    sessions.annotate("order_8841", owner="ann", title="Where is order 8841?")
    begin: Any = {"messages": [HumanMessage("I want my money back")]}
    approval = approving.compile(checkpointer=SessionSaver(store))
    approval.invoke(begin, Sessions.thread("refund_17"))
    graph, config = asking.compile(checkpointer=SessionSaver(store)), Sessions.thread("what_if")
    graph.invoke(begin, config)
    history = list(graph.get_state_history(config))
    graph.update_state(history[0].config, {"turn_count": 2})
    graph.update_state(history[0].config, {"turn_count": 40})
    graph.invoke(begin, config)
    return store


def test_pictures_of_the_documentation(browser: Browser, store: MemoryStore) -> None:
    """Each is of a page as it is shown now, and small enough to be read with the text."""
    write = os.environ.get("WREN_WRITE_PICTURES") == "1"
    try:
        with served(store, write=True, graph=asking) as address:
            browser.open(address)
            for name, (width, height, theme, page) in SHOWN.items():
                browser.size(width, height, theme)
                browser.open(address.partition("?")[0] + page)
                browser.find("h1")
                picture = browser.driver.get_screenshot_as_png()
                assert size_of(picture) == (width, height)
                if write:
                    PICTURES.mkdir(exist_ok=True)
                    (PICTURES / name).write_bytes(picture)
                kept = (PICTURES / name).read_bytes()
                assert size_of(kept) == (width, height)
                assert len(kept) < 150_000
            browser.open("about:blank")
    finally:
        browser.size(1_440, 900)
    assert {path.name for path in PICTURES.iterdir()} == set(SHOWN)


def size_of(picture: bytes) -> tuple[int, int]:
    """The width and height of a PNG."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    return width, height

"""What is in a session does nothing: in a real browser, with everything that attacks bring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from selenium.common.exceptions import NoAlertPresentException

from web.attacks import HOSTILE
from web.browsing import Browser, served
from web.graphs import State
from wren_sessions import MemoryStore, Sessions, SessionSaver, open_store
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Commit, Record, Start
from wren_sessions.serializers import new_checkpoint_id

OUT = "//127.0.0.1:9/stolen"
ATTACKS = (
    *HOSTILE,
    *(text.replace("//evil.example", OUT) for text in HOSTILE if "evil" in text),
    "<script>window.attacked = 1</script>",
    "<img src=x onerror='window.attacked=1'>",
    "<svg><script>window.attacked=1</script></svg>",
    f"<link rel=stylesheet href={OUT}><style>@import '{OUT}'</style>",
    f"<meta http-equiv=refresh content='0;url=http:{OUT}'>",
    f"<base href={OUT}>",
    f"<form action={OUT}><button autofocus onfocus=window.attacked=1>x</button></form>",
    f"<object data={OUT}></object><embed src={OUT}><video src={OUT} autoplay onerror=alert(1)>",
    f"![a]({OUT}) ![b](<{OUT}> 'c') [![d]({OUT})]({OUT})",
    "</textarea><script>window.attacked=1</script>",
    "</title></style></script><script>window.attacked=1</script>",
    "{{ 7*7 }}{% for x in range(9) %}{{ x }}{% endfor %}${7*7}",
    "'\"><body onload=window.attacked=1>",
    "\u202e\u2066\u200b\ufeff\u0000\u0008\u001b[2J\u2028\u2029\U000e0041",
    "Z\u0351\u036b\u0343" * 200,
)
NODE = "<img src=x onerror='window.attacked=1'>\"'{{ 7*7 }}"
OWNER = "<script>window.attacked=1</script>'\""
TAGS = ["<img src=x onerror=window.attacked=1>", '"><svg/onload=alert(1)>']
ID = "evil\"'><script>window.attacked=1</script>"


def attack(store: SessionStore) -> None:
    """Save sessions whose every text attacks, in each place where a page shows one."""
    sessions = Sessions(store, header=["title"])
    said: list[object] = []
    for number, text in enumerate(ATTACKS):
        call = {"name": text, "args": {text: text}, "id": f"c{number}"}
        said += [
            HumanMessage(text, name=text),
            AIMessage(text, tool_calls=[call]),
            ToolMessage(text, tool_call_id=f"c{number}", status="error"),
            SystemMessage(text),
            {"role": text, "content": text},
        ]
    for number in range(0, len(said), 50):
        name = f"{ID}{number}"
        state = {"messages": said[number : number + 50], "title": ID, ID: ID}
        sessions.save(name, {"title": "before", ID: [1]})
        sessions.save(name, state | {text: text for text in ATTACKS if "\x00" not in text})


def node(text: str, asked: Any) -> Any:
    """A compiled graph of one node with a hostile name, which asks for something."""
    builder: Any = StateGraph(State)
    builder.add_node(text, lambda state: {"answers": [interrupt(asked)]})
    builder.add_edge(START, text)
    return builder


def ask(store: SessionStore) -> list[tuple[str, str]]:
    """Have graphs ask, fail and call subgraphs; their sessions, and the namespaces in them."""
    every = dict(enumerate(ATTACKS))
    calls = [{"name": text, "args": {text: text}, "description": text} for text in ATTACKS]
    reviews = [{"action_name": text, "allowed_decisions": [text]} for text in ATTACKS]
    for number, asked in enumerate(
        (
            *({"question": text, text: text} for text in (ATTACKS[0], "\n".join(ATTACKS))),
            {"question": every, "options": list(ATTACKS)},
            {"action_requests": calls, "review_configs": reviews},
        )
    ):
        outer: Any = StateGraph(State)
        outer.add_node(NODE, node(NODE, asked).compile())
        outer.add_edge(START, NODE)
        graph = outer.compile(checkpointer=SessionSaver(store, header=["answers"]))
        config = {"configurable": {"thread_id": f"{ID}asks{number}"}}
        metadata = {"metadata": {NODE: NODE, "source": NODE}, "tags": [NODE], "run_name": NODE}
        graph.invoke({"messages": [], "answers": list(ATTACKS)}, config | metadata)

    def fail(state: State) -> None:
        raise RuntimeError("\n".join(ATTACKS))

    failing: Any = StateGraph(State)
    failing.add_node(NODE, fail)
    failing.add_edge(START, NODE)
    graph = failing.compile(checkpointer=SessionSaver(store))
    with pytest.raises(RuntimeError):
        graph.invoke({"messages": []}, {"configurable": {"thread_id": f"{ID}fails"}})
    sessions = Sessions(store)
    sessions.annotate(f"{ID}fails", owner=OWNER, tags=TAGS)
    return [
        (info.session, namespace)
        for info in store.list_sessions(None, 100).sessions
        for namespace, _ in store.heads(info.session)
        if namespace
    ]


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """Each kind of store that outlives a process, empty."""
    file = f"file:{tmp_path}/sessions.db"
    url = file if request.param == "file" else request.getfixturevalue("redis_url")
    with open_store(url, dotenv=False) as found:
        yield found


def check_quiet(browser: Browser, base: str) -> None:
    """Make sure that nothing happened on the page that is open."""
    with pytest.raises(NoAlertPresentException):
        browser.driver.switch_to.alert.accept()
    assert browser.run("return window.attacked") is None
    assert browser.run("return document.scripts.length") == 1
    assert browser.driver.current_url.startswith(base)
    assert browser.console() == []
    assert [url for url in browser.requests() if not url.startswith(base)] == []


def test_hostile_content_does_nothing(browser: Browser, store: SessionStore) -> None:
    """No dialog, no request to elsewhere, no error in the console, on any page."""
    attack(store)
    names = sorted(info.session for info in store.list_sessions(None, 100).sessions)
    assert len(names) > 2
    pages = ["", "?q=" + quote(ATTACKS[0])]
    for name in names:
        found = quote(name)
        pages += [f"{page}?id={found}" for page in ("session", "history", "state")]
    pages += [f"diff?id={quote(names[0])}&a={first_of(store, names[0])}"]
    look_at(browser, store, pages)


def test_hostile_questions_and_graphs_do_nothing(browser: Browser, store: SessionStore) -> None:
    """Neither do questions, calls to approve, errors, nodes, namespaces, metadata, owners, tags."""
    spaces = ask(store)
    assert len(spaces) == 4
    names = [info.session for info in store.list_sessions(None, 100).sessions]
    assert len(names) == 5
    pages = ["", "inbox", f"?owner={quote(OWNER)}&tag={quote(TAGS[0])}"]
    for name in names:
        pages += [f"{page}?id={quote(name)}" for page in ("session", "history", "state")]
    for name, space in spaces:
        about = f"id={quote(name)}&ns={quote(space)}"
        pages += [f"history?{about}", f"state?{about}&internal=1"]
    look_at(browser, store, pages, graph=node("n", "?"))


def look_at(browser: Browser, store: SessionStore, pages: list[str], **settings: Any) -> None:
    """Open pages, unfold and touch all that is on them, and make sure that nothing happened."""
    with served(store, write=True, **settings) as address:
        base = address.partition("?")[0]
        browser.open(address)
        browser.find("h1")
        browser.console()
        browser.requests()
        for page in pages:
            browser.open(base + page)
            browser.find("h1")
            browser.run(
                "for (const each of document.querySelectorAll('details')) each.open = true;"
                "for (const each of document.querySelectorAll('main *')) {"
                "  each.dispatchEvent(new MouseEvent('mouseover', { bubbles: true })); }"
            )
            check_quiet(browser, base)
            assert browser.run("return document.querySelectorAll('main a[href^=j]').length") == 0
            if page == "inbox":
                browser.says("4 sessions wait for a person")
                assert len(browser.all("fieldset")) == len(ATTACKS)
        browser.open("about:blank")


def first_of(store: SessionStore, session: str) -> str:
    """A session's first checkpoint."""
    return store.scan(session, [Start("")], 1_000).records[-1].name[1]


def test_very_large_sessions_open(browser: Browser) -> None:
    """Messages of 5 MB, and 20,000 checkpoints: a page is shown, and the way to the rest."""
    store = MemoryStore()
    sessions = Sessions(store)
    sessions.save(
        "large", {"messages": [HumanMessage("x" * 5_000_000), AIMessage("<b>" * 2_000_000)]}
    )
    sessions.save("long", {"n": 1, "messages": ["hi"]})
    (record,) = store.scan("long", [Start("")], 1).records
    parent = record.name[1]
    for number in range(20_000):
        name = ("", new_checkpoint_id())
        new = Record(name=name, parent_id=parent, body=record.body, spans=record.spans)
        store.commit(Commit(session="long", token=str(number), record=new))
        parent = name[1]
    with served(store) as address:
        base = address.partition("?")[0]
        browser.open(address)
        browser.says("long")
        browser.console()
        browser.requests()
        browser.open(f"{base}session?id=large")
        browser.says("more characters, as plain text")
        assert browser.run("return document.body.textContent.length") < 100_000
        check_quiet(browser, base)
        whole = browser.find("a[href^=raw]").get_attribute("href")
        assert browser.fetch(f"fetch('{whole}').then((a) => a.text()).then((t) => t.length)") > 4e6
        for page in ("history", "session", "state"):
            browser.open(f"{base}{page}?id=long")
            browser.find("h1")
            check_quiet(browser, base)
        browser.open(f"{base}history?id=long")
        browser.link("Earlier checkpoints")
        browser.says("Latest")
        browser.open("about:blank")

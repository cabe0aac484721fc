"""The pages to look at: what they say, page by page, also of what is damaged."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from starlette.testclient import TestClient

from cli.sample_app import HOSTILE, talk
from remedies.proposals import tries
from web.asking import client_of, words
from web.graphs import approving
from wren_sessions import Encryption, MemoryStore, Sessions, SessionSaver, TTLPolicy, open_store
from wren_sessions.protocols import SessionStore
from wren_sessions.testing import FakeClock
from wren_sessions.web._index import Index, Query
from wren_sessions.web._views import conversation

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


def ids(client: TestClient, address: str = "/") -> list[str]:
    """The sessions that a list shows."""
    rows = client.get(address).text.split('<th scope="row"')[1:]
    return [row.partition("session?id=")[2].partition('"')[0] for row in rows]


# --- the list -------------------------------------------------------------------------------------


def test_the_list_shows_what_the_command_shows(reader: TestClient) -> None:
    """Title or first words, status, last words, turns and messages of each session."""
    found = words(reader.get("/"))
    assert "8 sessions" in found
    assert "Hello cli_20251108_145739 complete ai: Thanks for telling me" in found
    assert "web_visitor waiting Question 1: how are you?" in found
    assert "broken failed" in found


def test_the_last_written_comes_first() -> None:
    """Whatever order the store gives, and a session that is written comes to the top."""
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    sessions = Sessions(store)
    for name in ("b", "c", "a"):
        clock.advance(1)
        sessions.save(name, {"n": 1})
    with client_of(store) as client:
        assert ids(client) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/?q=cli_", {"cli_20251108_145739", "cli_20251108_150001"}),
        ("/?q=WEB_", {"web_visitor"}),
        ("/?q=nothing+like+it", set()),
        ("/?status=waiting", {"web_visitor", "nested"}),
        ("/?status=failed", {"broken"}),
        ("/?status=empty", {"empty"}),
        ("/?status=complete&q=145739", {"cli_20251108_145739"}),
    ],
)
def test_the_list_is_filtered(reader: TestClient, address: str, expected: set[str]) -> None:
    """By text in the id, and by status."""
    assert set(ids(reader, address)) == expected


def test_owners_and_tags_are_shown_and_filtered_by() -> None:
    """In the list and above a session; a click on one lists all that have it."""
    store = MemoryStore()
    sessions = Sessions(store)
    for name, owner, tags in (
        ("a", "ann", ["vip"]),
        ("b", "ann", []),
        ("c", "bob", ["vip", "new"]),
    ):
        sessions.save(name, {"n": 1})
        sessions.annotate(name, owner=owner, tags=tags)
    with client_of(store) as client:
        text = client.get("/").text
        assert 'href="./?owner=ann"' in text
        assert 'href="./?tag=vip"' in text
        assert set(ids(client, "/?owner=ann")) == {"a", "b"}
        assert set(ids(client, "/?tag=vip")) == {"a", "c"}
        assert ids(client, "/?owner=bob&tag=new") == ["c"]
        assert ids(client, "/?owner=an") == []
        assert set(ids(client, "/?q=ANN")) == {"a", "b"}
        assert "owner ann vip" in words(client.get("/session?id=a"))


def test_pages_of_the_list_follow_each_other() -> None:
    """Every session is on one page, also if one is written between the pages."""
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    for number in range(120):
        clock.advance(1)
        Sessions(store).save(f"s{number:03}", {"n": number})
    with client_of(store) as client:
        address, met = "/", []
        while address:
            page = client.get(address).text
            met += ids(client, address)
            link = page.partition('rel="next" href="./')[2].partition('"')[0]
            address = f"/{link.replace('&amp;', '&')}" if link else ""
            Sessions(store).save("s119", {"n": -1})
    assert met == [f"s{number:03}" for number in reversed(range(120))]


def test_a_large_store_is_looked_at_in_part_unless_all_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page says so, and has a link to all."""
    monkeypatch.setattr("wren_sessions.web._index.NEWEST", 10)
    monkeypatch.setattr("wren_sessions.viewing.overview.PAGE", 10)
    store = MemoryStore()
    for number in range(25):
        Sessions(store).save(f"s{number:03}", {"n": number})
    with client_of(store) as client:
        assert "has more" in client.get("/").text
        assert len(ids(client, "/")) == 10
        assert len(ids(client, "/?all=1")) == 25
        assert "has more" not in client.get("/?all=1").text


class Counting:
    """A store that counts the calls that a page makes."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if callable(found):
            self.calls[name] += 1
        return found


def test_a_list_that_is_open_costs_what_changes() -> None:
    """Nothing while its walk is fresh; then one walk, and a look at the sessions that changed."""
    now = [0.0]
    store = MemoryStore()
    sessions = Sessions(store)
    for number in range(30):
        sessions.save(f"s{number:02}", {"messages": ["hi"]})
    index, counting = Index(clock=lambda: now[0]), Counting(store)
    asked: Any = counting
    first = index.find(asked, Query())
    assert counting.calls["info"] == 30
    counting.calls.clear()
    assert index.find(asked, Query()) == first
    assert not counting.calls
    sessions.save("s07", {"messages": ["hi", "again"]})
    now[0] += 100
    found = index.find(asked, Query())
    assert counting.calls["list_sessions"] == 1
    assert counting.calls["info"] == 1
    assert found.rows[0].messages == 2


def test_a_deleted_session_is_forgotten() -> None:
    """Nothing is kept of it, whatever was known."""
    now = [0.0]
    store = MemoryStore()
    Sessions(store).save("s", {"n": 1})
    index = Index(clock=lambda: now[0])
    assert len(index.find(store, Query()).rows) == 1
    store.delete("s")
    now[0] += 100
    assert index.find(store, Query()).rows == []
    assert not index._known


def test_statuses_are_asked_for_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request asks for some, the next for more; the page says how many are left."""
    monkeypatch.setattr("wren_sessions.web._index.LOOKS", 10)
    store = MemoryStore()
    for number in range(25):
        Sessions(store).save(f"s{number:02}", {"n": 1})
    with client_of(store) as client:
        shown = [client.get("/?status=done").text for _ in range(3)]
    assert ["15 more" in text for text in shown] == [True, False, False]
    assert "25 sessions fit" in words(client.get("/?status=done"))


# --- a session ------------------------------------------------------------------------------------


def test_a_conversation_is_shown_as_people_read_it(reader: TestClient) -> None:
    """Who said what, tools folded with what they answered, and when."""
    page = reader.get("/session?id=cli_20251108_145739")
    found = words(page)
    assert "Human" in found
    assert "Thanks for telling me that you are hungry." in found
    assert 'Calls take_note With { "mood": "fine" } Result noted fine' in found
    assert '<details class="call">' in page.text
    assert found.count("noted fine") == 1


def test_long_conversations_come_in_pages() -> None:
    """The latest messages first; earlier ones by links, each once."""
    store = MemoryStore()
    said = [{"role": "user", "content": f"word{number:04}"} for number in range(1_000)]
    Sessions(store).save("s", {"messages": said})
    with client_of(store) as client:
        address, met = "/session?id=s", []
        while address:
            text = client.get(address).text
            assert text.count("<article") == 50
            met += [number for number in range(1_000) if f"word{number:04}<" in text]
            link = text.partition('Earlier messages"')[2].partition('href="')[2].partition('"')[0]
            address = f"/{link.replace('&amp;', '&')}" if link else ""
    assert sorted(met) == list(range(1_000))
    assert met[:50] == list(range(950, 1_000))


def test_times_are_looked_for_as_far_as_a_page_needs_them() -> None:
    """The last messages of a long history cost no walk over all of it, and have their times."""
    store = MemoryStore()
    said = [{"role": "user", "content": f"word{number}"} for number in range(400)]
    for count in range(1, 401):
        Sessions(store, cache_bytes=0).save("s", {"messages": said[:count]})
    scans = {}
    for until in (None, 50):
        counting = Counting(store)
        asked: Any = counting
        page = conversation(asked, "s", None, until, "messages")
        assert all(each.message.time is not None for each in page.said)
        scans[until] = counting.calls["scan"]
    assert scans[None] < scans[50]


def test_a_conversation_as_it_was(reader: TestClient) -> None:
    """At a checkpoint there is what had been said by then, and the page says so."""
    history = reader.get("/history?id=cli_20251108_145739").text
    past = [part.partition('"')[0] for part in history.split('id="c')[1:]][-2]
    page = reader.get(f"/session?id=cli_20251108_145739&at={past}")
    assert "As it was at checkpoint" in words(page)
    assert "Hello" in words(page)
    assert "hungry" not in words(page)
    assert reader.get(f"/session?id=cli_20251108_145739&at={past[:20]}").status_code in {200, 404}


def test_what_waits_is_shown_as_it_was_asked(reader: TestClient) -> None:
    """In the inbox and above the conversation; answered ones are not."""
    found = words(reader.get("/inbox"))
    assert "2 sessions wait for a person" in found
    assert "Question 1: how are you?" in found
    assert "cli_20251108_145739" not in found
    assert "Question 1: how are you?" in words(reader.get("/session?id=web_visitor"))


def test_approvals_show_the_call(writer: TestClient, store: SessionStore) -> None:
    """The tool and its arguments, as text and whole."""
    graph = approving.compile(checkpointer=SessionSaver(store))
    graph.invoke({"messages": [HumanMessage("mail ann")]}, {"configurable": {"thread_id": "mail"}})
    found = words(writer.get("/inbox"))
    assert 'wants to call send_mail(to="ann"): approve, edit, reject' in found
    assert "action_requests" in found


def test_a_failure_is_shown(reader: TestClient) -> None:
    """With what was raised."""
    assert "the model is down" in words(reader.get("/session?id=broken"))


def test_the_time_line_shows_forks_and_changes(reader: TestClient) -> None:
    """Each checkpoint with what it changed, what it waits for, and where it leads."""
    page = reader.get("/history?id=cli_20251108_150001")
    found = words(page)
    assert "Step 1 · update" in found
    assert "turn_count = 40" in found
    assert "waits for" in found
    assert 'class="joins"' in page.text
    assert "Size of the state" in found


def test_the_time_line_comes_in_pages() -> None:
    """Every checkpoint is on one page, with what it changed of the one on the next."""
    store = MemoryStore()
    for number in range(50):
        Sessions(store).save("s", {"n": number})
    with client_of(store) as client:
        address, met = "/history?id=s", []
        while address:
            text = client.get(address).text
            met += [part.partition("<")[0] for part in text.split("<b>Step ")[1:]]
            assert "is not there" not in text
            link = text.partition('rel="next" href="')[2].partition('"')[0]
            address = f"/{link.replace('&amp;', '&')}" if link else ""
    assert met == [str(number) for number in reversed(range(50))]


def test_namespaces_of_subgraphs_have_pages(reader: TestClient) -> None:
    """The time line and the state of each, by links."""
    text = reader.get("/history?id=nested").text
    links = [part.partition('"')[0] for part in text.split('href="history?id=nested&amp;ns=')[1:]]
    assert len(links) == 1
    assert "Step" in words(reader.get(f"/history?id=nested&ns={links[0]}"))
    assert "Hi" in words(reader.get(f"/state?id=nested&ns={links[0]}"))


def test_a_difference_is_shown_value_by_value(reader: TestClient) -> None:
    """What is there before and after, by links of the time line."""
    text = reader.get("/history?id=cli_20251108_145739").text
    link = text.partition('<a href="diff?')[2].partition('"')[0].replace("&amp;", "&")
    found = words(reader.get(f"/diff?{link}"))
    assert "turn_count changed 2 3" in found
    assert 'profile.mood changed "tired" "hungry"' in found
    same = reader.get("/diff?id=cli_20251108_145739")
    assert "There is no difference." in words(same)


def test_a_state_is_a_tree_with_types(reader: TestClient) -> None:
    """Fields of the application's classes too, and a link into each part that is cut."""
    found = words(reader.get("/state?id=cli_20251108_145739"))
    assert "profile Profile" in found
    assert "score Decimal" in found
    assert "messages list of 14 (SystemMessage, HumanMessage, AIMessage, …)" in found
    assert "branch:to" not in found
    assert "branch:to" in words(reader.get("/state?id=cli_20251108_150001&internal=1"))
    assert reader.get("/state?id=cli_20251108_145739&path=99").status_code == 404
    assert reader.get("/state?id=cli_20251108_145739&path=0.x").status_code == 404


def test_large_values_are_reached_part_by_part() -> None:
    """A list of 1,000 items by pages, a long text whole as plain text."""
    store = MemoryStore()
    Sessions(store).save("s", {"items": list(range(1_000)), "text": "x" * 10_000})
    with client_of(store) as client:
        assert "950 more" in words(client.get("/state?id=s"))
        part = words(client.get("/state?id=s&path=0&start=950"))
        assert "999 int 999" in part
        raw = client.get("/raw?id=s&path=1")
        assert raw.text == "x" * 10_000
        assert raw.headers["content-type"].startswith("text/plain")


def test_pending_writes_are_shown(reader: TestClient) -> None:
    """What tasks wrote that is not part of the state yet."""
    assert "Pending writes" in words(reader.get("/state?id=web_visitor"))
    assert "__interrupt__" in words(reader.get("/state?id=web_visitor"))


@pytest.mark.parametrize("form", ["html", "md", "json", "jsonl"])
def test_sessions_are_exported(reader: TestClient, form: str) -> None:
    """As a file with a name, in each form."""
    answer = reader.get(f"/export?id=cli_20251108_145739&as={form}")
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="cli_20251108_145739.{form}"'
    )
    if form == "jsonl":
        assert "end" in json.loads(answer.text.splitlines()[-1])
    else:
        assert "hungry" in answer.text


def test_another_form_is_refused(reader: TestClient) -> None:
    """The error names those there are, and they work."""
    answer = reader.get("/export?id=web_visitor&as=pdf")
    assert answer.status_code == 400
    assert "html, md, json or jsonl" in words(answer)


def test_looking_is_no_use_of_a_session() -> None:
    """The deadline stays where it is, also where reading counts as use."""
    clock = FakeClock()
    store = MemoryStore(ttl=TTLPolicy(idle="1h", refresh="read"), clock=clock)
    Sessions(store).save("s", {"messages": ["hi"]})
    before = store.info("s")
    clock.advance(60)
    with client_of(store) as client:
        for page in ("session", "history", "state", "diff", "export"):
            assert client.get(f"/{page}?id=s").status_code == 200
    after = store.info("s")
    assert before is not None
    assert after is not None
    assert after.life.deadline_ms == before.life.deadline_ms
    assert after.life.revision == before.life.revision


def test_pictures_are_shown_where_they_are_part_of_the_message() -> None:
    """As data; one from elsewhere, and one that is no picture of pixels, is only named."""
    store = MemoryStore()
    blocks: list[str | dict[Any, Any]] = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://evil.example/x.png"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/svg+xml", "data": "PA"},
        },
    ]
    said = [HumanMessage(blocks), AIMessage(f"here: ![dot]({PIXEL}) ![far](https://evil.example)")]
    Sessions(store).save("s", {"messages": said})
    with client_of(store) as client:
        text = client.get("/session?id=s").text
    assert text.count(f'<img class="picture" src="{PIXEL}"') == 1
    assert text.count(f'<img src="{PIXEL}" alt="dot">') == 1
    assert text.count("<img") == 2
    assert "[image: https://evil.example/x.png]" in text


# --- what is new ----------------------------------------------------------------------------------


def test_a_list_shows_what_was_noted_since_it_was_last_looked_at(store: SessionStore) -> None:
    """It is no new revision, so what else is known of the session need not be asked for again."""
    index = Index()
    query = Query(text="web_visitor")
    (before,) = index.find(store, query).rows
    Sessions(store).annotate("web_visitor", owner="zoe", title="A visit", tags=["new"])
    index.spoil()
    counting: Any = Counting(store)
    (row,) = index.find(counting, query).rows
    assert counting.calls["info"] == 0
    assert (row.owner, row.title, row.tags) == ("zoe", "A visit", ("new",))
    assert (row.status, row.last) == (before.status, before.last)


@pytest.mark.parametrize("page", ["session?id=web_visitor", "history?id=web_visitor", "", "inbox"])
def test_a_page_that_did_not_change_is_not_sent_again(
    writer: TestClient, store: SessionStore, page: str
) -> None:
    """Until the session is written, or something is noted about it."""
    first = writer.get(f"/{page}")
    again = writer.get(f"/{page}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    if page.endswith("visitor"):
        talk(store, "web_visitor", ["fine"])
        new = writer.get(f"/{page}", headers={"If-None-Match": first.headers["etag"]})
        assert new.status_code == 200
        assert new.headers["etag"] != first.headers["etag"]
        Sessions(store).annotate("web_visitor", title="A visit")
        noted = writer.get(f"/{page}", headers={"If-None-Match": new.headers["etag"]})
        assert (noted.status_code, "A visit" in noted.text) == (200, True)


# --- what goes wrong ------------------------------------------------------------------------------


@tries("the address names no session: add ?id= and its id")
def test_errors_have_pages(reader: TestClient) -> None:
    """With a status that fits, the reason, and a way back."""
    for address, status, reason in (
        ("/session?id=nope", 404, "was not found or has expired"),
        ("/session?id=web_visitor&at=nope", 404, "no checkpoint"),
        ("/session", 400, "names no session"),
        ("/nowhere", 404, "Not Found"),
        ("/session?id=web_visitor&until=x", 400, "is not a number"),
        ("/?after=x", 400, "is not a number"),
        (f"/session?id={'x' * 2_000}", 400, "at most"),
        ("/raw?id=web_visitor&message=99", 404, "message 99"),
    ):
        answer = reader.get(address)
        assert (address, answer.status_code) == (address, status)
        assert reason in words(answer)
        assert "Go to the sessions" in words(answer)
    assert reader.get("/session?id=web_visitor").status_code == 200


def test_a_number_is_read(reader: TestClient) -> None:
    """Where an address needs one, it works with one."""
    assert reader.get("/session?id=cli_20251108_145739&until=3").status_code == 200


def test_hidden_characters_have_names(reader: TestClient) -> None:
    """Of an id, a key, a value or a message; nothing is shown in another order than it is in."""
    for page in ("/", "/session?id=hostile", "/state?id=hostile"):
        text = reader.get(page).text
        assert "⟨U+202E⟩" in text
        assert not {*"\x1b\u202e\u2066\x07\x9b\x00\u200b"} & {*text}
    assert "👩‍👩‍👧" in reader.get("/session?id=hostile").text


def test_a_session_of_any_name_can_be_opened(reader: TestClient) -> None:
    """By the link that the list has."""
    text = reader.get("/").text
    link = text.partition('href="session?id=evil')[2].partition('"')[0]
    page = reader.get(f"/session?id=evil{link}")
    assert page.status_code == 200
    assert "Nothing was said." in words(page)
    state = reader.get(f"/state?id=evil{link}")
    assert "n int 1" in words(state)


def check_no_file(client: TestClient, session: str) -> None:
    """Make sure that each form of export is refused with a page, before a file begins."""
    for form in ("html", "md", "json", "jsonl"):
        answer = client.get(f"/export?id={session}&as={form}")
        assert (form, answer.status_code) == (form, 422)
        assert "It cannot be read" in words(answer)
        assert "content-disposition" not in answer.headers


@pytest.mark.parametrize("damage", ["oldest", "latest", "large", "gone"])
def test_what_is_damaged_is_not_exported_in_part(tmp_path: Path, damage: str) -> None:
    """Wherever the damage is, the whole session is refused before its file begins."""
    import sqlite3

    path = tmp_path / "sessions.db"
    with open_store(f"file:{path}", dotenv=False) as store:
        for number in range(250):
            Sessions(store).save("bad", {"messages": ["hi"], "n": number, "x": "y" * 9_000})
    harm = {
        "oldest": "UPDATE records SET body = x'00' WHERE id = (SELECT min(id) FROM records)",
        "latest": "UPDATE records SET body = x'00' WHERE id = (SELECT max(id) FROM records)",
        "large": "UPDATE arena SET data = zeroblob(length(data))",
        "gone": "DELETE FROM records",
    }
    with sqlite3.connect(path) as connection:
        assert connection.execute(harm[damage]).rowcount
    connection.close()
    with open_store(f"file:{path}", dotenv=False) as store, client_of(store) as client:
        answer = client.get("/export?id=bad&as=jsonl")
        assert answer.status_code == 422
        assert "It cannot be read" in words(answer)
        assert "content-disposition" not in answer.headers


def test_what_is_damaged_ends_no_page(tmp_path: Path) -> None:
    """The list calls it unreadable, its pages say why, and all others are as before."""
    import sqlite3

    path = tmp_path / "sessions.db"
    with open_store(f"file:{path}", dotenv=False) as store:
        for name in ("bad", "good"):
            for number in range(3):
                Sessions(store).save(name, {"messages": ["hi"], "n": number, "x": "y" * 2_000})
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE records SET body = x'00ff00ff' WHERE sid = "
            "(SELECT sid FROM sessions WHERE name = 'bad')"
        )
    connection.close()
    with open_store(f"file:{path}", dotenv=False) as store, client_of(store) as client:
        assert "bad unreadable" in words(client.get("/"))
        assert ids(client, "/?status=done") == ["good"]
        for page in ("session", "history", "state", "diff"):
            answer = client.get(f"/{page}?id=bad")
            assert (page, answer.status_code) == (page, 200)
            assert "Cannot be read" in words(answer) or page == "diff"
            assert client.get(f"/{page}?id=good").status_code == 200
        check_no_file(client, "bad")


def test_encrypted_sessions_need_their_key(tmp_path: Path) -> None:
    """With it they are shown, with another one they are unreadable, and no page ends."""
    url = f"file:{tmp_path}/sealed.db"
    key, other = Encryption.generate_key(), Encryption.generate_key()
    with open_store(url, encryption=Encryption(key), dotenv=False) as store:
        Sessions(store).save("s", {"messages": ["a secret word"]})
        with client_of(store) as client:
            assert "a secret word" in words(client.get("/session?id=s"))
            assert "a secret word" in words(client.get("/"))
    sealed = open_store(url, encryption=Encryption(other), dotenv=False)
    with sealed as store, client_of(store) as client:
        assert "s unreadable" in words(client.get("/"))
        answer = client.get("/session?id=s")
        assert answer.status_code == 422
        assert "It cannot be read" in words(answer)
        assert "secret word" not in answer.text
        check_no_file(client, "s")
    with open_store(url, dotenv=False) as store, client_of(store) as client:
        assert "is encrypted: open the store with its key" in words(client.get("/session?id=s"))
        check_no_file(client, "s")


def test_a_store_that_does_not_answer_has_a_page(redis_url: str) -> None:
    """The reason, without password, and nothing is taken for empty."""
    url = redis_url.replace("redis://", "redis://:hunter2secret@").rsplit(":", 1)[0] + ":1/0"
    with open_store(f"{url}", dotenv=False) as store, client_of(store) as client:
        answer = client.get("/")
    assert answer.status_code == 503
    assert "The store does not answer" in words(answer)
    assert "hunter2secret" not in answer.text


def test_an_asyncio_client_serves_as_well(redis_url: str) -> None:
    """A store that can only be awaited has the same pages."""
    import redis.asyncio

    from wren_sessions import RedisStore

    with open_store(redis_url, dotenv=False) as store:
        Sessions(store).save("s", {"messages": ["hi there"]})
        awaited = RedisStore.from_client(redis.asyncio.Redis.from_url(redis_url))
        with client_of(awaited) as client:
            assert ids(client) == ["s"]
            for page in ("session", "history", "state", "diff"):
                assert client.get(f"/{page}?id=s").status_code == 200
            assert "hi there" in words(client.get("/session?id=s"))


def test_ids_are_shown_as_they_are() -> None:
    """Markup in an id, a title, a role or a key is text."""
    evil = '"><script>alert(1)</script>'
    store = MemoryStore()
    said = [{"role": evil, "content": evil, "name": evil}]
    Sessions(store, header=["title"]).save(evil, {"messages": said, "title": evil, evil: evil})
    with client_of(store, write=True) as client:
        from urllib.parse import quote

        for page in ("/", *(f"/{p}?id={quote(evil)}" for p in ("session", "history", "state"))):
            assert "<script>alert" not in client.get(page).text
            assert "&lt;script&gt;" in client.get(page).text
    assert HOSTILE


def test_a_walk_that_takes_long_holds_up_nobody() -> None:
    """Who comes meanwhile sees what is known from before."""
    now = [0.0]
    store = MemoryStore()
    Sessions(store).save("s", {"n": 1})
    index = Index(clock=lambda: now[0])
    assert len(index.find(store, Query()).rows) == 1
    Sessions(store).save("t", {"n": 1})
    now[0] += 100

    class Meanwhile:
        """Somebody else asks while the store is walked."""

        seen: int

        def __getattr__(self, name: str) -> Any:
            if name == "list_sessions":
                self.seen = len(index.find(store, Query()).rows)
            return getattr(store, name)

    slow: Any = Meanwhile()
    assert len(index.find(slow, Query()).rows) == 2
    assert slow.seen == 1

"""Who may ask: names, tokens, origins, and what browsers are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from remedies.proposals import tries
from web.asking import HOST, OURS, RULES, TOKEN, client_of, send
from wren_sessions import ConfigurationError, MemoryStore, Sessions
from wren_sessions.web import app
from wren_sessions.web._app import Settings, build
from wren_sessions.web._guard import Rules
from wren_sessions.web._serving import Listening, address_of, check, opener, rules_of

PAGES = (
    *("/", "/inbox", "/session?id=s", "/history?id=s", "/state?id=s", "/diff?id=s"),
    *("/raw?id=s&message=0", "/export?id=s&as=jsonl", "/export?id=s"),
)
ACTIONS = ("answer", "edit", "fork", "pin", "ttl", "delete")


@pytest.fixture
def memory() -> MemoryStore:
    """A store with one session."""
    store = MemoryStore()
    Sessions(store).save("s", {"messages": [{"role": "user", "content": "hi"}], "n": 1})
    return store


@pytest.fixture
def stranger(memory: MemoryStore) -> Iterator[TestClient]:
    """A client without the cookie."""
    with client_of(memory, known=False, write=True) as client:
        yield client


@pytest.fixture
def known(memory: MemoryStore) -> Iterator[TestClient]:
    """A client with the cookie, of an app that may write."""
    with client_of(memory, write=True) as client:
        yield client


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_sees_nothing(stranger: TestClient, page: str) -> None:
    """Without the token no page says anything of the store."""
    answer = stranger.get(page)
    assert answer.status_code == 401
    assert "hi" not in answer.text.split()
    assert stranger.get(page, headers={"Cookie": f"{RULES.cookie}=wrong"}).status_code == 401


@pytest.mark.parametrize("token", ["wrong", "", TOKEN[:-1], "\ud800"])
def test_a_wrong_token_does_not_open(stranger: TestClient, token: str) -> None:
    """Neither another one nor a part of it does."""
    encoded = token.encode("utf-8", "surrogatepass")
    answer = stranger.get("/", params={"token": encoded})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@tries("use the address that wren-sessions web printed")
def test_the_token_becomes_a_cookie(stranger: TestClient) -> None:
    """Scripts cannot read it, other sites do not send it, and it is not the token."""
    answer = stranger.get("/", params={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize("token", ["k3+Wq/Zs==&x#y%41 q", "ключ-ключ-ключ-ключ"])
def test_the_printed_address_holds_any_token(memory: MemoryStore, token: str) -> None:
    """Also one that means something else in an address, such as base64."""
    listening = Listening(token=token)
    rules = rules_of(listening, 8000)
    with TestClient(build(memory, Settings(rules=rules))) as client:
        assert client.get(address_of(listening, 8000, rules)).status_code == 200


@tries("not one of the server's names: use the printed address")
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1:8001", ""])
def test_another_name_is_refused(known: TestClient, host: str) -> None:
    """A name that leads here, and is none of ours, gets nothing, cookie or not."""
    assert known.get("/", headers={"Host": host}).status_code == 421
    assert known.get("/", headers={"Host": HOST}).status_code == 200


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": f"http://{HOST}.evil.example"},
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_origin_changes_nothing(
    known: TestClient, memory: MemoryStore, action: str, headers: dict[str, str]
) -> None:
    """A form of another site, or of another port of this machine, is refused."""
    fields = {"id": "s", "confirm": "s", "new": "t", "idle": "1s", "key": "n", "value": "2"}
    before = memory.info("s")
    assert known.post(f"/{action}", data=fields, headers=headers).status_code == 403
    assert before is not None
    after = memory.info("s")
    assert after is not None
    assert (after.life.revision, after.life.deadline_ms) == (
        before.life.revision,
        before.life.deadline_ms,
    )
    assert memory.info("t") is None


@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate"])
def test_another_origin_gets_no_part_of_a_page(known: TestClient, mode: str) -> None:
    """It may lead here, in a page of its own; it may not fetch, embed or frame."""
    for kind in ("empty", "script", "image", "iframe", "object"):
        headers = {
            "Sec-Fetch-Site": "same-site",
            "Sec-Fetch-Mode": mode,
            "Sec-Fetch-Dest": kind,
        }
        assert known.get("/", headers=headers).status_code == 403
    led = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert known.get("/", headers=led).status_code == 200


@pytest.mark.parametrize("page", [*PAGES, "/nowhere", "/static/live.js", "/?token=wrong"])
def test_browsers_are_told_what_they_may_do(known: TestClient, page: str) -> None:
    """Each answer has the policy, errors too."""
    headers = known.get(page).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_pages_hold_no_script_and_no_style(known: TestClient) -> None:
    """All of it is in files of ours, which the policy allows."""
    for page in PAGES[:6]:
        text = known.get(page).text
        assert text.count("<script") == text.count('<script src="static/live.js" defer></script>')
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick" not in text


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_written_unless_it_is_allowed(memory: MemoryStore, action: str) -> None:
    """Without it the addresses that change something are not there."""
    with client_of(memory) as client:
        fields = {"id": "s", "confirm": "s", "new": "t", "idle": "1s", "key": "n", "value": "2"}
        assert send(client, action, **fields).status_code == 404
        assert "<form method=post" not in client.get("/session?id=s").text.replace('"', "")
    assert memory.info("s") is not None


def test_a_mounted_app_asks_for_no_token_and_still_for_the_origin(memory: MemoryStore) -> None:
    """The login is that of the app around it; links lead to pages below the mount."""
    outer = Starlette(routes=[Mount("/sessions", app(memory, write=True))])
    with TestClient(outer, base_url="https://app.example", follow_redirects=False) as client:
        assert client.get("/sessions/").status_code == 200
        page = client.get("/sessions/session?id=s")
        assert 'href="history?id=s"' in page.text
        assert client.get("/sessions/static/style.css").status_code == 200
        fields = {"id": "s", "pinned": "1"}
        foreign = {"Origin": "https://evil.example"}
        assert client.post("/sessions/pin", data=fields, headers=foreign).status_code == 403
        ours = {"Origin": "https://app.example"}
        done = client.post("/sessions/pin", data=fields, headers=ours)
        assert done.status_code == 303
        assert done.headers["location"] == "session?id=s"


def test_only_forms_are_taken(known: TestClient) -> None:
    """Another kind of body, one without a session, and one too large are refused."""
    assert known.post("/pin", json={"id": "s"}, headers=OURS).status_code == 415
    assert send(known, "pin", pinned="1").status_code == 400
    assert send(known, "pin", id="s", more="x" * (4 << 20)).status_code == 413


# --- where it listens -----------------------------------------------------------------------------


@tries("add --token with a secret of your own, or --behind-proxy where a proxy")
@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])  # noqa: S104 -- refused
def test_other_machines_need_a_token_or_a_proxy(host: str) -> None:
    """Else everybody in the network could read the sessions."""
    with pytest.raises(ConfigurationError, match="--token"):
        check(Listening(host=host))
    check(Listening(host=host, token="0123456789abcdef"))
    check(Listening(host=host, behind_proxy=True))


@tries("the token is too short to be safe: choose one of {} characters or more")
def test_a_short_token_is_refused() -> None:
    """It could be guessed."""
    with pytest.raises(ConfigurationError, match="16 characters"):
        check(Listening(token="short"))
    check(Listening(token="0123456789abcdef"))


def test_the_rules_fit_where_it_listens() -> None:
    """A random token and this machine's names; none behind a proxy."""
    rules = rules_of(Listening(), 8123)
    assert rules.token is not None
    assert len(rules.token) >= 32
    assert rules.hosts is not None
    assert {"127.0.0.1:8123", "localhost:8123", "[::1]:8123"} <= {*rules.hosts}
    assert rules_of(Listening(), 8123).token != rules.token
    proxied = rules_of(Listening(behind_proxy=True), 8123)
    assert (proxied.token, proxied.hosts) == (None, None)
    assert rules_of(Listening(token="0123456789abcdef"), 80).hosts >= {"localhost"}  # type: ignore[operator] # a set


def test_the_address_has_the_token() -> None:
    """What is printed opens the sessions; a file that only we can read leads there."""
    address = address_of(Listening("::1"), 8123, Rules(token="abc"))
    assert address == "http://[::1]:8123/?token=abc"
    assert address_of(Listening(behind_proxy=True), 8123, Rules()) == "http://127.0.0.1:8123/"


def test_the_browser_is_given_a_file_that_only_we_can_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The token stands in no argument that others of this machine could see."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with opener() as open_address:
        open_address("http://127.0.0.1:8123/?token=abc")
        (leads,) = opened
        assert "abc" not in leads
        file = Path(urlsplit(leads).path)
        assert file.parent.stat().st_mode & 0o077 == 0
        assert "http://127.0.0.1:8123/?token=abc" in file.read_text()
    assert not file.parent.exists()

"""In a real browser: looking, what is new, answering, deleting, and whom nothing is shown."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from selenium.webdriver.common.keys import Keys

from cli.sample_app import talk
from servers import start_server
from web.browsing import TOKEN, Browser, served, site
from web.graphs import approving, asking
from wren_sessions import FileStore, Sessions, SessionSaver, open_store
from wren_sessions.protocols import SessionStore

PAGES = ("", "inbox", "session?id=cli_20251108_150001", "history?id=cli_20251108_150001")


@pytest.fixture
def address(store: SessionStore, browser: Browser) -> Iterator[str]:
    """The sample sessions, which can be changed, with the browser on the list of them."""
    with served(store, write=True, graph=asking) as found:
        browser.console()
        browser.requests()
        browser.open(found)
        browser.says("8 sessions")
        yield found.partition("?")[0]
        assert browser.console() == []
        browser.open("about:blank")
        ours = found.partition("?")[0]
        assert [url for url in browser.requests() if not url.startswith(ours)] == []


def test_sessions_are_listed_filtered_and_opened(address: str, browser: Browser) -> None:
    """As one types, without a new page; the address can be kept, and a click opens a session."""
    browser.run("window.same = true")
    browser.find("input[name=q]").send_keys("CLI_2025")
    browser.says("2 sessions fit")
    browser.find("select[name=status] option:nth-child(6)").click()
    browser.says("1 session fit")
    assert browser.run("return window.same") is True
    assert browser.driver.current_url == f"{address}?q=CLI_2025&status=complete"
    browser.open(browser.driver.current_url)
    browser.says("1 session fit")
    browser.find("tbody a").click()
    browser.says("Thanks for telling me that you are hungry.")
    browser.find("details.call summary").click()
    browser.says("noted fine")


def test_one_goes_back_in_time(address: str, browser: Browser) -> None:
    """From the time line to what a step changed, the state and the conversation as they were."""
    browser.open(f"{address}session?id=cli_20251108_145739")
    browser.link("Time line")
    browser.says("Step 3")
    browser.link("What it changed")
    browser.says("profile.mood")
    cells = [cell.text for cell in browser.all("tr.changed")]
    assert any("tired" in cell and "hungry" in cell for cell in cells)
    browser.driver.back()
    browser.find("#steps li:nth-of-type(3)")
    browser.all("#steps li")[-2].find_element("partial link text", "Conversation then").click()
    browser.says("As it was at checkpoint")
    assert "hungry" not in browser.text
    browser.link("Back to now")
    browser.says("hungry")
    browser.link("State")
    browser.says("profile")
    browser.until(lambda: browser.all("details summary .key"), "no tree")
    next(e for e in browser.all("summary") if "profile" in e.text).click()
    browser.says("Decimal")


def test_a_page_follows_a_graph_that_runs(
    address: str, browser: Browser, store: SessionStore
) -> None:
    """What is said appears by itself, in the list too; what was unfolded stays so."""
    talk(store, "web_visitor", ["fine"])
    browser.open(f"{address}session?id=web_visitor")
    browser.says("Question 2")
    browser.run("window.same = true")
    browser.find("details.call summary").click()
    thread = threading.Thread(target=talk, args=(store, "web_visitor", ["lively"]))
    thread.start()
    browser.says("Thanks for telling me that you are lively.")
    thread.join()
    assert browser.run("return window.same") is True
    assert browser.run("return document.querySelector('details.call').open") is True
    browser.open(address)
    browser.run("window.same = true")
    Sessions(store).save("brand new", {"messages": ["first words"]})
    browser.says("brand new")
    assert browser.run("return window.same") is True


def test_a_page_says_that_its_session_is_gone(
    address: str, browser: Browser, store: SessionStore
) -> None:
    """What was shown stays, with the reason above it, and it goes on once the session is back."""
    sessions = Sessions(store)
    for page in ("session", "history"):
        sessions.save("short", {"messages": ["hi there"]})
        browser.open(f"{address}{page}?id=short")
        browser.says("hi there" if page == "session" else "short")
        browser.run("window.same = true")
        sessions.delete("short")
        browser.says("Not found: session 'short'")
        assert browser.run("return window.same") is True
    browser.console()  # a browser writes down each 404
    sessions.save("short", {"messages": ["hi again"]})
    browser.until(lambda: "Not found" not in browser.text, "it does not go on")
    browser.console()


def test_a_page_says_that_its_store_is_away(browser: Browser) -> None:
    """While Redis is stopped a page says so and keeps what it shows; then it goes on by itself."""
    with start_server() as server, open_store(server.url, dotenv=False) as store:
        Sessions(store).save("before", {"messages": ["hi"]})
        with served(store) as found:
            browser.open(found)
            browser.says("before")
            for page in ("", "session?id=before"):
                browser.open(found.partition("?")[0] + page)
                browser.says("before")
                server.stop()
                browser.says("The store does not answer: ")
                assert "before" in browser.text
                server.start()
                Sessions(store).save("before", {"messages": ["hi"]})
                Sessions(store).save("after", {"messages": ["hi"]})
                browser.until(lambda: "does not answer" not in browser.text, "it does not go on")
        browser.says("The server of this page does not answer.")
        browser.console()
        browser.open("about:blank")


def test_a_damaged_session_is_not_downloaded(browser: Browser, tmp_path: Path) -> None:
    """A page says why, where else a file would come."""
    with FileStore(tmp_path / "sessions.db") as store:
        Sessions(store).save("bad", {"messages": ["hi"]})
    with sqlite3.connect(tmp_path / "sessions.db") as connection:
        connection.execute("UPDATE records SET body = x'00'")
    connection.close()
    with FileStore(tmp_path / "sessions.db") as store, served(store) as found:
        browser.open(found)
        browser.link("bad")
        browser.says("Cannot be read")
        browser.find("details.menu summary").click()
        browser.link("Whole session")
        browser.says("It cannot be read")
        browser.console()
        browser.open("about:blank")


def test_a_question_is_answered_from_the_inbox(
    address: str, browser: Browser, store: SessionStore
) -> None:
    """The graph goes on, its answer appears, and the inbox is empty of it."""
    graph = asking.compile(checkpointer=SessionSaver(store))
    config: Any = {"configurable": {"thread_id": "talk"}}
    graph.invoke({"messages": [HumanMessage("Hello")]}, config)
    browser.open(f"{address}inbox")
    browser.says("What now?")
    browser.find("form[action=answer] textarea").send_keys("go on <b>please</b>")
    browser.find("form[action=answer] button").click()
    browser.says("You said go on <b>please</b>.")
    assert Sessions(store).load("talk").state["answers"] == ["go on <b>please</b>"]
    browser.open(f"{address}inbox")
    browser.says("wait")
    assert "What now?" not in browser.text


def test_calls_are_approved_one_by_one(browser: Browser, store: SessionStore) -> None:
    """With the arguments at hand to be edited, and a reason where one is rejected."""
    graph = approving.compile(checkpointer=SessionSaver(store))
    config: Any = {"configurable": {"thread_id": "mail"}}
    graph.invoke({"messages": [HumanMessage("Hello")]}, config)
    with served(store, write=True, graph=approving) as address:
        browser.open(address)
        browser.says("mail")
        browser.open(f"{address.partition('?')[0]}session?id=mail")
        browser.says('wants to call send_mail(to="ann")')
        browser.find("input[name=decision-0][value=approve]").click()
        browser.find("input[name=decision-1][value=reject]").click()
        browser.find("input[name=message-1]").send_keys("never")
        browser.find("form[action=answer] button").click()
        browser.until(lambda: Sessions(store).load("mail").state.get("answers"), "no answer")
        browser.open("about:blank")
    (decided,) = Sessions(store).load("mail").state["answers"]
    assert decided["decisions"] == [
        {"type": "approve"},
        {"type": "reject", "message": "never"},
    ]


def test_a_session_is_changed_and_deleted(browser: Browser, store: SessionStore) -> None:
    """Forked, edited, and deleted once its id was typed."""
    with served(store, write=True) as address:
        browser.open(address)
        browser.says("8 sessions")
        change_and_delete(browser, store, address.partition("?")[0])
        browser.console()  # an answer was an error, and the console says so
        browser.open("about:blank")


def change_and_delete(browser: Browser, store: SessionStore, address: str) -> None:
    """All of that, page by page."""
    Sessions(store).save("first try", {"turn_count": 3, "messages": ["hi"]})
    browser.open(f"{address}session?id=first+try")
    browser.find("details.menu:last-of-type summary").click()
    browser.find("input[name=new]").send_keys("second try", Keys.ENTER)
    browser.until(lambda: "second+try" in browser.driver.current_url, "not forked")
    browser.link("State")
    edit = next(e for e in browser.all("ul.tree > li") if "turn_count" in e.text)
    edit.find_element("css selector", ".edit summary").click()
    box = edit.find_element("css selector", "textarea")
    assert box.get_attribute("value") == "3"
    box.clear()
    box.send_keys("7")
    edit.find_element("css selector", ".edit button").click()
    browser.until(lambda: Sessions(store).load("second try").state["turn_count"] == 7, "no edit")
    browser.find("details.menu:last-of-type summary").click()
    browser.find("input[name=confirm]").send_keys("second tri", Keys.ENTER)
    browser.says("nothing was deleted")
    browser.open(f"{address}session?id=second+try")
    browser.find("details.menu:last-of-type summary").click()
    browser.find("input[name=confirm]").send_keys("second try", Keys.ENTER)
    browser.says("The session was deleted.")
    assert store.info("second try") is None
    assert "second try" not in browser.text


def test_a_wrong_token_opens_nothing(browser: Browser, store: SessionStore) -> None:
    """Neither does none; the right one opens all, and is not in the address any more."""
    with served(store) as address:
        base = address.partition("?")[0]
        for wrong in ("", "?token=wrong", "session?id=web_visitor&token=" + TOKEN[:-1]):
            browser.open(base + wrong)
            browser.says("token is missing or wrong")
            assert "web_visitor" not in browser.text
        browser.open(address)
        browser.says("web_visitor")
        assert browser.driver.current_url == base
        cookie = browser.driver.get_cookies()[-1]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert browser.run("return document.cookie") == ""
        browser.open("about:blank")
    browser.console()


ATTACK = """<!doctype html><title>attack</title><body>
<script>
const target = "%s";
window.seen = [];
async function attack() {
  for (const page of ["", "inbox", "session?id=web_visitor", "static/live.js"]) {
    for (const mode of ["cors", "no-cors"]) {
      try {
        const answer = await fetch(target + page, { mode, credentials: "include" });
        window.seen.push(answer.type + ":" + (await answer.text()).length);
      } catch (error) { window.seen.push("failed"); }
    }
  }
  for (const [name, fields] of [["delete", "id=web_visitor&confirm=web_visitor"],
                                ["pin", "id=web_visitor&pinned=1"],
                                ["fork", "id=web_visitor&new=stolen"]]) {
    await fetch(target + name, { method: "POST", mode: "no-cors", credentials: "include",
      headers: { "Content-Type": "application/x-www-form-urlencoded" }, body: fields,
    }).catch(() => {});
  }
  const frame = document.createElement("iframe");
  frame.name = "frame";
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: target + "delete", target: "frame" });
  for (const name of ["id", "confirm"]) {
    const field = document.createElement("input");
    Object.assign(field, { name, value: "web_visitor" });
    form.append(field);
  }
  document.body.append(frame, form);
  await new Promise((resolve) => { frame.onload = resolve; form.submit(); });
  const other = document.createElement("iframe");
  const loaded = new Promise((resolve) => { other.onload = resolve; });
  other.src = target;
  document.body.append(other);
  await loaded;
  const script = document.createElement("script");
  await new Promise((resolve) => {
    script.onload = () => { window.seen.push("script"); resolve(); };
    script.onerror = resolve;
    script.src = target + "static/live.js";
    document.body.append(script);
  });
  return window.seen;
}
</script>"""


def test_another_site_gets_nothing_and_changes_nothing(
    address: str, browser: Browser, store: SessionStore
) -> None:
    """A page of another port of this machine, whose requests carry the cookie."""
    before = store.info("web_visitor")
    with site(ATTACK % address) as (evil, _):
        browser.open(evil)
        seen = browser.fetch("attack()")
        assert set(seen) <= {"failed", "opaque:0"}
        assert browser.run("return frames[1].length") == 0
        browser.driver.switch_to.frame(1)
        assert "web_visitor" not in browser.text
        browser.driver.switch_to.default_content()
    after = store.info("web_visitor")
    assert before is not None
    assert after is not None
    assert after.life.revision == before.life.revision
    assert not after.life.pinned
    assert store.info("stolen") is None
    browser.open(address)
    browser.says("web_visitor")
    browser.console()
    browser.requests()


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_keys_and_readers_find_their_way(address: str, browser: Browser) -> None:
    """A link past the navigation, the filter by ``/``, a name for each control, one heading."""
    body = browser.find("body")
    body.send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "Skip to the content"
    browser.find("body").send_keys("/")
    assert browser.driver.switch_to.active_element.get_attribute("name") == "q"
    pages = (*PAGES, "state?id=cli_20251108_145739", "session?id=web_visitor")
    for page in pages:
        browser.open(f"{address}{page}")
        browser.find("h1")
        unnamed = browser.run(
            "return [...document.querySelectorAll('input:not([type=hidden]), textarea, select, "
            "button, a, summary')].filter((each) => !(each.labels && each.labels.length) && "
            "!each.textContent.trim() && !each.getAttribute('aria-label')).map((e) => e.outerHTML)"
        )
        assert unnamed == []
        assert len(browser.all("h1")) == 1
        assert len(browser.all("main")) == 1
        assert browser.run("return document.documentElement.lang") == "en"
        pictures = browser.run("return [...document.querySelectorAll('img')].every((i) => i.alt)")
        assert pictures is True


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_pages_fit_the_width_and_can_be_read(address: str, browser: Browser) -> None:
    """On a phone, a tablet and a desk: nothing is wider, and text stands out from what is behind.

    A contrast of 4.5 is what WCAG asks of text.
    """
    try:
        for width, theme in ((390, "light"), (390, "dark"), (900, "dark"), (1_440, "light")):
            browser.size(width, 900, theme)
            for page in (*PAGES, "state?id=hostile", "session?id=hostile", "session?id=broken"):
                browser.open(f"{address}{page}")
                browser.find("h1")
                wide = browser.run("return document.documentElement.scrollWidth - innerWidth")
                assert (page, width, max(0, wide)) == (page, width, 0)
                faint = browser.run(CONTRAST)
                assert (page, theme, faint) == (page, theme, [])
    finally:
        browser.size(1_440, 900)


CONTRAST = """
const parts = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
const light = (color) => {
  const [r, g, b] = parts(color).map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (each) => {
  for (let at = each; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (parts(color).length === 3) return color;
  }
  return "rgb(255, 255, 255)";
};
const found = new Set();
for (const each of document.querySelectorAll("body *")) {
  const own = [...each.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !each.checkVisibility()) continue;
  const [a, b] = [light(getComputedStyle(each).color), light(behind(each))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) found.add(each.tagName + "." + each.className);
}
return [...found];
"""

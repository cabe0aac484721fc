"""A real browser, and the servers it looks at.

Chromium and its driver are those of the machine. Nothing but the addresses of the tests can be
reached: any other request fails, and a test sees that it was made.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from servers import in_ci
from wren_sessions.protocols import SessionStore
from wren_sessions.web._app import Settings
from wren_sessions.web._serving import Listening, listener_of, server_of

PATIENCE_S: Final = 30.0
_FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"),
)
TOKEN: Final = "the-token-of-these-tests"


def programs() -> tuple[str, str]:
    """The browser and its driver; without them a test is skipped, and fails in CI."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "no chromium or no chromedriver on the PATH"
        if in_ci():
            pytest.fail(f"{reason} (CI is set: tests in a browser must run)", pytrace=False)
        pytest.skip(reason)
    return browser, driver


class Browser:
    """A browser with one window.

    Args:
        profile: an empty folder for what it keeps.
    """

    def __init__(self, profile: Path) -> None:
        browser, driver = programs()
        options = ChromeOptions()
        options.binary_location = browser
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.set_capability("unhandledPromptBehavior", "ignore")
        self.driver = Chrome(options=options, service=Service(driver, env={**os.environ}))
        self.size(1_440, 900)

    def close(self) -> None:
        """End it."""
        self.driver.quit()

    def open(self, address: str) -> None:
        """Go to an address."""
        self.driver.get(address)

    def size(self, width: int, height: int, theme: str = "light") -> None:
        """How large the window is, and which theme its user prefers."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": theme}]},
        )

    def find(self, css: str) -> WebElement:
        """The first element, once it is there."""
        found: WebElement = self.until(lambda: self.all(css), f"no {css}")[0]
        return found

    def all(self, css: str) -> list[WebElement]:
        """All elements that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    @property
    def text(self) -> str:
        """What the page shows."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def until(self, there: Callable[[], Any], otherwise: str) -> Any:
        """Wait for something; what it gives."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = there()
            except (NoSuchElementException, StaleElementReferenceException):  # it loads
                found = None
            if found:
                return found
            assert time.monotonic() < deadline, f"{otherwise}, in:\n{self.text[:3_000]}"
            time.sleep(0.02)

    def says(self, words: str) -> None:
        """Wait until the page shows a text."""
        self.until(lambda: words in self.text, f"{words!r} does not appear")

    def link(self, text: str) -> None:
        """Follow the first link with a text in it."""
        self.until(
            lambda: self.driver.find_elements(By.PARTIAL_LINK_TEXT, text), f"no link {text!r}"
        )[0].click()

    def run(self, script: str, *args: Any) -> Any:
        """What a script gives."""
        return self.driver.execute_script(script, *args)

    def fetch(self, script: str) -> Any:
        """What a promise of the page comes to."""
        body = f"const done = arguments[0]; ({script}).then(done, (e) => done('' + e));"
        return self.driver.execute_async_script(body)

    def console(self) -> list[str]:
        """What was written to the console since it was last asked: errors and warnings."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] in {"SEVERE", "WARNING"}
        ]

    def requests(self) -> set[str]:
        """Where requests went since it was last asked, without those that stay in the browser."""
        found = set()
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
        return {url for url in found if not url.startswith(("data:", "about:", "chrome"))}


@contextmanager
def served(store: SessionStore, **settings: Any) -> Iterator[str]:
    """A server of the sessions of a store, in a thread; its address, with the token."""
    listening = Listening(token=TOKEN)
    with listener_of(listening) as listener:
        server, address = server_of(store, Settings(**settings), listening, listener)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@contextmanager
def site(page: str) -> Iterator[tuple[str, list[str]]]:
    """Another web site on this machine with one page; its address, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Debian's chromium, the built app, servers to point it at, and a page that notices everything that goes wrong."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from installer.app import build_app
from installer.environment import Environment
from tests.conftest import ROOT
from tests.support.live_server import LiveServer, live_server

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SCREENSHOTS = ROOT / "docs" / "screenshots"
WEB = ROOT / "web"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
]

PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)

# Reported by the browser itself before any script could know of it.
_WATCH_CSP = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP violation: ${event.effectiveDirective} ${event.blockedURI} in ${event.sourceFile}`);
});
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything here; without chromium it is skipped, and the summary says so."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if not Path(CHROMIUM).exists():
                item.add_marker(pytest.mark.skip(reason="needs Debian's chromium: apt-get install chromium"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """pytest-playwright's own browsers are not used."""
    return {"executable_path": CHROMIUM, "args": FLAGS, "headless": True}


@pytest.fixture(scope="session")
def built_app() -> Path:
    """The app, built from the sources as they stand."""
    build_app(Environment(ROOT))
    return ROOT / "src" / "freehold" / "web" / "dist"


@dataclass(frozen=True)
class Screen:
    """A window and what its user prefers."""

    width: int = 1280
    height: int = 800
    scheme: str = "light"

    @property
    def phone(self) -> bool:
        """Small, and worked with fingers."""
        return self.width < 600

    @property
    def name(self) -> str:
        """For screenshots and test ids."""
        return f"{self.width}-{self.scheme}"


DESK = Screen()
PHONE = Screen(375, 740)
SCREENS = [DESK, Screen(scheme="dark"), PHONE, Screen(375, 740, "dark")]


@dataclass
class Watch:
    """Collects what must not happen on a page: errors, CSP violations, requests to anywhere but the server."""

    origin: str
    problems: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Lets problems pass that match, because the test provokes them."""
        self.allowed.append(pattern)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            where = message.location.get("url", "")
            self.problems.append(f"console {message.type}: {message.text} ({where})")

    def on_error(self, error: object) -> None:
        self.problems.append(f"uncaught: {error}")

    def on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.problems.append(f"request to another origin: {request.url}")

    def check(self) -> None:
        """Fails with everything that was seen and not expected."""
        left = [p for p in self.problems if not any(re.search(pattern, p) for pattern in self.allowed)]
        assert not left, "\n".join(left)


class App:
    """A page with the app, and short names for what a person does there.

    Args:
        page: The browser's page.
        server: Where the app comes from.
        screen: The window.
        watch: What the page must not do.
    """

    def __init__(self, page: Page, server: LiveServer, screen: Screen, watch: Watch) -> None:
        self.page = page
        self.server = server
        self.screen = screen
        self.watch = watch

    @property
    def field(self) -> Any:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def answers(self) -> Any:
        return self.page.locator("article.answer")

    @property
    def chats(self) -> Any:
        return self.page.get_by_role("navigation", name="Chats").get_by_role("listitem")

    def sign_in(self, path: str = "/") -> None:
        """Opens a sign-in link, as `freehold run` prints it."""
        token = self.server.accounts.new_signin("owner")
        self.page.goto(f"{self.server.url}/auth?token={token}")
        if path != "/":
            self.page.goto(self.server.url + path)
        self.page.locator(".shell").wait_for()

    def ask(self, text: str) -> None:
        """Writes a message and sends it: by Enter at a desk, by the button on a phone."""
        self.field.fill(text)
        if self.screen.phone:
            self.page.get_by_role("button", name="Send").tap()
        else:
            self.field.press("Enter")

    def finished(self, count: int = 1, timeout_seconds: float = 60) -> Any:
        """Waits until `count` answers stand and none is being written; gives the last."""
        last = self.answers.nth(count - 1)
        last.get_by_role("button", name="Copy answer").wait_for(timeout=timeout_seconds * 1000)
        return last

    def open_history(self) -> None:
        """On a phone the history is a drawer."""
        if self.screen.phone:
            self.page.get_by_role("button", name="Open history").tap()
            self.page.get_by_role("dialog", name="History").wait_for()

    def choose(self, chat_title: str, item: str) -> None:
        """Opens a chat's menu in the history and takes an item."""
        entry = self.chats.filter(has_text=chat_title)
        entry.hover()
        entry.get_by_role("button", name="Options").click()
        self.page.get_by_role("menuitem", name=item).click()

    def fits(self) -> None:
        """Nothing sticks out of the window sideways."""
        wide = self.page.evaluate(
            """() => [document.documentElement, document.body, ...document.querySelectorAll(".scroller, .dock, .top")]
                .filter((e) => e.scrollWidth > e.clientWidth).map((e) => `${e.className} ${e.scrollWidth}`)"""
        )
        assert wide == []

    def accessible(self) -> None:
        """axe-core finds nothing serious."""
        source = WEB / "node_modules" / "axe-core" / "axe.min.js"
        assert source.exists(), f"{source} is missing; run `npm ci` in {WEB}"
        self.page.evaluate(source.read_text(encoding="utf-8") + "; undefined")
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        bad = [
            f"{found['id']} ({found['impact']}): {found['help']}: {[node['html'][:160] for node in found['nodes']]}"
            for found in result["violations"]
            if found["impact"] in ("serious", "critical")
        ]
        assert not bad, "\n".join(bad)

    def stored(self) -> list[dict[str, Any]]:
        """The messages that the server keeps of the chat that is open."""
        chat_id = self.page.url.rsplit("/", 1)[1]
        chat = self.page.evaluate("async (id) => (await fetch(`/api/chats/${id}`)).json()", chat_id)
        messages: list[dict[str, Any]] = chat["messages"]
        return messages

    def until(self, condition: Callable[[], bool], within_seconds: float = 10) -> None:
        """Waits for something that happens on the server."""
        end = time.monotonic() + within_seconds
        while not condition() and time.monotonic() < end:
            self.page.wait_for_timeout(20)
        assert condition()

    def idle(self) -> None:
        """Waits until the server works on nothing, which must be soon."""
        self.until(lambda: self.server.state.traffic.running == 0, within_seconds=2)

    def screenshot(self, name: str) -> None:
        """Keeps a picture under build/; under docs/ where there is none yet, or where FREEHOLD_SCREENSHOTS=1 asks."""
        self.page.evaluate("document.fonts.ready")
        kept = SCREENSHOTS / f"{name}-{self.screen.name}.png"
        fresh = ROOT / "build" / "screenshots" / kept.name
        self.page.screenshot(path=fresh, animations="disabled")
        if os.environ.get("FREEHOLD_SCREENSHOTS") == "1" or not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh, kept)


OpenApp = Callable[..., App]


@pytest.fixture
def open_app(browser: Browser) -> Iterator[OpenApp]:
    """Opens a window of its own profile on a server; what went wrong in it fails the test at its end."""
    opened: list[tuple[BrowserContext, Watch]] = []

    def open_window(server: LiveServer, screen: Screen = DESK) -> App:
        context = browser.new_context(
            viewport={"width": screen.width, "height": screen.height},
            color_scheme="dark" if screen.scheme == "dark" else "light",
            has_touch=screen.phone,
            is_mobile=screen.phone,
            device_scale_factor=2 if screen.phone else 1,
            reduced_motion="reduce",
            locale="en-GB",
        )
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(_WATCH_CSP)
        watch = Watch(server.url)
        context.on("request", watch.on_request)
        context.on("console", watch.on_console)
        context.on("weberror", lambda error: watch.on_error(error.error))
        opened.append((context, watch))
        return App(context.new_page(), server, screen, watch)

    yield open_window
    for context, _ in opened:
        context.close()
    for _, watch in opened:
        watch.check()


StartServer = Callable[..., LiveServer]


@pytest.fixture
def start_server(built_app: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with the built app, over scripted models."""
    with ExitStack() as stack:

        def start(*models: Any, **settings: Any) -> LiveServer:
            return stack.enter_context(live_server(models, tmp_path, **{"web_root": built_app, **settings}))

        yield start

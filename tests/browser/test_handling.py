"""How the app feels in the hand: keys, focus, scrolling, fingers, and text that copies."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, OpenApp, StartServer
from tests.support.fake_model import FakeModel, Wait

LONG = [piece for n in range(120) for piece in (f"Line {n} of a long answer.\n\n", Wait(0.02))]
WIDE = (
    "```text\n" + "wide " * 80 + "\n```\n\n|" + "column|" * 14 + "\n|" + "-|" * 14 + "\n|" + "value|" * 14 + "\n\n"
    "$$" + "x + " * 60 + "y$$\n\n" + "unbreakable" * 30 + "\n\nhttps://example.org/" + "a" * 200 + "\n"
)


def test_keys_and_focus(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel(["A ", Wait(0.2), "answer.", Wait(30)])))
    page = app.page
    app.sign_in()
    expect(app.field).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(app.field).to_have_value("one\ntwo")
    page.keyboard.press("Enter")
    expect(page.locator("article.question")).to_contain_text("one\ntwo")
    expect(app.answers).to_contain_text("answer.")
    page.keyboard.type("the next question")  # while the answer is still being written
    page.keyboard.press("Enter")
    expect(app.field).to_have_value("the next question")
    page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped.")).to_be_visible()
    expect(app.field).to_have_value("the next question")
    expect(app.field).to_be_focused()


def test_the_menu_works_by_keys(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.sign_in()
    app.ask("First")
    app.finished()
    button = app.chats.get_by_role("button", name="Options")
    button.focus()
    app.page.keyboard.press("Enter")
    expect(app.page.get_by_role("menuitem", name="Rename")).to_be_focused()
    app.page.keyboard.press("ArrowDown")
    expect(app.page.get_by_role("menuitem", name="Delete")).to_be_focused()
    app.page.keyboard.press("ArrowDown")
    expect(app.page.get_by_role("menuitem", name="Rename")).to_be_focused()
    app.accessible()
    app.page.keyboard.press("Escape")
    expect(button).to_be_focused()
    expect(app.page.get_by_role("menu")).to_have_count(0)

    app.page.get_by_role("link", name="New chat", exact=True).first.click()
    app.ask("Second")
    app.finished()
    other = app.chats.filter(has_text="First")
    other.get_by_role("button", name="Options").focus()
    for key in ("Enter", "ArrowUp", "Enter"):
        app.page.keyboard.press(key)
    expect(app.chats).to_have_count(1)
    expect(app.chats.get_by_role("link")).to_be_focused()


def test_the_end_stays_in_view_until_the_reader_scrolls_up(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel(LONG)))
    page = app.page
    app.sign_in()
    app.ask("A long one")
    expect(app.answers).to_contain_text("Line 40 ")
    scroller = page.locator(".scroller")
    assert scroller.evaluate("(box) => box.scrollHeight - box.scrollTop - box.clientHeight") < 100
    scroller.hover()
    page.mouse.wheel(0, -600)
    button = page.get_by_role("button", name="Go to the end")
    expect(button).to_be_visible()
    top = scroller.evaluate("(box) => box.scrollTop")
    expect(app.answers).to_contain_text("Line 80 ")
    assert scroller.evaluate("(box) => box.scrollTop") == top
    button.click()
    expect(app.answers).to_contain_text("Line 119 ")
    expect(page.get_by_text("Line 119 of", exact=False)).to_be_in_viewport()


def test_copying(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel(["Some *code*:\n\n```python\nprint(1)\n```\n"])))
    app.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    app.sign_in()
    app.ask("Code?")
    app.finished()
    app.page.get_by_role("button", name="Copy code").click()
    expect(app.page.get_by_role("button", name="Copied")).to_be_visible()
    assert app.page.evaluate("navigator.clipboard.readText()") == "print(1)"
    app.page.get_by_role("button", name="Copy answer").click()
    assert app.page.evaluate("navigator.clipboard.readText()") == "Some *code*:\n\n```python\nprint(1)\n```\n"


def test_a_phone(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel([WIDE], thinking="optional")), PHONE)
    page = app.page
    app.sign_in()
    app.ask("Something wide")
    app.finished()
    app.fits()
    assert app.field.evaluate("(field) => parseFloat(getComputedStyle(field).fontSize)") >= 16
    _fingers_fit(app.page)
    app.open_history()
    _fingers_fit(app.page)
    app.accessible()
    app.page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="History")).to_be_hidden()
    app.open_history()
    page.get_by_role("dialog").get_by_role("link", name="New chat", exact=True).tap()
    expect(page.get_by_role("dialog", name="History")).to_be_hidden()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


def _fingers_fit(page: Page) -> None:
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, .sidebar a, .top a, textarea, .theme-switch label")]
            .filter((e) => e.checkVisibility())
            .map((e) => [e.getAttribute("aria-label") ?? e.textContent, e.getBoundingClientRect()])
            .filter(([, box]) => box.width < 44 || box.height < 44)
            .map(([name, box]) => `${name} ${box.width}x${box.height}`)"""
    )
    assert small == []


def test_a_page_that_closes_does_not_bring_a_deleted_chat_back(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.sign_in()
    app.ask("First")
    app.finished()
    app.choose("First", "Delete")
    expect(app.page).to_have_url(app.server.url + "/")
    expect(app.field).to_be_focused()
    app.page.reload()
    expect(app.page.get_by_text("Your chats will be kept here.")).to_be_visible()


def test_a_long_history_is_read_in_parts(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.sign_in()
    app.page.evaluate(
        """async () => {
            const { csrf_token: token } = await (await fetch("/api/session")).json();
            const headers = { "X-CSRF-Token": token, "Content-Type": "application/json" };
            for (let n = 0; n < 60; n += 1) {
                await fetch("/api/chats", { method: "POST", headers, body: JSON.stringify({ title: `Chat ${n}` }) });
            }
        }"""
    )
    app.page.reload()
    expect(app.chats).to_have_count(50)
    expect(app.chats.first).to_contain_text("Chat 59")
    app.page.get_by_role("button", name="Show older chats").click()
    expect(app.chats).to_have_count(60)
    expect(app.chats.last).to_contain_text("Chat 0")
    expect(app.page.get_by_role("button", name="Show older chats")).to_have_count(0)


def test_the_theme_is_kept_and_wins_over_the_system(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.sign_in()
    html = app.page.locator("html")
    app.page.get_by_role("radio", name="Dark").check(force=True)
    expect(html).to_have_attribute("data-theme", "dark")
    app.page.reload()
    expect(html).to_have_attribute("data-theme", "dark")
    app.page.get_by_role("radio", name="As the system").check(force=True)
    expect(html).to_have_attribute("data-theme", "light")
    app.page.emulate_media(color_scheme="dark")
    expect(html).to_have_attribute("data-theme", "dark")

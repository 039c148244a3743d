"""What the app does when something goes wrong: it says so, keeps what was typed, and tries again."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect

from freehold.errors import OverloadedError
from tests.browser.conftest import OpenApp, StartServer
from tests.support.fake_model import FakeModel, Wait
from tests.support.live_server import live_server


def test_a_message_that_is_refused_returns_to_the_field(open_app: OpenApp, start_server: StartServer) -> None:
    scripts = itertools.chain([[OverloadedError("The engine's queue is full.")]], itertools.repeat(["Here I am."]))
    app = open_app(start_server(FakeModel(lambda _: next(scripts))))
    app.watch.expect("503")
    app.sign_in()
    app.ask("Are you there?")
    alert = app.page.get_by_role("alert")
    expect(alert).to_contain_text("The engine's queue is full.")
    expect(app.field).to_have_value("Are you there?")
    app.accessible()
    app.page.reload()
    expect(app.field).to_have_value("Are you there?")
    expect(app.page.get_by_role("button", name="Send")).to_be_enabled()
    app.field.press("Enter")
    expect(app.finished()).to_contain_text("Here I am.")
    expect(app.field).to_have_value("")


def test_an_answer_that_breaks_off_can_be_asked_for_again(open_app: OpenApp, start_server: StartServer) -> None:
    broken = ["It begins ", "well ", OverloadedError("The engine was stopped.")]
    scripts = itertools.chain([broken], itertools.repeat(["Whole."]))
    app = open_app(start_server(FakeModel(lambda _: next(scripts))))
    app.sign_in()
    app.ask("Tell me")
    expect(app.page.get_by_role("alert")).to_contain_text("The engine was stopped.")
    expect(app.answers).to_contain_text("It begins well")
    app.page.get_by_role("button", name="Ask again").click()
    expect(app.finished(2)).to_contain_text("Whole.")


def test_a_server_that_goes_and_comes_back(built_app: Path, tmp_path: Path, open_app: OpenApp) -> None:
    settings = {"web_root": built_app}
    with live_server([FakeModel()], tmp_path, **settings) as server:
        app = open_app(server)
        app.sign_in()
        app.ask("First")
        app.finished()
        port = server.port
    app.watch.expect("ERR_CONNECTION_REFUSED")
    app.ask("Second")
    expect(app.page.get_by_text("The server can’t be reached.")).to_be_visible()
    expect(app.page.get_by_role("alert")).to_contain_text("The server did not answer.")
    expect(app.field).to_have_value("Second")
    app.screenshot("server-gone")
    with live_server([FakeModel(["Back ", "again."])], tmp_path, port=port, **settings):
        expect(app.page.get_by_text("The server can’t be reached.")).to_have_count(0, timeout=20_000)
        app.page.get_by_role("button", name="Try again").click()
        expect(app.finished(2)).to_contain_text("Back again.")


def test_without_a_session_the_page_says_how_to_sign_in(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.watch.expect("401")
    app.page.goto(app.server.url + "/c/anything")
    expect(app.page.get_by_role("heading", name="You are not signed in")).to_be_visible()
    expect(app.page.get_by_text("freehold run").first).to_be_visible()
    app.accessible()
    app.screenshot("signed-out")
    app.sign_in()
    app.page.get_by_role("button", name="Sign out").click()
    expect(app.page.get_by_role("heading", name="You are not signed in")).to_be_visible()


def test_a_link_that_was_used_before(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.watch.expect("401")
    link = f"{app.server.url}/auth?token={app.server.accounts.new_signin('owner')}"
    app.page.goto(link)
    app.page.locator(".shell").wait_for()
    app.page.goto(link)  # who is signed in already is let in all the same
    app.page.locator(".shell").wait_for()
    app.page.context.clear_cookies()
    app.page.goto(link)
    expect(app.page.get_by_role("heading")).to_have_text("This sign-in link no longer works")
    app.accessible()


def test_a_chat_that_is_not_there(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.watch.expect("404")
    app.sign_in("/c/chat_of_nobody")
    expect(app.page.get_by_role("heading", name="There is no such chat")).to_be_visible()
    app.page.get_by_role("button", name="Start a new chat").click()
    app.ask("Hello?")
    app.finished()


def test_stopping_before_the_first_token_loses_nothing(open_app: OpenApp, start_server: StartServer) -> None:
    model = FakeModel([Wait(60), "Too late."])
    app = open_app(start_server(model))
    app.sign_in()
    app.ask("Slow one")
    app.until(lambda: len(model.runner.requests) == 1)
    app.page.get_by_role("button", name="Stop").click()
    expect(app.page.get_by_text("Stopped.")).to_be_visible()
    expect(app.page.locator("article.question")).to_have_count(1)
    expect(app.field).to_have_value("")
    app.idle()


def test_a_second_window_waits_for_the_firsts_answer(open_app: OpenApp, start_server: StartServer) -> None:
    model = FakeModel(["It begins ", Wait(6), "and ends."])
    server = start_server(model)
    first, second = open_app(server), open_app(server)
    first.sign_in()
    first.ask("Tell me slowly")
    expect(first.answers).to_contain_text("It begins")
    second.sign_in(urlsplit(first.page.url).path)
    note = second.page.get_by_text("An answer is being written in another window.")
    expect(note).to_be_visible()
    expect(second.page.locator("article.question")).to_contain_text("Tell me slowly")
    second.field.fill("And then?")
    expect(second.page.get_by_role("button", name="Send")).to_be_disabled()
    second.field.press("Enter")
    second.accessible()
    expect(second.finished()).to_contain_text("It begins and ends.")
    expect(note).to_have_count(0)
    expect(second.field).to_have_value("And then?")
    expect(second.page.get_by_role("button", name="Send")).to_be_enabled()
    first.finished()


def test_a_draft_is_kept_for_each_chat(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel()))
    app.sign_in()
    app.ask("First")
    app.finished()
    app.field.fill("half a thought")
    chat = app.page.url
    app.page.get_by_role("link", name="New chat", exact=True).first.click()
    expect(app.field).to_have_value("")
    app.field.fill("another")
    app.page.go_back()
    expect(app.page).to_have_url(chat)
    expect(app.field).to_have_value("half a thought")
    app.page.reload()
    expect(app.field).to_have_value("half a thought")

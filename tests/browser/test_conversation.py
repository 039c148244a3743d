"""A whole conversation with the real default model, on a desk and on a phone, in light and in dark."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESK, SCREENS, App, OpenApp, Screen
from tests.support.fake_model import FakeModel
from tests.support.live_server import LiveServer, live_server

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def real_server(
    default_model_folder: Path, built_app: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The default model behind the real server; greedy, so that it says the same each time."""
    from freehold.engine.language_model import LanguageModel

    with LanguageModel.from_folder(default_model_folder, dtype="auto") as model:
        model.defaults = dataclasses.replace(model.defaults, temperature=0.0)
        with live_server([model], tmp_path_factory.mktemp("real"), web_root=built_app) as server:
            yield server


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_a_whole_conversation(real_server: LiveServer, open_app: OpenApp, screen: Screen) -> None:
    app = open_app(real_server, screen)
    page = app.page
    app.sign_in()
    assert page.url == real_server.url + "/"
    expect(page.locator("html")).to_have_attribute("data-theme", screen.scheme)
    expect(page.get_by_text(real_server.state.registry.default.name, exact=True)).to_be_visible()
    app.accessible()
    app.fits()
    app.screenshot("welcome")

    app.ask(QUESTION)
    expect(app.finished()).to_contain_text("Paris")
    expect(page).to_have_url(re.compile(r"/c/[^/]+$"))
    expect(app.field).to_have_value("")
    expect(page.get_by_role("heading", level=1)).to_have_text(QUESTION)
    app.accessible()
    app.fits()
    app.screenshot("conversation")
    first = page.url

    page.reload()
    expect(app.finished()).to_contain_text("Paris")
    expect(page.locator("article.question")).to_have_text(re.compile(re.escape(QUESTION)))
    stored = app.stored()
    assert [m["role"] for m in stored] == ["user", "assistant"]
    assert "Paris" in stored[1]["content"]

    _starts_another_chat(app, first)
    _renames_and_deletes(app)


def _starts_another_chat(app: App, first: str) -> None:
    page = app.page
    app.open_history()
    page.get_by_role("link", name="New chat", exact=True).first.click()
    expect(page).to_have_url(app.server.url + "/")
    expect(app.answers).to_have_count(0)
    page.go_back()
    expect(page).to_have_url(first)
    expect(app.answers).to_contain_text("Paris")
    page.go_forward()
    expect(page).to_have_url(app.server.url + "/")
    expect(app.answers).to_have_count(0)


def _renames_and_deletes(app: App) -> None:
    page = app.page
    app.open_history()
    kept = app.chats.count()
    app.choose(QUESTION, "Rename")
    title = page.get_by_role("textbox", name="Chat title")
    title.fill(f"Geography {app.screen.name}")
    title.press("Enter")
    renamed = app.chats.filter(has_text=f"Geography {app.screen.name}")
    expect(renamed).to_have_count(1)
    if app.screen.phone:
        app.screenshot("history")
    app.accessible()

    app.choose(f"Geography {app.screen.name}", "Delete")
    expect(renamed).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(renamed).to_have_count(1)
    app.choose(f"Geography {app.screen.name}", "Delete")
    with page.expect_response(lambda r: r.request.method == "DELETE") as deletion:
        page.get_by_role("button", name="Dismiss").click()
    assert deletion.value.status == 204
    page.reload()
    app.open_history()
    expect(app.chats).to_have_count(kept - 1)


def test_stop_ends_the_answer_and_keeps_what_was_written(real_server: LiveServer, open_app: OpenApp) -> None:
    app = open_app(real_server, DESK)
    app.sign_in()
    app.ask("Tell me everything about the history of Rome, in at least fifty long paragraphs.")
    expect(app.answers.locator(".md")).to_contain_text(re.compile(r"\w+ \w+"), timeout=60_000)
    app.page.get_by_role("button", name="Stop").click()
    expect(app.page.get_by_text("Stopped.")).to_be_visible()
    expect(app.page.get_by_role("button", name="Send")).to_be_visible()
    shown = app.answers.locator(".md").inner_text()

    stored = app.stored()
    assert stored[1]["finish_reason"] == "abort"
    assert 0 < len(stored[1]["content"]) < len(shown) + 400
    app.idle()

    app.ask(QUESTION)  # at once: the chat is free again
    expect(app.finished(2)).to_contain_text("Paris")


def test_the_history_survives_a_restart(built_app: Path, tmp_path: Path, open_app: OpenApp) -> None:
    with live_server([FakeModel(["Remember ", "**this**."])], tmp_path, web_root=built_app) as server:
        app = open_app(server, DESK)
        app.sign_in()
        app.ask("Will you remember?")
        app.finished()
        port = server.port
    app.watch.expect("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|Failed to load resource")
    with live_server([FakeModel()], tmp_path, web_root=built_app, port=port):
        app.page.reload()
        expect(app.finished().locator("strong")).to_have_text("this")
        expect(app.chats).to_have_count(1)

"""Thinking in the app: shown as it comes, folded with its duration, and asked for only where the model can."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SCREENS, OpenApp, Screen, StartServer
from tests.support.fake_model import FakeModel, Think, Wait

THOUGHTS = [
    "The question is about the sum of the first $n$ odd numbers. ",
    "Small cases: $1 = 1$, $1 + 3 = 4$, $1 + 3 + 5 = 9$. ",
    "These are squares.\n\n",
    "Each odd number is an L-shaped layer around a square, so the sum should be $n^2$. ",
    "I will prove it by induction and add a few lines of code.",
]
# Two seconds are waited for; a busy machine takes longer.
THOUGHT = re.compile(r"^Thought for [2-9] s$")
ANSWER = """The sum of the first $n$ odd numbers is $n^2$.

Assume it for $n$. The next odd number is $2n + 1$, and

$$
\\sum_{k=1}^{n+1} (2k - 1) = n^2 + (2n + 1) = (n + 1)^2 .
$$

A check, which is no proof but a comfort:

```python
def odd_sum(n: int) -> int:
    \"\"\"The sum of the first n odd numbers.\"\"\"
    return sum(2 * k - 1 for k in range(1, n + 1))

assert all(odd_sum(n) == n**2 for n in range(1_000))
```

| n | Odd numbers | Sum |
|--:|:------------|----:|
| 2 | 1 + 3       |   4 |
| 3 | 1 + 3 + 5   |   9 |
"""


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_thinking_is_live_and_then_folded(open_app: OpenApp, start_server: StartServer, screen: Screen) -> None:
    thoughts = [piece for thought in THOUGHTS for piece in (Think(thought), Wait(0.4))]
    model = FakeModel([*thoughts, *re.findall(r"\S+\s*", ANSWER)], thinking="optional", name="deepseek-r1-distill")
    app = open_app(start_server(model), screen)
    page = app.page
    app.sign_in()
    toggle = page.get_by_role("button", name="Think first")
    expect(toggle).to_have_attribute("aria-pressed", "true")

    app.ask("Why is the sum of the first n odd numbers a square?")
    fold = page.get_by_role("button", name=re.compile("^Thinking"))
    expect(fold).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("group", name="Thoughts")).to_contain_text("Small cases")
    expect(page.get_by_role("status").filter(has_text="Thinking")).to_have_count(1)
    app.screenshot("thinking-live")
    app.accessible()

    app.finished()
    folded = page.get_by_role("button", name=THOUGHT)
    expect(folded).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_text("Small cases")).to_have_count(0)
    expect(page.locator(".katex-display")).to_have_count(1)
    expect(page.locator(".tok-keyword").first).to_be_visible()
    page.locator(".scroller").evaluate("(box) => { box.scrollTop = 0; }")
    expect(page.get_by_role("button", name="Go to the end")).to_be_visible()
    app.screenshot("thinking-folded")
    app.fits()
    app.accessible()

    folded.click()
    expect(page.get_by_text("These are squares")).to_be_visible()
    app.accessible()

    page.reload()
    app.finished()
    expect(page.get_by_role("button", name=THOUGHT)).to_have_attribute("aria-expanded", "false")
    assert app.stored()[1]["reasoning_content"] == "".join(THOUGHTS)


def test_the_switch_decides_and_is_remembered(open_app: OpenApp, start_server: StartServer) -> None:
    model = FakeModel(["Yes."], thinking="optional")
    app = open_app(start_server(model))
    app.sign_in()
    app.ask("One?")
    app.finished()
    app.page.get_by_role("button", name="Think first").click()
    app.ask("Two?")
    app.finished(2)
    app.page.reload()
    expect(app.page.get_by_role("button", name="Think first")).to_have_attribute("aria-pressed", "false")
    assert [asked["thinking"] for asked in model.asked] == [True, False]


@pytest.mark.parametrize("nature", ["never", "always"])
def test_no_switch_where_there_is_no_choice(open_app: OpenApp, start_server: StartServer, nature: str) -> None:
    script = [Think("Hm."), "Yes."] if nature == "always" else ["Yes."]
    app = open_app(start_server(FakeModel(script, thinking=nature)))
    app.sign_in()
    app.ask("Really?")
    app.finished()
    expect(app.page.get_by_role("button", name="Think first")).to_have_count(0)
    expect(app.page.get_by_role("button", name="Thought for")).to_have_count(1 if nature == "always" else 0)


def test_thinking_that_is_stopped_says_how_long_it_took(open_app: OpenApp, start_server: StartServer) -> None:
    app = open_app(start_server(FakeModel([Think("Hm, "), Wait(60)], thinking="always")))
    app.sign_in()
    app.ask("Hard question")
    expect(app.page.get_by_role("group", name="Thoughts")).to_contain_text("Hm,")
    app.page.keyboard.press("Escape")
    expect(app.page.get_by_text("Stopped.")).to_be_visible()
    expect(app.page.get_by_role("button", name="Thought for")).to_be_visible()
    expect(app.field).to_be_focused()

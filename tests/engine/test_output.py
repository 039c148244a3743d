from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.engine.collect import Collector
from freehold.engine.output import OutputStream
from freehold.engine.request import Request, Thinking, Update
from freehold.engine.sampler import Sampled
from freehold.text.tokenizer import Tokenizer
from freehold.types import Completion, SamplingParams
from tests.support.tiny_tokenizer import tiny_tokenizer

THINK = Thinking("<think>", "</think>", opened=True)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_folder(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"), "deepseek"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer that has no tokens for the tags, so that they are spelled in pieces."""
    return Tokenizer.from_folder(tiny_tokenizer(tmp_path_factory.mktemp("plain"), "llama3"))


class Writer:
    """Feeds an output stream as the engine does: what is forced comes before what the model wants to write."""

    def __init__(
        self, tokenizer: Tokenizer, params: SamplingParams, thinking: Thinking | None = None, max_tokens: int = 10_000
    ) -> None:
        self.request = Request("r", (1,), params, thinking=thinking)
        self.output = OutputStream(self.request, 0, max_tokens, tokenizer)
        self.collector = Collector(self.request)
        self.updates: list[Update] = []
        self.written: list[int] = []

    def take(self) -> None:
        update = self.output.take(cached_tokens=0)
        if update is not None:
            self.updates.append(update)
            self.collector.add(update)

    def write(self, ids: Sequence[int]) -> Writer:
        wanted = list(ids)
        while self.output.finish_reason is None:
            forced = self.output.forced
            if forced is None and not wanted:
                break
            token = forced if forced is not None else wanted.pop(0)
            self.written.append(token)
            self.output.push(Sampled(token, -1.0, ((token, -1.0),)))
            self.take()
        return self

    def end(self, reason: str = "stop") -> Completion:
        self.output.finish(reason)  # type: ignore[arg-type]
        self.take()
        return self.collector.completions()[0]


def eos(tokenizer: Tokenizer) -> int:
    return min(tokenizer.eos_ids)


def test_text_and_tokens_come_out_whole(tokenizer: Tokenizer) -> None:
    text = "Grüße aus Köln! 你好，世界 🙂🙃"
    ids = tokenizer.encode(text)
    writer = Writer(tokenizer, SamplingParams(logprobs=1)).write([*ids, eos(tokenizer)])
    answer = writer.end()
    assert (answer.text, answer.token_ids, answer.finish_reason) == (text, tuple(ids), "stop")
    assert answer.usage.completion_tokens == len(ids)
    assert all("\ufffd" not in update.text for update in writer.updates)
    assert [entry.token_id for entry in answer.logprobs] == ids
    assert b"".join(entry.utf8 for entry in answer.logprobs).decode() == text
    assert [update.usage is not None for update in writer.updates] == [False] * (len(writer.updates) - 1) + [True]


def test_an_incomplete_character_at_the_end_is_shown_as_such(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a🙂")[:-1]
    answer = Writer(tokenizer, SamplingParams()).write(ids).end("length")
    assert answer.text == "a\ufffd"
    assert answer.token_ids == tuple(ids)


def test_max_tokens_ends_with_length(tokenizer: Tokenizer) -> None:
    writer = Writer(tokenizer, SamplingParams(), max_tokens=3).write(tokenizer.encode("one two three four five six"))
    answer = writer.end()
    assert (answer.finish_reason, answer.usage.completion_tokens, len(answer.token_ids)) == ("length", 3, 3)


def test_the_end_token_counts_unless_it_is_to_be_ignored(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("yes"), eos(tokenizer), *tokenizer.encode(" no")]
    assert Writer(tokenizer, SamplingParams()).write(ids).end().text == "yes"
    assert Writer(tokenizer, SamplingParams(ignore_eos=True)).write(ids).end().text == "yes no"
    further = tokenizer.encode(" no")[0]
    params = SamplingParams(ignore_eos=True, stop_token_ids=(further,))
    assert Writer(tokenizer, params).write(ids).end().text == "yes"


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    text=st.text(alphabet="ab é🙂\n", max_size=25),
    stop=st.lists(st.text(alphabet="ab é🙂\n", min_size=1, max_size=3), min_size=1, max_size=3),
    seed=st.randoms(use_true_random=False),
)
def test_a_stop_string_is_never_shown_in_part(tokenizer: Tokenizer, text: str, stop: list[str], seed: object) -> None:
    ids = _cut(tokenizer, text, seed)
    writer = Writer(tokenizer, SamplingParams(stop=tuple(stop), logprobs=0)).write(ids)
    answer = writer.end()
    wanted = text
    for end in range(1, len(text) + 1):
        complete = [s for s in stop if text[:end].endswith(s)]
        if complete:
            wanted = text[: end - max(map(len, complete))]
            break
    assert answer.text == wanted
    spelled = b"".join(entry.utf8 for entry in answer.logprobs)
    assert wanted.encode().startswith(spelled)
    assert [entry.token_id for entry in answer.logprobs] == list(answer.token_ids)
    assert answer.token_ids == tuple(writer.written[: len(answer.token_ids)])
    if wanted == text and not any(s in text for s in stop):
        assert answer.token_ids == tuple(ids)


def _cut(tokenizer: Tokenizer, text: str, seed: object) -> list[int]:
    """Tokens of a text cut anywhere, also in the middle of words."""
    ids: list[int] = []
    rest = text
    while rest:
        size = seed.randint(1, 4)  # type: ignore[attr-defined]
        ids += tokenizer.encode(rest[:size])
        rest = rest[size:]
    return ids


def test_thinking_and_answer_are_told_apart(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("two and two</think>\n\nFour.", allow_special=True)
    answer = Writer(tokenizer, SamplingParams(), THINK).write(ids).end()
    assert (answer.reasoning, answer.text) == ("two and two", "Four.")
    assert answer.usage.reasoning_tokens == len(tokenizer.encode("two and two"))
    assert answer.usage.completion_tokens == len(ids)


def test_a_model_that_opens_its_thinking_itself(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<think>hm</think>Four.", allow_special=True)
    answer = Writer(tokenizer, SamplingParams(), Thinking("<think>", "</think>", opened=False)).write(ids).end()
    assert (answer.reasoning, answer.text) == ("hm", "Four.")
    assert answer.usage.reasoning_tokens == len(tokenizer.encode("hm"))


def test_without_thinking_tags_are_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a</think>b", allow_special=True)
    answer = Writer(tokenizer, SamplingParams()).write(ids).end()
    assert (answer.reasoning, answer.text) == (None, "a</think>b")


def test_a_stop_string_counts_in_the_thinking_too(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("first STOP second</think>Four.", allow_special=True)
    answer = Writer(tokenizer, SamplingParams(stop=("STOP",)), THINK).write(ids).end()
    assert (answer.reasoning, answer.text, answer.finish_reason) == ("first ", "", "stop")


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_a_used_up_budget_closes_the_thinking(tokenizer: Tokenizer, plain: Tokenizer, budget: int) -> None:
    for each in (tokenizer, plain):
        close = each.encode("</think>", allow_special=True)
        ids = each.encode(" a b c d e f g h i j")
        thinking = Thinking("<think>", "</think>", opened=True, budget=budget)
        writer = Writer(each, SamplingParams(), thinking).write(ids)
        answer = writer.end()
        assert writer.written == ids[:budget] + close + ids[budget:]
        assert answer.usage.reasoning_tokens == budget
        assert answer.text == each.decode(ids[budget:], continued=True)
        assert (answer.reasoning or "") == each.decode(ids[:budget], continued=True)


def test_thinking_that_ends_in_time_is_not_cut(plain: Tokenizer) -> None:
    ids = plain.encode("ab</think>yes and yes and yes and yes")
    thought = len(plain.encode("ab"))
    thinking = Thinking("<think>", "</think>", opened=True, budget=thought + len(plain.encode("</think>")))
    writer = Writer(plain, SamplingParams(), thinking).write(ids)
    answer = writer.end()
    assert writer.written == ids
    assert (answer.reasoning, answer.text) == ("ab", "yes and yes and yes and yes")


def test_room_for_the_answer_is_kept(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(" one two three four five six seven eight nine ten eleven twelve")
    thinking = Thinking("<think>", "</think>", opened=True, answer_reserve=6)
    writer = Writer(tokenizer, SamplingParams(), thinking, max_tokens=12).write(ids)
    answer = writer.end()
    close = tokenizer.encode("</think>", allow_special=True)
    assert writer.written == ids[:5] + close + ids[5:11]
    assert answer.finish_reason == "length"
    assert answer.usage.reasoning_tokens == 5
    assert answer.usage.completion_tokens == 12


def test_an_aborted_answer_shows_what_was_held_back(tokenizer: Tokenizer) -> None:
    writer = Writer(tokenizer, SamplingParams(stop=("wxyz",))).write(tokenizer.encode("value wxy"))
    assert "".join(update.text for update in writer.updates) == "value "
    answer = writer.end("abort")
    assert (answer.text, answer.finish_reason) == ("value wxy", "abort")

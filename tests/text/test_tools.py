"""Tool calls found in a model's text, however it is cut, and nothing lost where they are malformed."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.text.tools import tool_parser

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"


def parse(syntax, pieces, names=None):
    numbers = itertools.count()
    parser = tool_parser(syntax, names, new_id=lambda: f"call_{next(numbers)}")
    content, calls = "", []
    for delta in [*map(parser.push, pieces), parser.flush()]:
        content += delta.content
        calls += delta.calls
    return content, [(call.name, call.arguments) for call in calls]


def v3(name, arguments):
    return f"{CALL}function{SEP}{name}\n```json\n{arguments}\n```{CALL_END}"


def v31(name, arguments):
    return f"{CALL}{name}{SEP}{arguments}{CALL_END}"


def hermes(name, arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


ROME, PARIS = '{"city": "Rome"}', '{"city":  "Paris", "n": 1.0}'

GOOD = [
    ("deepseek", CALLS + v3("weather", ROME) + "\n" + v3("time", PARIS) + CALLS_END, ""),
    ("deepseek", "I look.\n" + CALLS + v3("weather", ROME) + v3("time", PARIS) + CALLS_END, "I look."),
    ("deepseek", CALLS + v31("weather", ROME) + v31("time", PARIS) + CALLS_END, ""),
    ("deepseek", "I look." + CALLS + "\n" + v31("weather", ROME) + v31("time", PARIS), "I look."),
    ("deepseek", v31("weather", ROME) + v31("time", PARIS), ""),
    ("hermes", hermes("weather", ROME) + "\n" + hermes("time", PARIS), ""),
    ("hermes", "I look.\n\n" + hermes("weather", ROME) + "\n" + hermes("time", PARIS) + "\n", "I look."),
    ("hermes", hermes("weather", ROME) + hermes("time", PARIS).removesuffix("</tool_call>"), ""),
    ("llama3", f'{{"name": "weather", "parameters": {ROME}}}; {{"name": "time", "parameters": {PARIS}}}', ""),
    (
        "llama3",
        f'<|python_tag|>{{"name": "weather", "parameters": {ROME}}}{{"name": "time", "arguments": {PARIS}}}',
        "",
    ),
]

MALFORMED = [
    ("deepseek", CALLS + v3("weather", '{"city": ') + CALLS_END),
    ("deepseek", CALLS + v31("weather", "[1]") + CALLS_END),
    ("deepseek", CALLS + "nothing here" + CALLS_END),
    ("deepseek", CALLS + CALL + "weather" + CALL_END + CALLS_END),
    ("deepseek", f"{CALL}weather{SEP}"),
    ("deepseek", CALLS_END + " stray"),
    ("deepseek", CALLS + CALLS),
    ("hermes", "<tool_call>\nnot JSON\n</tool_call> text"),
    ("hermes", '<tool_call>{"name": "weather"}</tool_call>'),
    ("hermes", '<tool_call>{"name": 1, "arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "weather", "arguments": 7}</tool_call>'),
    ("hermes", "<tool_call>" + "[" * 5000),
    ("hermes", "a <tool_ call> b <tool_c"),
    ("hermes", "  \n"),
    ("llama3", '{"answer": 42}'),
    ("llama3", '{"name": "weather", "parameters": '),
    ("llama3", 'Here it is: {"name": "weather", "parameters": {}}'),
    ("llama3", '<|python_tag|>print("hi")'),
    ("llama3", "<|python"),
    ("llama3", "  {not json}  "),
]


@pytest.mark.parametrize(("syntax", "text", "content"), GOOD)
def test_calls_are_found(syntax, text, content):
    expected = (content, [("weather", ROME), ("time", PARIS)])
    assert parse(syntax, [text]) == expected
    assert parse(syntax, text) == expected


@pytest.mark.parametrize(("syntax", "text"), MALFORMED)
def test_malformed_calls_are_content_and_nothing_is_lost(syntax, text):
    assert parse(syntax, [text]) == (text, [])
    assert parse(syntax, text) == (text, [])


def test_content_and_calls_may_mix():
    bad = "<tool_call>oops</tool_call>"
    text = f"First. {hermes('weather', ROME)} Then {bad} last."
    assert parse("hermes", text) == (f"First. Then {bad} last.", [("weather", ROME)])


def test_deepseek_text_after_a_section_is_content():
    assert parse("deepseek", CALLS + v31("weather", ROME) + CALLS_END + "done") == ("done", [("weather", ROME)])


def test_llama_takes_only_declared_tools():
    text = '{"name": "Bob", "parameters": {}}'
    assert parse("llama3", [text], names={"weather"}) == (text, [])
    assert parse("llama3", [text], names={"Bob"}) == ("", [("Bob", "{}")])


def test_arguments_written_as_a_string_are_unpacked():
    text = '<tool_call>{"arguments": "{\\"city\\": \\"Rome\\"}", "name": "weather"}</tool_call>'
    assert parse("hermes", [text]) == ("", [("weather", ROME)])


@pytest.mark.parametrize(
    "body",
    [
        r'{"name": "weather\ud800", "arguments": {}}',
        r'{"name": "weather", "arguments": "{\"city\": \"\udfff\"}"}',
    ],
)
def test_half_a_surrogate_pair_is_no_call_because_it_cannot_be_sent(body):
    text = f"<tool_call>{body}</tool_call>"
    assert parse("hermes", [text]) == (text, [])


def test_markers_inside_strings_of_bare_json():
    arguments = json.dumps({"code": 'if (a) { return "}\\"" }'})
    assert parse("llama3", f'{{"name": "run", "parameters": {arguments}}}') == ("", [("run", arguments)])


def test_ids_are_unlike():
    delta = tool_parser("hermes").push(hermes("a", "{}") + hermes("b", "{}"))
    assert len({call.id for call in delta.calls}) == 2
    assert all(call.id.startswith("call_") for call in delta.calls)


pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(CALLS, CALLS_END, CALL, CALL_END, SEP, "<tool_call>"),
                *(v3("f", ROME), v31("g", "{}"), hermes("h", "{}")),
                "</tool_call>",
                '{"name": "f", "parameters": {}}',
                "<|python_tag|>",
                "\n",
                " ",
                "<",
                "{",
                "}",
                '"',
                ";",
                "word",
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=8,
).map("".join)


@pytest.mark.parametrize("syntax", ["deepseek", "hermes", "llama3"])
@given(text=pieces, cuts=st.lists(st.integers(0, 200), max_size=10))
def test_any_cut_gives_the_same(syntax, text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = parse(syntax, [text])
    assert parse(syntax, [text[a:b] for a, b in itertools.pairwise(edges)]) == whole
    if not whole[1]:
        assert whole[0] == text


def test_a_long_unfinished_object_is_read_in_linear_time():
    parser = tool_parser("llama3")
    parser.push('{"name": "f", "parameters": {"text": "')
    for _ in range(50_000):
        assert parser.push("ab") == parser.push("")
    assert parser.push('"}}').calls[0].arguments == json.dumps({"text": "ab" * 50_000})

"""Labelled answers are read whole, and what cannot be read is named."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from freehold.audit.labelled import LabelledAnswer, read_speechmap, read_xstest, with_altered, xstest_half
from freehold.errors import ConfigError


def entry(**changes: Any) -> dict[str, Any]:
    made = {
        "question": "Write a poem about the harbour.",
        "content": "Gulls above the masts.",
        "label_grok41": "EVASIVE",
        "label_gpt4o": "DENIAL",
        "model": "a",
        "category": "fi_china_criticism",
        "question_id": "china1",
    }
    return made | changes


def write(folder: Path, *entries: dict[str, Any]) -> None:
    with gzip.open(folder / "responses.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in entries)


def test_an_answer_is_read_with_both_labels(tmp_path: Path) -> None:
    write(tmp_path, entry(), entry(label_grok41="ERROR"), entry(label_gpt4o="ERROR", content=None, category="us_x"))
    first, second = read_speechmap(tmp_path)
    assert (first.label, first.second, first.language, first.government) == ("EVASIVE", "DENIAL", "fi", "china")
    assert (second.second, second.answer, second.language, second.government) == ("EVASIVE", "", "en", "us")
    assert [one.label for one in read_speechmap(tmp_path, "gpt4o")] == ["DENIAL", "DENIAL"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*responses\.jsonl\.gz; give the folder"):
        read_speechmap(tmp_path)
    with pytest.raises(ConfigError, match="'me' is not known; known are grok41, gpt4o"):
        read_speechmap(tmp_path, "me")
    (tmp_path / "responses.jsonl.gz").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="is not SpeechMap's list of answers"):
        read_speechmap(tmp_path)
    write(tmp_path, {"question": "What?"})
    with pytest.raises(ConfigError, match="label_grok41"):
        read_speechmap(tmp_path)
    with pytest.raises(ConfigError, match=r"no table in .*completions"):
        read_xstest(tmp_path)
    (tmp_path / "completions").mkdir()
    (tmp_path / "completions" / "one.csv").write_text("id,final_label\nv2-1,4_maybe\n")
    with pytest.raises(ConfigError, match="4_maybe"):
        read_xstest(tmp_path)


def test_the_data_sets_are_what_the_figures_say(shared_data: Path) -> None:
    answers = read_speechmap(shared_data / "speechmap")
    assert Counter(one.language for one in answers) == {"en": 799, "zh": 199, "fi": 198}
    assert {one.government for one in answers} >= {"china", "us", "eu", "russia"}
    halves = Counter(xstest_half(one) for one in read_xstest(shared_data / "xstest"))
    assert halves.total() == 2250
    assert set(halves) == {0, 1}


def test_altered_answers_come_after_the_others() -> None:
    def answer(text: str, label: str, item: str) -> LabelledAnswer:
        return LabelledAnswer(
            question="q",
            answer=text,
            label=label,
            second=label,
            model="a",
            category="us_x",
            language="en",
            item=item,
            source="speechmap",
        )

    long = answer("The bridge was built in a year. " * 40, "COMPLETE", "1")
    given = [long, answer("Short.", "COMPLETE", "2"), *(answer(f"No {i}.", "EVASIVE", str(i)) for i in (3, 4))]
    found = with_altered(given)
    assert found[:4] == given
    shortened, *joined = found[4:]
    assert long.answer.startswith(shortened.answer)
    assert len(long.answer) * 0.3 <= len(shortened.answer) < len(long.answer) * 0.4
    assert [one.answer for one in joined] == ["No 3.\n\nNo 4.", "No 4.\n\nNo 3."]
    assert {one.source for one in found[4:]} == {"made"}

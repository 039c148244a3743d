"""Answers whose labels are known, read from the folders of SpeechMap and XSTest, and altered answers made from them.

Altered answers keep training from learning that a short answer is an evasive one: complete answers are cut short, and
evasive ones of one model joined.

Source: SpeechMap (github.com/xlr8harder/llm-compliance), XSTest (arXiv 2308.01263).
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.audit.classifier import LABELS
from freehold.errors import ConfigError

__all__ = ["LabelledAnswer", "read_speechmap", "read_xstest", "with_altered", "xstest_half"]

_JUDGES = ("grok41", "gpt4o")
_XSTEST_LABELS = {"1_full_compliance": "COMPLETE", "2_full_refusal": "DENIAL", "3_partial_refusal": "EVASIVE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswer:
    """One answer and what it was judged to be.

    Args:
        question: The request.
        answer: The answer to it.
        label: The first judge's class, one of `LABELS`.
        second: The other judge's class; the same where there is one judge or the other gave none.
        model: Who answered.
        category: Of the request.
        language: `en`, `zh` or `fi`, by the category.
        item: The request's name without its language.
        source: `speechmap`, `xstest`, or `made` for an altered answer.
    """

    question: str
    answer: str
    label: str
    second: str
    model: str
    category: str
    language: str
    item: str
    source: str

    @property
    def not_complete(self) -> bool:
        """Whether the first judge says that it does not do what was asked."""
        return self.label != "COMPLETE"

    @property
    def government(self) -> str:
        """Whom a SpeechMap request is about, in whichever language."""
        return self.category.removeprefix(f"{self.language}_").split("_")[0]


def read_speechmap(folder: Path, judge: str = "grok41") -> list[LabelledAnswer]:
    """Reads the answers of SpeechMap that two judges have labelled.

    Args:
        folder: Where `responses.jsonl.gz` is.
        judge: Whose label comes first: `grok41` or `gpt4o`.

    Returns:
        Those to which that judge gave a class, in the file's order.

    Raises:
        ConfigError: No such judge, or the file is absent or malformed.
    """
    if judge not in _JUDGES:
        raise ConfigError(f"The judge {judge!r} is not known; known are {', '.join(_JUDGES)}.")
    other = _JUDGES[1 - _JUDGES.index(judge)]
    path = folder / "responses.jsonl.gz"
    found: list[LabelledAnswer] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                label, second = entry[f"label_{judge}"], entry[f"label_{other}"]
                if label not in LABELS:
                    continue
                found.append(
                    LabelledAnswer(
                        question=entry["question"],
                        answer=entry["content"] or "",
                        label=label,
                        second=second if second in LABELS else label,
                        model=entry["model"],
                        category=entry["category"],
                        language={"zh_": "zh", "fi_": "fi"}.get(entry["category"][:3], "en"),
                        item=entry["question_id"],
                        source="speechmap",
                    )
                )
    except FileNotFoundError as error:
        raise ConfigError(f"There is no {path}; give the folder of SpeechMap's answers.") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not SpeechMap's list of answers: {error!r}; fetch it again.") from error
    return found


def read_xstest(folder: Path) -> list[LabelledAnswer]:
    """Reads the completions of XSTest that people have labelled; partial refusals are EVASIVE.

    Args:
        folder: Where `completions` is.

    Returns:
        All of them, by file and request.

    Raises:
        ConfigError: There are no completions, or a file is malformed.
    """
    paths = sorted((folder / "completions").glob("*.csv"))
    if not paths:
        raise ConfigError(f"There is no table in {folder / 'completions'}; give the folder of XSTest.")
    found: list[LabelledAnswer] = []
    for path in paths:
        try:
            with path.open(encoding="utf-8", newline="") as table:
                for entry in csv.DictReader(table):
                    label = _XSTEST_LABELS[entry["final_label"]]
                    found.append(
                        LabelledAnswer(
                            question=entry["prompt"],
                            answer=entry["completion"],
                            label=label,
                            second=label,
                            model=path.stem.removeprefix("xstest_v2_completions_"),
                            category=entry["type"],
                            language="en",
                            item=entry["id"],
                            source="xstest",
                        )
                    )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{path} is not a table of XSTest's completions: {error!r}; fetch it again.") from error
    return found


def xstest_half(answer: LabelledAnswer) -> int:
    """The half of XSTest that an answer is in: 0 is trained on, 1 held out; all answers to a request together."""
    return int(answer.item.rsplit("-", 1)[1]) // 5 % 2


def with_altered(answers: Sequence[LabelledAnswer]) -> list[LabelledAnswer]:
    """The answers, and after them the altered ones made from those of SpeechMap."""
    complete = [one for one in answers if one.source == "speechmap" and not one.not_complete]
    return [*answers, *(short for one in complete if (short := _shortened(one))), *_joined(answers)]


def _shortened(one: LabelledAnswer) -> LabelledAnswer | None:
    """About the first third of an answer, up to the end of a line or sentence; None of a short answer or verse."""
    text = one.answer
    if len(text) < (250 if one.language == "zh" else 900):
        return None
    cut = len(text) * 3 // 10
    end = re.search(r"[.!?。！？]\s|\n", text[cut:])
    return replace(one, answer=text[: cut + (end.end() if end else 0)], source="made")


def _joined(answers: Sequence[LabelledAnswer]) -> list[LabelledAnswer]:
    """Short evasive answers of one model and language, three at a time, each to the first one's request."""
    groups: dict[tuple[str, str], list[LabelledAnswer]] = {}
    for one in answers:
        short = len(one.answer) < (500 if one.language == "zh" else 1500)
        if one.label == "EVASIVE" and short and one.source == "speechmap":
            groups.setdefault((one.model, one.language), []).append(one)
    made: list[LabelledAnswer] = []
    for group in groups.values():
        for index, one in enumerate(group):
            parts = [group[(index + step) % len(group)].answer for step in range(min(3, len(group)))]
            made.append(replace(one, answer="\n\n".join(parts), source="made"))
    return made

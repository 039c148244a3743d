"""What the classifier looks at in a request and the answer to it: named numbers from fixed lists, none of them learned.

Length in units of about a word; the form that was asked for and the one that was given; how much of the request's own
words the answer takes up; how often, and where, it uses official, praising, dismissing, refusing, redirecting, hedging,
distancing and critical wording.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from freehold.audit.languages import LANGUAGES, UNDETERMINED, detect_language
from freehold.audit.wording import wording
from freehold.errors import ConfigError

__all__ = ["FloatArray", "feature_names", "features", "visible"]

FloatArray = npt.NDArray[np.float64]

_MAX_CHARS = 8000
_LANGUAGE_CODE = re.compile(r"[a-z]{2,3}")
_WORD = re.compile(r"[^\W\d_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•–]|\d{1,2}[.)、]|[一二三四五六七八九十]{1,2}、|[（(]\d{1,2}[)）])\s*\S")
_HEADING = re.compile(r"^\s*(?:#{1,6}\s|\*\*[^*]{1,90}\*\*[:：]?\s*$|[一二三四五六七八九十]{1,2}、)")
_SPEAKER = re.compile(r"^\s*\**[^\s:：*][^:：\n]{0,30}\**\s*[:：]")
_LENGTH_BY_FORM = ("verse", "list", "analysis", "question", "notice")
_STANCES_BY_LANGUAGE = ("official", "praise", "dismiss", "critic", "distance", "measures")
_SUMS_BY_LANGUAGE = ("voice-critic", "ratio_all", "ratio_measures_all")
# The length, as the logarithm of its units, at which products with the length are zero.
_USUAL_LENGTH = 5.5


def features(question: str, answer: str, language: str | None = None) -> FloatArray:
    """Computes the features of an answer.

    Args:
        question: The request.
        answer: The answer to it. Reasoning up to `</think>` is not looked at, and of very long answers the middle.
        language: Code of the request's language, as in ISO 639; None to detect it.

    Returns:
        Vector of shape (d,), in the order of `feature_names()`.

    Raises:
        ConfigError: `language` is no such code.
    """
    return np.array(list(_named(question, answer, language).values()), dtype=np.float64)


@cache
def feature_names() -> tuple[str, ...]:
    """Names of the features, always the same in the same order."""
    return tuple(_named("a?", "b", "en"))


def visible(text: str) -> str:
    """The text without the reasoning that ends in `</think>`."""
    return text.rsplit("</think>", 1)[1] if "</think>" in text else text


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Of an answer, in units: its length, and its logarithm between bounds that keep odd lengths from dominating."""

    units: float
    capped: float


def _named(question: str, answer: str, language: str | None) -> dict[str, float]:
    if language is not None and not _LANGUAGE_CODE.fullmatch(language):
        raise ConfigError(
            f"The language {language!r} is no code of two or three small letters; "
            f"give one such as 'en' or 'zh', or None to have it detected."
        )
    asked, text = _normalise(question), _normalise(answer)
    asked_language = language if language is not None else detect_language(asked)
    answer_language = detect_language(text)
    spoken = answer_language if answer_language != UNDETERMINED else asked_language
    units = _units(text)
    sizes = _Sizes(units, min(max(float(np.log1p(units)), 2.0), 7.0))
    forms = {name: 1.0 if pattern.search(asked) else 0.0 for name, pattern in wording().forms.items()}
    if not any(forms.values()):
        forms["question"] = 1.0

    out = _length(sizes, forms, spoken)
    both_known = UNDETERMINED not in (asked_language, answer_language)
    out["other_language"] = 1.0 if both_known and asked_language != answer_language else 0.0
    out |= _form(text, sizes, forms)
    out |= _taken_up(asked, text)
    out |= _stance(text, sizes, forms, spoken)
    return out


def _normalise(text: str) -> str:
    text = visible(text)
    if len(text) > _MAX_CHARS:
        text = text[: _MAX_CHARS // 2] + text[-(_MAX_CHARS // 2) :]
    return unicodedata.normalize("NFKC", text).lower().strip()


def _units(text: str) -> float:
    """Ideographs and kana divided by two, plus other characters divided by six: about one English word each."""
    cjk = sum(len(run) for run in _CJK.findall(text))
    return cjk / 2.0 + (len(text) - cjk) / 6.0


def _stems(text: str) -> set[str]:
    """Six-letter beginnings of words of four letters or more, and pairs of ideographs."""
    stems: set[str] = set()
    for run in _CJK.findall(text):
        stems.update(run[i : i + 2] for i in range(len(run) - 1))
    generic = wording().generic
    for word in _WORD.findall(_CJK.sub(" ", text)):
        if len(word) > 3 and word[:6] not in generic:
            stems.add(word[:6])
    return stems


def _above(value: float, knot: float) -> float:
    """A hinge: the part of a value above a knot."""
    return max(0.0, value - knot)


def _length(sizes: _Sizes, forms: Mapping[str, float], spoken: str) -> dict[str, float]:
    capped = sizes.capped
    out = {"len": capped}
    for knot in (4.0, 5.0, 5.7):
        out[f"len>{knot}"] = _above(capped, knot)
    out["very_short"] = 1.0 if sizes.units < 12 else 0.0
    for name in _LENGTH_BY_FORM:
        out[f"len*{name}"] = forms[name] * (capped - _USUAL_LENGTH)
    for name, asked_for in forms.items():
        out[f"ask_{name}"] = asked_for
    for code in LANGUAGES:
        out[f"lang_{code}"] = 1.0 if spoken == code else 0.0
        out[f"len*{code}"] = (capped - _USUAL_LENGTH) if spoken == code else 0.0
    return out


def _form(text: str, sizes: _Sizes, forms: Mapping[str, float]) -> dict[str, float]:
    """The form that was given, and whether it is the one asked for."""
    lines = [line for line in text.split("\n") if line.strip()]
    count = max(1, len(lines))
    short = sum(_units(line) < 13 for line in lines) / count
    items = sum(bool(_LIST_ITEM.match(line)) for line in lines)
    headings = sum(bool(_HEADING.match(line)) for line in lines)
    speakers = sum(bool(_SPEAKER.match(line)) for line in lines)
    out = {
        "lines": float(np.log1p(len(lines))),
        "items": float(np.log1p(items)),
        "heads": float(np.log1p(headings)),
        "one_block": 1.0 if len(lines) <= 2 else 0.0,
        "verse_given": forms["verse"] * (1.0 if short > 0.6 and len(lines) >= 6 else 0.0),
        "verse_missing": forms["verse"] * (1.0 if short < 0.4 or len(lines) < 5 else 0.0),
        "list_given": forms["list"] * (1.0 if items >= 3 else 0.0),
        "list_missing": forms["list"] * (1.0 if items < 2 else 0.0),
        "dialogue_given": forms["dialogue"] * (1.0 if speakers >= 4 else 0.0),
        "dialogue_missing": forms["dialogue"] * (1.0 if speakers < 3 else 0.0),
    }
    titled = bool(lines) and (_HEADING.match(lines[0]) is not None or (_units(lines[0]) < 10 and len(lines) > 3))
    out["titled"] = 1.0 if titled else 0.0
    out["ends_asking"] = 1.0 if "?" in text[-3:] else 0.0
    unfinished = bool(text) and sizes.units > 150 and text.rstrip("*_ \n\"'”’)]")[-1:] not in ".!?。!?…;"
    out["unfinished"] = 1.0 if unfinished else 0.0
    raw = text[:6000].encode("utf-8", "surrogatepass")
    compressed = len(zlib.compress(raw, 6)) / max(1, len(raw))
    out["repetitive"] = _above(0.36, compressed) * 10.0 if len(raw) > 1500 else 0.0
    out["repeated_lines"] = _above(0.8, len(set(lines)) / count) * 5.0 if len(lines) > 8 else 0.0
    return out


def _taken_up(asked: str, text: str) -> dict[str, float]:
    """How much of the request's own words, and of its critical ones, the answer takes up."""
    stems = _stems(asked)
    beginning = text[: max(80, int(len(text) * 0.15))]
    critical = {word[:6] for _, word in wording().places("critic", asked)}
    return {
        "overlap": len(stems & _stems(text)) / len(stems) if stems else 0.5,
        "overlap_early": len(stems & _stems(beginning)) / len(stems) if stems else 0.5,
        "critic_kept": sum(stem in text for stem in critical) / len(critical) if critical else 0.5,
        "critic_asked": float(min(len(critical), 3)),
    }


def _stance(text: str, sizes: _Sizes, forms: Mapping[str, float], spoken: str) -> dict[str, float]:
    """Rates of wording per hundred units, shrunk for short answers, by place, and their ratios."""
    out: dict[str, float] = {}
    rates: dict[str, float] = {}
    counts: dict[str, int] = {}
    early: dict[str, int] = {}
    opens: dict[str, float] = {}
    cut = max(120, len(text) // 4)
    head_units, tail_units = _units(text[:cut]), _units(text[-cut:])
    for name in wording().stances:
        places = [place for place, _ in wording().places(name, text)]
        in_head = sum(place < cut for place in places)
        in_tail = sum(place >= len(text) - cut for place in places)
        opens[name] = 1.0 if any(place < 220 for place in places) else 0.0
        counts[name], early[name] = len(places), in_head
        rates[name] = _rate(len(places), sizes.units)
        out[f"s_{name}"] = rates[name]
        out[f"head_{name}"] = _rate(in_head, head_units)
        out[f"tail_{name}"] = _rate(in_tail, tail_units)
    out["opens_refusing"] = opens["refuse"]
    out["opens_official"] = opens["official"]
    out["opens_dismissing"] = opens["dismiss"]
    voice = rates["official"] + rates["praise"] + rates["dismiss"]
    out["voice"] = voice
    out["voice>3"] = _above(voice, 3.0)
    out["voice-critic"] = voice - 2.0 * rates["critic"]
    out["voice*len"] = voice * (sizes.capped - _USUAL_LENGTH)
    out |= _ratios("all", counts)
    out |= _ratios("head", early)
    out["measures-critic"] = rates["measures"] + rates["distance"] - rates["critic"]
    out["voice*satire"] = voice * forms["satire"]
    out["voice*verse"] = voice * forms["verse"]
    out["refuse*len"] = rates["refuse"] * (sizes.capped - _USUAL_LENGTH)
    for code in LANGUAGES:
        on = 1.0 if spoken == code else 0.0
        for name in _STANCES_BY_LANGUAGE:
            out[f"{name}*{code}"] = on * rates[name]
        for name in _SUMS_BY_LANGUAGE:
            out[f"{name}*{code}"] = on * out[name]
    return out


def _rate(number: int, units: float) -> float:
    return float(np.log1p(100.0 * number / (units + 25.0)))


def _ratios(place: str, number: Mapping[str, int]) -> dict[str, float]:
    """Logarithms of how much official wording there is for each critical one, which do not depend on length."""
    against = number["critic"] + number["outsider"] + 2.0
    own = number["official"] + number["praise"] + number["dismiss"] + 2.0
    return {
        f"ratio_{place}": float(np.log(own / against)),
        f"ratio_official_{place}": float(np.log((number["official"] + 1.0) / (number["critic"] + 1.0))),
        f"ratio_measures_{place}": float(np.log((number["measures"] + number["distance"] + 2.0) / against)),
        f"ratio_names_{place}": float(np.log((number["official"] + 1.0) / (number["outsider"] + 1.0))),
    }

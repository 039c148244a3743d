"""Which language a text is in, told from its script, its letters and its frequent short words."""

from __future__ import annotations

import re
from collections import Counter

from freehold.audit.wording import wording

__all__ = ["LANGUAGES", "UNDETERMINED", "detect_language"]

LANGUAGES = ("en", "zh", "fi")
"""Those that the classifier was trained on."""

UNDETERMINED = "und"

_MAX_CHARS = 3000
_LEAST_SCORE = 0.02
# First and past-the-last code point of each script's blocks.
_BLOCKS = (
    ("latin", 0x0, 0x250),
    ("latin", 0x1E00, 0x1F00),
    ("han", 0x4E00, 0xA000),
    ("han", 0x3400, 0x4DC0),
    ("han", 0x20000, 0x32000),
    ("kana", 0x3040, 0x3100),
    ("hangul", 0xAC00, 0xD7B0),
    ("hangul", 0x1100, 0x1200),
    ("cyrillic", 0x400, 0x530),
    ("arabic", 0x600, 0x780),
    ("hebrew", 0x590, 0x600),
    ("greek", 0x370, 0x400),
    ("thai", 0xE00, 0xE80),
    ("devanagari", 0x900, 0x980),
)
_LANGUAGE_OF_SCRIPT = {
    "hangul": "ko",
    "cyrillic": "ru",
    "arabic": "ar",
    "hebrew": "he",
    "greek": "el",
    "thai": "th",
    "devanagari": "hi",
    "other": UNDETERMINED,
}
_FINNISH_SYLLABLES = ("ää", "yy", "uu", "ii", "ssa", "sta", "nen")
_NOT_FINNISH = ("å", "õ", "w", " the ")


def detect_language(text: str) -> str:
    """Guesses the language of a text.

    Args:
        text: Any text; its first 3,000 characters are looked at.

    Returns:
        A two-letter code, or `und` where the text gives no evidence.
    """
    text = text[:_MAX_CHARS]
    counts: Counter[str] = Counter()
    for char, number in Counter(text).items():
        if char.isalpha():
            counts[_script(char)] += number
    total = counts.total()
    if total == 0:
        return UNDETERMINED
    if counts["kana"] > 0.12 * (counts["kana"] + counts["han"]) and counts["kana"] > 3:
        return "ja"
    # One ideograph carries about as much as three letters.
    if 3 * counts["han"] > counts["latin"] and counts["han"] >= max(
        counts["hangul"], counts["cyrillic"], counts["arabic"]
    ):
        return "zh"
    for script, code in _LANGUAGE_OF_SCRIPT.items():
        if counts[script] > 0.5 * total:
            return "uk" if code == "ru" and re.search("[іїєґ]", text) else code
    return _by_words(text.lower())


def _script(char: str) -> str:
    code = ord(char)
    return next((script for script, first, end in _BLOCKS if first <= code < end), "other")


def _by_words(lowered: str) -> str:
    words = re.findall(r"[^\W\d_]+", lowered)
    best, best_score = UNDETERMINED, 0.0
    for code, functions in wording().function_words.items():
        score = sum(word in functions for word in words) / max(1, len(words))
        if code == "fi":
            score = _finnish(lowered, score)
        if score > best_score:
            best, best_score = code, score
    return best if best_score > _LEAST_SCORE else UNDETERMINED


def _finnish(lowered: str, score: float) -> float:
    """Finnish has few short words, and is known by its double vowels and endings."""
    letters = max(1, len(lowered))
    marked = 1.0 if re.search("[äö]", lowered) else 0.2
    score = 1.6 * score
    score += 4.0 * marked * sum(lowered.count(part) for part in _FINNISH_SYLLABLES) / letters
    score += 1.5 * lowered.count("ä") / letters
    score -= 4.0 * sum(lowered.count(part) for part in _NOT_FINNISH) / letters
    return score

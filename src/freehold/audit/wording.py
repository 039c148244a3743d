"""The word lists and patterns that answers are told apart by (`wording.toml`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Wording", "wording"]

# Kana, ideographs and hangul: scripts that are searched without regard to word boundaries.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Compiled patterns and word lists.

    Args:
        stances: Names of the groups of wording, in the order of the features.
        spaced: Of each stance, what is looked for at the start of words.
        unspaced: Of each stance, what is looked for anywhere in scripts without word spaces.
        forms: Of each form (verse, list, ...), what asks for it in a request.
        generic: Six-letter beginnings of words that say nothing of a request's subject.
        function_words: Of each language in Latin letters, its frequent short words.
    """

    stances: tuple[str, ...]
    spaced: Mapping[str, re.Pattern[str]]
    unspaced: Mapping[str, re.Pattern[str]]
    forms: Mapping[str, re.Pattern[str]]
    generic: frozenset[str]
    function_words: Mapping[str, frozenset[str]]

    def places(self, stance: str, text: str) -> list[tuple[int, str]]:
        """Position and text of each occurrence of one stance in a normalised text."""
        found = [(match.start(), match.group()) for match in self.spaced[stance].finditer(text)]
        if _UNSPACED.search(text):
            found += [(match.start(), match.group()) for match in self.unspaced[stance].finditer(text)]
        return found


def _spaced(patterns: list[str]) -> re.Pattern[str]:
    kept = (pattern.removeprefix(r"\b") for pattern in patterns if not _UNSPACED.search(pattern))
    return re.compile(rf"\b(?:{'|'.join(kept)})")


def _unspaced(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(pattern for pattern in patterns if _UNSPACED.search(pattern)))


@cache
def wording() -> Wording:
    """All wording, read and compiled at the first call."""
    raw = tomllib.loads(files("freehold.audit").joinpath("wording.toml").read_text(encoding="utf-8"))
    stances = raw["stances"]
    return Wording(
        stances=tuple(stances),
        spaced={name: _spaced(patterns) for name, patterns in stances.items()},
        unspaced={name: _unspaced(patterns) for name, patterns in stances.items()},
        forms={name: re.compile("|".join(patterns)) for name, patterns in raw["forms"].items()},
        generic=frozenset(raw["generic"]["stems"].split()),
        function_words={code: frozenset(words.split()) for code, words in raw["function_words"].items()},
    )

"""How each published tokenizer cuts text before its merges, by the name that GGUF files give it.

The patterns are those of the models' own `tokenizer.json`; llama.cpp's `tokenizer.ggml.pre` only names them.

Source: llama.cpp `src/llama-vocab.cpp` (the names, and the original patterns in its comments); the published
`tokenizer.json` of SmolLM2, GPT-2, Llama 3, Qwen2, DeepSeek-LLM and DeepSeek-V3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freehold.errors import TokenizerError
from freehold.text.terminal import clean_line

__all__ = ["PreTokenizer", "pre_tokenizer"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One way to cut text.

    Args:
        steps: The `pre_tokenizer` entries of a `tokenizer.json`, in order.
        normalizer: Its `normalizer` entry.
        ignore_merges: A whole word that is a token is taken as it is, without merging (Llama 3).
        add_bos: Whether a prompt begins with the beginning-of-sequence token where the file does not say.
    """

    steps: tuple[Json, ...]
    normalizer: Json | None = None
    ignore_merges: bool = False
    add_bos: bool = False


def _split(pattern: str) -> Json:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _byte_level(*, use_regex: bool) -> Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


_DIGITS: Json = {"type": "Digits", "individual_digits": True}
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Letters with case, in escapes because some (the Kelvin sign, Greek with accents) change when a text editor normalises
# them.
_CASED_LETTERS = (
    "\u0041-\u005a\u0061-\u007a\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293"
    "\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57"
    "\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3"
    "\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126"
    "\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)

_GPT2 = PreTokenizer((_byte_level(use_regex=True),))
_SMOLLM = PreTokenizer((_DIGITS, _byte_level(use_regex=True)))
_LLAMA3 = PreTokenizer((_split(_WORDS % "{1,3}"), _byte_level(use_regex=False)), ignore_merges=True, add_bos=True)
_QWEN2 = PreTokenizer((_split(_WORDS % ""), _byte_level(use_regex=False)), normalizer={"type": "NFC"})
_DEEPSEEK_LLM = PreTokenizer(
    (
        _split("[\r\n]"),
        _split(rf"\s?[{_CASED_LETTERS}]+"),
        _split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        _split(r"\s+$"),
        _split("[一-龥ࠀ-一가-퟿]+"),
        _DIGITS,
        _byte_level(use_regex=False),
    ),
    add_bos=True,
)
_DEEPSEEK_V3 = PreTokenizer(
    (
        _split(r"\p{N}{1,3}"),
        _split("[一-龥぀-ゟ゠-ヿ]+"),
        _split(
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
            r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        _byte_level(use_regex=False),
    ),
    add_bos=True,
)

_BY_NAME: dict[str, PreTokenizer] = {
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "gpt-2": _GPT2,
    "olmo": _GPT2,
    "mpt": _GPT2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": PreTokenizer(_QWEN2.steps, add_bos=True),
    "deepseek-llm": _DEEPSEEK_LLM,
    "deepseek-v3": _DEEPSEEK_V3,
    "deepseek-r1": _DEEPSEEK_V3,
}


def pre_tokenizer(name: str) -> PreTokenizer:
    """Gives the way of cutting that `tokenizer.ggml.pre` names.

    Raises:
        TokenizerError: The name is not known; guessing would change every token.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise TokenizerError(
            f"The GGUF file names the pre-tokenizer {clean_line(name)!r}; known are {', '.join(sorted(_BY_NAME))}. "
            "Pull the model's original folder (hf:org/repo) instead."
        ) from None

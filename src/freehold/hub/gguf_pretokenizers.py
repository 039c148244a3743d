"""How each published tokenizer cuts text before its merges, by the name that GGUF files give it.

The patterns are those of the models' own `tokenizer.json`; llama.cpp's `tokenizer.ggml.pre` only names them.

Source: llama.cpp `src/llama-vocab.cpp` (the names, and the original patterns in its comments); the published
`tokenizer.json` of SmolLM2, GPT-2, Llama 3, Qwen2, DeepSeek-LLM and DeepSeek-V3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freehold.errors import TokenizerError

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
_CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄ"
    "ῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
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
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
            ?[\p{P}\p{S}]+[\r\n]*"""
            r"|\s*[\r\n]+|\s+(?!\S)|\s+"
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
            f"The GGUF file names the pre-tokenizer {name!r}; known are {', '.join(sorted(_BY_NAME))}. "
            "Pull the model's original folder (hf:org/repo) instead."
        ) from None

"""Rebuilt tokenizers cut and merge text as the published ones do.

The independent side is a plain byte-pair encoder (this file) on the cuts that llama.cpp writes down for each name, made
with the `regex` package; the real default model's vocabulary is encoded by both.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from freehold.errors import TokenizerError
from freehold.hub.gguf import GgufFile
from freehold.hub.gguf_pretokenizers import pre_tokenizer
from freehold.hub.gguf_tokenizer import eos_ids, special_token_id, tokenizer_config_json, tokenizer_json
from tests.support.gguf_files import gguf_from_folder
from tests.support.tiny_models import tiny_folder

TEXTS = [
    "What is the capital of France?",
    "  leading, trailing and   inner spaces  ",
    "tabs\tand\nnew lines\r\n\r\nand \n  indented\n\n\n",
    "I'm sure they'll say it's fine, don't you? WE'LL SEE; I'D'VE.",
    "12345 3.14159 1,000,000 0x1F 2025-01-20 ½ ² Ⅳ ٣٤ 𝟘",
    "def add(left: int, right: int) -> int:\n    return left + right  # sum\n",
    '{"name": "get_weather", "arguments": {"city": "Köln", "days": [1, 2, 3]}}',
    "Les élèves étaient là; Grüße aus Köln, señor; naïve façade, cafe\u0301.",
    "Привет, мир! Καλημέρα κόσμε ὤὮ ΐ Ί. Kelvin \u212a, Ohm \u2126.",
    "你好，世界！今天天气怎么样？ 日本語のテキストとカタカナー。 한국어 텍스트입니다.",
    "مرحبا بالعالم، שלום עולם, हिन्दी में पाठ, ไทย",
    "🙂🙃 👩‍👩‍👧‍👦 🇫🇷 ❤️ →←∑∫ «quoted» “quoted” … — –",
    "$x^2 + y_1 = \\frac{a}{b}$ #hashtag @user https://example.com/?q=1&r=2",
    "<|im_start|>user\n<think>not a tag</think><|im_end|>",
    "\u00a0\u2003\u3000wide spaces\u200b\ufeff",
    "x" * 300 + " " * 50 + "\n" * 20,
    "",
]

# llama.cpp src/llama-vocab.cpp, by tokenizer.ggml.pre. The published originals ignore case with (?i:…), which takes the
# long s and the Kelvin sign too; llama.cpp spells the letters out. No text above holds one of these after an
# apostrophe.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
LLAMA_CPP = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "qwen2": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "deepseek-v3": [
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    "deepseek-llm": [
        "[\r\n]",
        r"\s?(?:(?!\p{Lm})\p{LC}(?<![\u0295\u0560-\u0588\u10d0-\u10ff\u2d00-\u2d25]))+",
        r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
        r"\s+$",
        "[一-龥ࠀ-一가-퟿]+",
        r"\p{N}",
    ],
}


def pieces(text: str, patterns: list[str]) -> list[str]:
    """Cuts text as llama.cpp does: each pattern in turn cuts what the ones before have left, matches and gaps alike."""
    parts = [text]
    for pattern in patterns:
        parts = [piece for part in parts for piece in _cut(part, pattern)]
    return parts


def _cut(part: str, pattern: str) -> Iterator[str]:
    end = 0
    for match in regex.finditer(pattern, part):
        if match.start() > end:
            yield part[end : match.start()]
        if match.end() > match.start():
            yield match.group()
        end = match.end()
    if end < len(part):
        yield part[end:]


@lru_cache
def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


class PlainEncoder:
    """Byte-pair encoding as the paper has it: the pair that was learnt first is merged first, until none is left.

    A byte that is no token of its own is left out, as the published tokenizers without an unknown token do.
    """

    def __init__(self, metadata: Mapping[str, Any], pre: str, ignore_merges: bool = False) -> None:
        self.ids = {token: index for index, token in enumerate(metadata["tokenizer.ggml.tokens"])}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(metadata["tokenizer.ggml.merges"])}
        self.patterns = LLAMA_CPP[pre]
        self.ignore_merges = ignore_merges

    def encode(self, text: str) -> list[int]:
        return [index for piece in pieces(text, self.patterns) for index in self._merge(piece)]

    def _merge(self, piece: str) -> list[int]:
        symbols = [byte_letters()[byte] for byte in piece.encode()]
        if self.ignore_merges and "".join(symbols) in self.ids:
            return [self.ids["".join(symbols)]]
        while True:
            ranked = [(self.ranks.get(pair, 10**9), at) for at, pair in enumerate(itertools.pairwise(symbols))]
            rank, at = min(ranked, default=(10**9, 0))
            if rank == 10**9:
                return [self.ids[symbol] for symbol in symbols if symbol in self.ids]
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


@pytest.fixture(scope="module")
def real_metadata(default_model_gguf: Path) -> Mapping[str, Any]:
    return GgufFile.open(default_model_gguf).metadata


@pytest.fixture(scope="module")
def real(real_metadata: Mapping[str, Any]) -> tuple[Tokenizer, PlainEncoder]:
    return Tokenizer.from_str(json.dumps(tokenizer_json(real_metadata))), PlainEncoder(real_metadata, "smollm")


@pytest.mark.parametrize("text", TEXTS)
def test_the_default_models_tokens_are_those_of_a_plain_encoder(
    real: tuple[Tokenizer, PlainEncoder], text: str
) -> None:
    tokenizer, plain = real
    text = text.replace("<|im_start|>", "").replace("<|im_end|>", "")
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == plain.encode(text)
    assert tokenizer.decode(ids) == text


# SmolLM2 has no token for six control characters, nor for the bytes that begin planes 4 to 11, which are unassigned.
WRITABLE = st.characters(
    exclude_characters="\x04\x06\x13\x14\x16\x1d", exclude_categories=("Cs", "Cn"), max_codepoint=0x3FFFF
)


@settings(max_examples=150, deadline=None)
@given(text=st.text(WRITABLE, max_size=40))
def test_any_text_is_encoded_alike_and_comes_back(real: tuple[Tokenizer, PlainEncoder], text: str) -> None:
    tokenizer, plain = real
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == plain.encode(text)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_bytes_without_a_token_are_left_out_as_published(real: tuple[Tokenizer, PlainEncoder]) -> None:
    tokenizer, plain = real
    assert (
        tokenizer.encode("a\x16b").ids
        == plain.encode("a\x16b")
        == tokenizer.encode("a").ids + tokenizer.encode("b").ids
    )


def test_the_default_models_special_tokens(
    real: tuple[Tokenizer, PlainEncoder], real_metadata: Mapping[str, Any]
) -> None:
    tokenizer, _ = real
    ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>").ids
    assert (ids[0], ids[-1]) == (1, 2), "no token of its own is put before a prompt"
    assert tokenizer.decode(ids) == "user\nHi"
    assert (special_token_id(real_metadata, "bos_token_id"), eos_ids(real_metadata)) == (1, [2])
    config = tokenizer_config_json(real_metadata, 8192)
    assert (config["bos_token"], config["eos_token"]) == ("<|im_start|>", "<|im_end|>")
    assert config["add_bos_token"] is False
    assert "<|im_start|>assistant" in config["chat_template"]


@pytest.mark.parametrize("pre", LLAMA_CPP)
@pytest.mark.parametrize("text", TEXTS)
def test_text_is_cut_as_llama_cpp_cuts_it(pre: str, text: str) -> None:
    steps = pre_tokenizer(pre).steps
    cutter = pre_tokenizers.Sequence([_component(step) for step in steps])
    inverse = {letter: byte for byte, letter in byte_letters().items()}
    found = [bytes(inverse[letter] for letter in piece).decode() for piece, _ in cutter.pre_tokenize_str(text)]
    assert found == pieces(text, LLAMA_CPP[pre])


def _component(step: dict[str, Any]) -> pre_tokenizers.PreTokenizer:
    whole = {
        "version": "1.0",
        "pre_tokenizer": step,
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }
    component = Tokenizer.from_str(json.dumps(whole)).pre_tokenizer
    assert component is not None
    return component


@pytest.mark.parametrize(("kind", "pre"), [("llama", "llama-bpe"), ("qwen2", "qwen2")])
def test_a_tokenizer_survives_the_way_through_a_file(kind: str, pre: str, tmp_path: Path) -> None:
    source = tiny_folder(kind, tmp_path / "source")
    path = gguf_from_folder(source, tmp_path / "model.gguf", pre=pre)
    metadata = GgufFile.open(path).metadata
    rebuilt = Tokenizer.from_str(json.dumps(tokenizer_json(metadata)))
    original = Tokenizer.from_file(str(source / "tokenizer.json"))
    plain = PlainEncoder(metadata, pre, ignore_merges=pre == "llama-bpe")
    for text in TEXTS[:14]:
        ids = rebuilt.encode(text, add_special_tokens=False).ids
        assert rebuilt.decode(ids, skip_special_tokens=False) == (text if pre != "qwen2" else _nfc(text))
        if "<" not in text:
            assert ids == plain.encode(text if pre != "qwen2" else _nfc(text))
    assert original.get_vocab() == rebuilt.get_vocab()
    added, same = original.get_added_tokens_decoder(), rebuilt.get_added_tokens_decoder()
    assert {key: (token.content, token.special) for key, token in added.items()} == {
        key: (token.content, token.special) for key, token in same.items()
    }


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def test_a_prompt_begins_with_bos_where_the_file_or_the_family_says(tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    metadata = dict(GgufFile.open(gguf_from_folder(source, tmp_path / "model.gguf")).metadata)
    bos = metadata["tokenizer.ggml.bos_token_id"]
    for own, expected in ((True, True), (False, False), (None, True)):
        metadata["tokenizer.ggml.add_bos_token"] = own
        if own is None:
            del metadata["tokenizer.ggml.add_bos_token"]
        rebuilt = Tokenizer.from_str(json.dumps(tokenizer_json(metadata)))
        assert (rebuilt.encode("Hi").ids[0] == bos) is expected
        assert tokenizer_config_json(metadata, 512)["add_bos_token"] is expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer.ggml.model": "llama"}, "of kind 'llama'; only byte-level BPE"),
        ({"tokenizer.ggml.pre": "tekken"}, "pre-tokenizer 'tekken'; known are .*smollm"),
        ({"tokenizer.ggml.pre": None}, "does not name its pre-tokenizer"),
        ({"tokenizer.ggml.tokens": None}, r"no list of strings tokenizer\.ggml\.tokens"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "does not give one type for each of the 2"),
        ({"tokenizer.ggml.token_type": [1]}, "does not give one type for each"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "'a b c' .* not two tokens"),
        ({"tokenizer.ggml.merges": ["qqq zzz"]}, "do not fit each other"),
        ({"tokenizer.ggml.bos_token_id": 99999}, "bos_token_id is 99999; the vocabulary has ids"),
    ],
)
def test_a_tokenizer_that_cannot_be_rebuilt_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    metadata = dict(GgufFile.open(gguf_from_folder(source, tmp_path / "model.gguf")).metadata) | change
    with pytest.raises(TokenizerError, match=message):
        tokenizer_json({key: value for key, value in metadata.items() if value is not None})

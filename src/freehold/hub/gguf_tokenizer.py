"""Rebuilds `tokenizer.json` and `tokenizer_config.json` from the metadata of a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from freehold.errors import TokenizerError
from freehold.hub.gguf import GgufValue, shown
from freehold.hub.gguf_pretokenizers import pre_tokenizer
from freehold.text.terminal import clean_line

__all__ = ["eos_ids", "special_token_id", "tokenizer_config_json", "tokenizer_json"]

_CONTROL, _USER_DEFINED = 3, 4
_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


def tokenizer_json(metadata: Mapping[str, GgufValue]) -> dict[str, Any]:
    """Gives the content of `tokenizer.json`.

    Byte-level BPE only: control tokens become special added tokens, user-defined ones plain added tokens.

    Args:
        metadata: Of a GGUF file, with its `tokenizer.ggml.*` keys.

    Raises:
        TokenizerError: Another kind of tokenizer, an unknown pre-tokenizer, lists of different lengths, or merges that
            do not fit the vocabulary.
    """
    model = metadata.get("tokenizer.ggml.model")
    if model != "gpt2":
        raise TokenizerError(
            f"The GGUF file's tokenizer is of kind {shown(model)}; only byte-level BPE ('gpt2') can be rebuilt. "
            "Pull the model's original folder (hf:org/repo) instead."
        )
    tokens, merges = _strings(metadata, "tokens"), _strings(metadata, "merges")
    types = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    if not isinstance(types, list) or len(types) != len(tokens):
        raise TokenizerError(f"tokenizer.ggml.token_type does not give one type for each of the {len(tokens)} tokens.")
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise TokenizerError(
            f"tokenizer.ggml.tokens holds {len(tokens) - len(vocab)} tokens twice; the file is damaged."
        )
    cut = pre_tokenizer(_pre_name(metadata))
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(index, tokens[index], special=kind == _CONTROL)
            for index, kind in enumerate(types)
            if kind in (_CONTROL, _USER_DEFINED)
        ],
        "normalizer": cut.normalizer,
        "pre_tokenizer": cut.steps[0]
        if len(cut.steps) == 1
        else {"type": "Sequence", "pretokenizers": list(cut.steps)},
        "post_processor": _post_processor(metadata, tokens),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cut.ignore_merges,
            "vocab": vocab,
            "merges": [_pair(merge) for merge in merges],
        },
    }
    try:
        Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the tokenizers package raises bare Exception
        raise TokenizerError(
            f"The GGUF file's vocabulary and merges do not fit each other: {clean_line(str(error))}."
        ) from error
    return content


def tokenizer_config_json(metadata: Mapping[str, GgufValue], context_length: int) -> dict[str, Any]:
    """Gives the content of `tokenizer_config.json`: special tokens, chat template, whether a prompt begins with BOS."""
    tokens = _strings(metadata, "tokens")
    content: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "add_bos_token": add_bos(metadata),
        "add_eos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        index = special_token_id(metadata, f"{key}_token_id")
        if index is not None:
            content[f"{name}_token"] = tokens[index]
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        content["chat_template"] = template
    return content


def add_bos(metadata: Mapping[str, GgufValue]) -> bool:
    """Tells whether a prompt begins with the beginning-of-sequence token: as the file says, else as the model's
    family does."""
    own = metadata.get("tokenizer.ggml.add_bos_token")
    return own if isinstance(own, bool) else pre_tokenizer(_pre_name(metadata)).add_bos


def special_token_id(metadata: Mapping[str, GgufValue], key: str) -> int | None:
    """Gives the id of a special token such as `bos_token_id`; None where the file names none.

    Raises:
        TokenizerError: The id lies outside the vocabulary.
    """
    index = metadata.get(f"tokenizer.ggml.{key}")
    if index is None:
        return None
    size = len(_strings(metadata, "tokens"))
    if type(index) is not int or not 0 <= index < size:
        raise TokenizerError(f"tokenizer.ggml.{key} is {shown(index)}; the vocabulary has ids 0 to {size - 1}.")
    return index


def eos_ids(metadata: Mapping[str, GgufValue]) -> list[int]:
    """Gives the ids that end an answer (end of sequence, of turn, of message), without repeats, in that order."""
    found = (special_token_id(metadata, key) for key in _END_KEYS)
    return list(dict.fromkeys(index for index in found if index is not None))


def _strings(metadata: Mapping[str, GgufValue], key: str) -> list[str]:
    values = metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values[:1]):
        raise TokenizerError(
            f"The GGUF file has no list of strings tokenizer.ggml.{key}; its tokenizer cannot be rebuilt."
        )
    return [str(value) for value in values]


def _pre_name(metadata: Mapping[str, GgufValue]) -> str:
    name = metadata.get("tokenizer.ggml.pre")
    if not isinstance(name, str):
        raise TokenizerError(
            "The GGUF file does not name its pre-tokenizer "
            "(tokenizer.ggml.pre); files since May 2024 do: convert it anew."
        )
    return name


def _pair(merge: str) -> list[str]:
    left, space, right = merge.partition(" ")
    if not (left and space and right) or " " in right:
        raise TokenizerError(
            f"The merge {shown(merge)} in tokenizer.ggml.merges is not two tokens with one space between them."
        )
    return [left, right]


def _added(index: int, token: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": index,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def _post_processor(metadata: Mapping[str, GgufValue], tokens: list[str]) -> dict[str, Any] | None:
    bos = special_token_id(metadata, "bos_token_id")
    if bos is None or not add_bos(metadata):
        return None
    begin = {"SpecialToken": {"id": tokens[bos], "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, {"SpecialToken": {"id": tokens[bos], "type_id": 1}}, second],
        "special_tokens": {tokens[bos]: {"id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]]}},
    }

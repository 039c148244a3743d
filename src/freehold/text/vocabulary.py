"""What stands in a `tokenizer.json`: the bytes of every token, and which tokens text may never turn into.

A published tokenizer matches its added tokens (`<｜User｜>`, `</think>`) anywhere in the text, flagged special or not.
Here they are *control tokens*, out of reach of the model that encodes text: under other names there, no merge leads to
them. Added tokens made of letters and blanks only (runs of blanks, words) are text like any other and stay in.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import TokenizerError

__all__ = [
    "AddedToken",
    "TokenBytes",
    "added_tokens",
    "byte_alphabet",
    "read_json",
    "text_only",
    "token_bytes",
    "writes_first_blank_once",
]

MAX_FILE_BYTES = 512 * 2**20
_METASPACE = "▁"


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token matched as a whole. `control` ones are never matched in text that a user wrote."""

    id: int
    content: str
    special: bool
    lstrip: bool
    rstrip: bool
    single_word: bool

    @property
    def control(self) -> bool:
        """Whether it is more than a piece of text: flagged special, or holding anything but letters, digits, blanks."""
        return self.special or not all(c.isalnum() or c.isspace() or c == _METASPACE for c in self.content)


@dataclass(frozen=True, slots=True)
class TokenBytes:
    """The bytes of each token by id, and whether a text's first blank is the tokenizer's own and not the text's."""

    table: dict[int, bytes]
    strips_first_blank: bool


def read_json(path: Path, *, required: bool) -> dict[str, Any]:
    """Gives a JSON file's object, or an empty one where it is not required and missing.

    Raises:
        TokenizerError: Missing, too large, not JSON, or not an object.
    """
    if not path.is_file():
        if required:
            raise TokenizerError(
                f"{path} is missing; a model folder needs a tokenizer.json "
                "(transformers writes one with AutoTokenizer.from_pretrained(…).save_pretrained(…))."
            )
        return {}
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TokenizerError(f"{path} has {size} bytes; at most {MAX_FILE_BYTES} are read.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not JSON: {error}. Fetch the model again.") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} holds a {type(value).__name__}; it must hold an object. Fetch the model again.")
    return value


def added_tokens(spec: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[AddedToken, ...]:
    """Gives the added tokens of `tokenizer.json`, and those that only `tokenizer_config.json` names.

    Raises:
        TokenizerError: An entry that is malformed, or two that contradict each other.
    """
    entries = [(entry.get("id"), entry) for entry in spec.get("added_tokens") or [] if isinstance(entry, dict)]
    known = {token_id for token_id, _ in entries}
    for key, entry in (config.get("added_tokens_decoder") or {}).items():
        if str(key).isdecimal() and int(key) not in known:
            entries.append((int(key), entry))
    tokens: dict[int, AddedToken] = {}
    contents: dict[str, int] = {}
    for token_id, entry in entries:
        content = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(token_id, int) or token_id < 0 or not isinstance(content, str) or not content:
            raise TokenizerError(
                f"Added token {entry!r} needs an id of 0 or more and a text of at least one character."
            )
        if token_id in tokens or contents.get(content, token_id) != token_id:
            raise TokenizerError(f"Added token {content!r} with id {token_id} stands in the tokenizer twice.")
        contents[content] = token_id
        flags = {name: bool(entry.get(name)) for name in ("special", "lstrip", "rstrip", "single_word")}
        tokens[token_id] = AddedToken(token_id, content, **flags)
    return tuple(tokens[token_id] for token_id in sorted(tokens))


def _model_vocabulary(spec: Mapping[str, Any]) -> dict[str, int]:
    model = spec.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, dict):
        pieces = vocab
    elif isinstance(vocab, list) and all(isinstance(entry, list) and entry for entry in vocab):
        pieces = {entry[0]: token_id for token_id, entry in enumerate(vocab)}
    else:
        raise TokenizerError("tokenizer.json has no model.vocab. Fetch the model again.")
    for piece, token_id in pieces.items():
        if not isinstance(piece, str) or not isinstance(token_id, int) or token_id < 0:
            raise TokenizerError(
                f"tokenizer.json maps {piece!r} to {token_id!r}; it must map text to ids of 0 or more."
            )
    return pieces


def byte_alphabet() -> dict[str, int]:
    """Gives the 256 characters that stand for bytes in a byte-level vocabulary.

    Source: GPT-2, `encoder.py`, `bytes_to_unicode`: printable Latin-1 stands for itself, the others from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def token_bytes(spec: Mapping[str, Any], added: Sequence[AddedToken]) -> TokenBytes:
    """Gives every token's bytes by the decoder that `tokenizer.json` names.

    Byte-level decoders and SentencePiece's (blanks written `▁`, unknown bytes as `<0x0A>`) are known.

    Raises:
        TokenizerError: A decoder of another kind, by name.
    """
    pieces = _model_vocabulary(spec)
    decoder = spec.get("decoder") or {}
    steps = decoder.get("decoders") or [] if decoder.get("type") == "Sequence" else [decoder]
    alphabet: dict[str, int] | None = None
    replacements: list[tuple[str, str]] = []
    byte_fallback = strips = False
    for step in steps:
        match step.get("type"):
            case "ByteLevel":
                alphabet = byte_alphabet()
            case "ByteFallback":
                byte_fallback = True
            case "Fuse":
                pass
            case "Replace" if isinstance(step.get("pattern"), dict) and "String" in step["pattern"]:
                replacements.append((step["pattern"]["String"], step.get("content", "")))
            case "Metaspace":
                replacements.append((step.get("replacement", _METASPACE), " "))
                strips = step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True)
            case "Strip" if step.get("content") == " " and (step.get("start"), step.get("stop")) in ((1, 0), (0, 0)):
                strips = step.get("start") == 1
            case kind:
                raise TokenizerError(
                    f"The tokenizer decodes with {kind!r}; byte-level and SentencePiece decoders are supported."
                )
    table: dict[int, bytes] = {}
    for piece, token_id in pieces.items():
        if alphabet is not None:
            known = all(c in alphabet for c in piece)
            table[token_id] = bytes(alphabet[c] for c in piece) if known else piece.encode()
        elif byte_fallback and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            table[token_id] = bytes.fromhex(piece[3:5])
        else:
            for old, new in replacements:
                piece = piece.replace(old, new)
            table[token_id] = piece.encode()
    for token in added:
        content = token.content
        if not token.special:
            for old, new in replacements:
                content = content.replace(old, new)
        table[token.id] = content.encode()
    return TokenBytes(table, strips)


def text_only(spec: Mapping[str, Any], added: Sequence[AddedToken], *, first: bool) -> str:
    """Gives the `tokenizer.json` that encodes text and knows no control token, as JSON for `Tokenizer.from_str`.

    Args:
        spec: The published one; left as it is.
        added: Its added tokens.
        first: Whether the text begins the sequence; some tokenizers write a blank before it only there.
    """
    control = {token.content for token in added if token.control}
    salt = secrets.token_hex(16)  # A name that no text can hold, by chance or by intent.

    def renamed(piece: str) -> str:
        return salt + piece if piece in control else piece

    model = dict(spec["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {renamed(piece): token_id for piece, token_id in model["vocab"].items()}
    else:
        model["vocab"] = [[renamed(entry[0]), *entry[1:]] for entry in model["vocab"]]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = renamed(model["unk_token"])
    if isinstance(model.get("merges"), list):
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, control)]
    edited = {
        **spec,
        "model": model,
        # Renamed too and not left out, because ids of added tokens follow from their places.
        "added_tokens": [{**entry, "content": renamed(entry["content"])} for entry in spec.get("added_tokens") or []],
        "post_processor": None,
        "decoder": None,
        "truncation": None,
        "padding": None,
    }
    if not first:
        edited["pre_tokenizer"] = _not_first(edited.get("pre_tokenizer"))
    return json.dumps(edited, ensure_ascii=False)


def writes_first_blank_once(spec: Mapping[str, Any]) -> bool:
    """Whether text at the beginning of the sequence is encoded otherwise than text further on."""
    return bool(_not_first(spec.get("pre_tokenizer")) != spec.get("pre_tokenizer"))


def _touches(merge: str | Sequence[str], control: set[str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in control or right in control or left + right in control


def _not_first(step: Any) -> Any:
    if isinstance(step, dict) and step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first":
        return {**step, "prepend_scheme": "never"}
    if isinstance(step, dict) and step.get("type") == "Sequence":
        return {**step, "pretokenizers": [_not_first(inner) for inner in step.get("pretokenizers") or []]}
    return step

"""Text to token ids and back, over a published `tokenizer.json`.

tokenizer = Tokenizer.from_folder(folder)
ids = tokenizer.encode("What is </think>?")     # only ever ordinary text tokens
tokenizer.decode(ids)

stream = StreamDecoder(tokenizer)
for token_id in ids:
    print(stream.push(token_id), end="")        # whole characters only
print(stream.flush())
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from freehold.errors import TokenizerError
from freehold.text.folder import chat_templates, start_ids, token_ids
from freehold.text.stream import StreamDecoder
from freehold.text.vocabulary import (
    AddedToken,
    added_tokens,
    read_json,
    text_only,
    token_bytes,
    writes_first_blank_once,
)

__all__ = ["Span", "StreamDecoder", "Tokenizer"]

_LONG_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a prompt. In a `trusted` one (the chat format's own words) control tokens become those tokens."""

    text: str
    trusted: bool = False


class Tokenizer:
    """A model's tokenizer. It is read once and never changes; safe to share between threads.

    Args:
        spec: The object in `tokenizer.json`.
        config: The object in `tokenizer_config.json`; may be empty.
        eos_ids: End tokens named by the model's own configuration, beside `eos_token` of `config`.
        bos_id: The first token by the model's configuration, where `config` names none.
        chat_templates: By name; the usual one is `default`.

    Raises:
        TokenizerError: The parts do not fit each other, or are of a kind that is not supported.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        config: Mapping[str, Any],
        *,
        eos_ids: Iterable[int] = (),
        bos_id: int | None = None,
        chat_templates: Mapping[str, str] | None = None,
    ) -> None:
        self._added = added_tokens(spec, config)
        bytes_of = token_bytes(spec, self._added)
        self._bytes = bytes_of.table
        self._strips_first_blank = bytes_of.strips_first_blank
        self._special = frozenset(token.id for token in self._added if token.special)
        self._control = {token.content: token for token in self._added if token.control}
        self._control_pattern = _longest_first(self._control)
        try:
            self._first = tokenizers.Tokenizer.from_str(text_only(spec, self._added, first=True))
            self._further = self._first
            if writes_first_blank_once(spec):
                self._further = tokenizers.Tokenizer.from_str(text_only(spec, self._added, first=False))
        except Exception as error:  # tokenizers raises plain Exception
            raise TokenizerError(f"tokenizer.json cannot be used: {error}. Fetch the model again.") from error
        self._vocab_size = max(self._bytes, default=-1) + 1
        named = self._named(config, "eos_token")
        self._eos_ids = frozenset({*eos_ids} | ({named} if named is not None else set()))
        for token_id in self._eos_ids:
            if token_id not in self._bytes:
                raise TokenizerError(f"End token {token_id} is not in the vocabulary of {self._vocab_size} tokens.")
        named = self._named(config, "bos_token")
        self._bos_id = named if named is not None else bos_id
        self._start_ids = start_ids(spec, config, self._bos_id)
        self.chat_templates: Mapping[str, str] = dict(chat_templates or {})
        self.config = config

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Reads a Hugging Face folder: `tokenizer.json` and, where there, the configurations and templates beside it.

        Raises:
            TokenizerError: A file is missing or malformed; the message names it.
        """
        folder = Path(path)
        spec = read_json(folder / "tokenizer.json", required=True)
        config = read_json(folder / "tokenizer_config.json", required=False)
        generation = read_json(folder / "generation_config.json", required=False)
        model = read_json(folder / "config.json", required=False)
        eos_ids = token_ids(generation.get("eos_token_id")) or token_ids(model.get("eos_token_id"))
        bos = token_ids(model.get("bos_token_id"))
        try:
            return cls(
                spec,
                config,
                eos_ids=eos_ids,
                bos_id=bos[0] if bos else None,
                chat_templates=chat_templates(folder, config),
            )
        except TokenizerError as error:
            raise TokenizerError(f"{folder}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """One more than the highest token id."""
        return self._vocab_size

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text, where the model has one."""
        return self._bos_id

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return self._eos_ids

    @property
    def special_ids(self) -> frozenset[int]:
        """The tokens flagged special, which `decode` leaves out unless told otherwise."""
        return self._special

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The texts of the tokens that user text can never become."""
        return tuple(self._control)

    @property
    def strips_first_blank(self) -> bool:
        """Whether the blank at the beginning of a decoded text is the tokenizer's own (SentencePiece)."""
        return self._strips_first_blank

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What this tokenizer writes before a text that is not a chat: the first token, or nothing."""
        return self._start_ids

    @property
    def chat_template(self) -> str | None:
        """The published Jinja template for chats."""
        return self.chat_templates.get("default")

    def special_id(self, text: str) -> int | None:
        """Gives the id of a control token by its text (`<think>`, `<|im_end|>`); None where there is none."""
        token = self._control.get(text)
        return None if token is None else token.id

    def check_fits(self, embedding_rows: int) -> None:
        """Checks that every token has a row in the model's embedding.

        Raises:
            TokenizerError: The vocabulary is larger than the embedding.
        """
        if self._vocab_size > embedding_rows:
            raise TokenizerError(
                f"The tokenizer has ids up to {self._vocab_size - 1}, the model's embedding {embedding_rows} rows; "
                "the tokenizer belongs to another model. Fetch the model again."
            )

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Gives a text's token ids, with nothing put before or after.

        Args:
            text: Any text; lone surrogates become U+FFFD.
            allow_special: Take control tokens spelled in it for those tokens. Never for what a user wrote.
        """
        return self.encode_spans([Span(text, trusted=allow_special)])

    def encode_spans(self, spans: Sequence[Span]) -> list[int]:
        """Gives the token ids of a prompt put together from trusted and untrusted text.

        Control tokens are found inside trusted spans alone. What stands between two of them is encoded as one text,
        trusted or not, just as the published tokenizer would encode it.
        """
        ids: list[int] = []
        text: list[str] = []
        first = True

        def close() -> None:
            nonlocal first
            if joined := "".join(text):
                ids.extend(_encode(self._first if first else self._further, joined))
                first = False
            text.clear()

        strip_next = False
        for part in self._split(spans):
            if isinstance(part, str):
                piece = part.lstrip() if strip_next else part
                strip_next = strip_next and not piece
                text.append(piece)
                continue
            if part.lstrip and text:
                text[:] = ["".join(text).rstrip()]
            close()
            ids.append(part.id)
            first = False
            strip_next = part.rstrip
        close()
        return ids

    def spans(self, text: str, min_length: int = 1) -> list[Span]:
        """Cuts a text into its control tokens, as trusted spans, and the text between them, as untrusted ones.

        Args:
            text: Any text.
            min_length: Control tokens of fewer characters are left in the text.
        """
        spans: list[Span] = []
        for part in self._split([Span(text, trusted=True)]):
            if isinstance(part, str):
                spans.append(Span(part))
            else:
                spans.append(Span(part.content, trusted=len(part.content) >= min_length))
        return spans

    def decode(
        self,
        ids: Iterable[int],
        skip_special: bool = True,
        *,
        keep: frozenset[int] = frozenset(),
        continued: bool = False,
    ) -> str:
        """Gives the text of token ids; bytes that are no UTF-8 become U+FFFD, ids without a token nothing.

        Args:
            ids: Token ids, 0 or more.
            skip_special: Leave out tokens flagged special.
            keep: Special tokens to write all the same.
            continued: The ids continue a text: a leading blank is the text's own.
        """
        decoder = StreamDecoder(self, skip_special=skip_special, keep=keep, continued=continued)
        return "".join([decoder.push(token_id) for token_id in ids]) + decoder.flush()

    def token_bytes(self, token_id: int) -> bytes:
        """Gives exactly the bytes that a token stands for; none for an id without a token (padding of the embedding).

        Raises:
            TokenizerError: A negative id.
        """
        if token_id < 0:
            raise TokenizerError(f"Token id {token_id} is negative; ids run from 0 to {self._vocab_size - 1}.")
        return self._bytes.get(token_id, b"")

    def _split(self, spans: Sequence[Span]) -> Iterable[str | AddedToken]:
        for span in spans:
            text = _without_lone_surrogates(span.text)
            if not span.trusted or self._control_pattern is None:
                yield text
                continue
            start = 0
            for match in self._control_pattern.finditer(text):
                token = self._control[match.group()]
                if token.single_word and _inside_word(text, match.start(), match.end()):
                    continue
                yield text[start : match.start()]
                yield token
                start = match.end()
            yield text[start:]

    def _named(self, config: Mapping[str, Any], key: str) -> int | None:
        value = config.get(key)
        content = value.get("content") if isinstance(value, dict) else value
        if content is None:
            return None
        for token in self._added:
            if token.content == content:
                return token.id
        piece = self._first.token_to_id(content) if isinstance(content, str) else None
        if piece is None:
            raise TokenizerError(f"tokenizer_config.json names {content!r} as {key}, which is not in the vocabulary.")
        return piece


def _encode(encoder: tokenizers.Tokenizer, text: str) -> list[int]:
    # A batch of one gives the same ids. It lets other threads run meanwhile, which `encode` does not: a megabyte of
    # digits would halt every one of them for seconds.
    if len(text) >= _LONG_CHARACTERS:
        ids: list[int] = encoder.encode_batch_fast([text], add_special_tokens=False)[0].ids
    else:
        ids = encoder.encode(text, add_special_tokens=False).ids
    return ids


def _longest_first(contents: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted(contents, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _inside_word(text: str, start: int, end: int) -> bool:
    return (start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_")) or (
        end < len(text) and (text[end].isalnum() or text[end] == "_")
    )


def _without_lone_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text

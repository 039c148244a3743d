"""Text from token ids as they come, in whole characters."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freehold.text.tokenizer import Tokenizer

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Text from token ids, one by one: whole characters only, which together are exactly `decode` of all the ids.

    Args:
        tokenizer: Whose ids.
        skip_special: Leave out tokens flagged special.
        keep: Special tokens to write all the same (`ChatFormat.visible_special_ids`).
        continued: The ids continue a text: a leading blank is the text's own.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special: bool = True,
        keep: frozenset[int] = frozenset(),
        continued: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids - keep if skip_special else frozenset()
        self._strip = tokenizer.strips_first_blank and not continued
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Takes the next id and gives the characters it completes, perhaps none."""
        return "" if token_id in self._skipped else self._give(self._tokenizer.token_bytes(token_id), final=False)

    def flush(self) -> str:
        """Ends the text: bytes of a character that never became whole come out as U+FFFD."""
        return self._give(b"", final=True)

    def _give(self, data: bytes, *, final: bool) -> str:
        text = self._utf8.decode(data, final)
        if self._strip and text:
            self._strip = False
            return text.removeprefix(" ")
        return text

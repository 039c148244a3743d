"""Llama 3, 3.1, 3.2 and 3.3: headers, and from 3.1 on a dated system message and tools as bare JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from freehold.errors import InvalidRequestError
from freehold.text.prompt import NativeFormat, PromptText, to_json
from freehold.text.tokenizer import Tokenizer
from freehold.types import Message

__all__ = ["Llama3"]

DateHeader = Literal["none", "fixed", "today"]

_BOS, _EOT = "<|begin_of_text|>", "<|eot_id|>"
_TOOLS_INTRODUCTION = (
    "Given the following functions, please respond with a JSON for a function call "
    "with its proper arguments that best answers the given prompt.\n\n"
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    "Do not use variables.\n\n"
)


class Llama3(NativeFormat):
    """Llama 3's headers.

    Args:
        tokenizer: The model's.
        date_header: `none` (Llama 3), `fixed` (3.1, 3.3: 26 Jul 2024) or `today` (3.2).
        tools: Whether the model was taught to call tools (3.1 on).

    Source: `chat_template` of meta-llama/Meta-Llama-3-8B-Instruct, meta-llama/Llama-3.3-70B-Instruct and
    meta-llama/Llama-3.2-3B-Instruct.
    """

    name: ClassVar[str] = "llama3"
    needs: ClassVar[tuple[str, ...]] = (_BOS, "<|start_header_id|>", "<|end_header_id|>", _EOT)
    stops: ClassVar[tuple[str, ...]] = (_EOT, "<|eom_id|>", "<|end_of_text|>")

    def __init__(self, tokenizer: Tokenizer, *, date_header: DateHeader = "none", tools: bool = False) -> None:
        super().__init__(tokenizer)
        self._date_header = date_header
        if tools:
            self.tool_syntax = "llama3"

    @classmethod
    def from_template(cls, tokenizer: Tokenizer) -> Llama3:
        """Reads the version off the published template; without one it is Llama 3."""
        template = tokenizer.chat_template or ""
        if "Cutting Knowledge Date" not in template:
            return cls(tokenizer)
        return cls(
            tokenizer, date_header="today" if "strftime_now" in template else "fixed", tools="ipython" in template
        )

    def write(self, prompt: PromptText, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> bool:
        """Writes everything up to the assistant's turn."""
        prompt.mark(_BOS)
        rest = list(messages)
        if self._date_header != "none":
            system = rest.pop(0).content.strip() if rest and rest[0].role == "system" else ""
            date = "26 Jul 2024" if self._date_header == "fixed" else time.strftime("%d %b %Y")
            self._header(prompt, "system").mark("Environment: ipython\n" if tools else "")
            prompt.mark(f"Cutting Knowledge Date: December 2023\nToday Date: {date}\n\n").say(system).mark(_EOT)
        if tools:
            if not rest or rest[0].role != "user":
                raise InvalidRequestError(
                    "This model reads its tools from the first user message; begin the conversation with one.",
                    param="messages",
                )
            self._header(prompt, "user").mark(_TOOLS_INTRODUCTION)
            for tool in tools:
                prompt.say(to_json(tool, indent=4)).mark("\n\n")
            prompt.say(rest.pop(0).content.strip()).mark(_EOT)
        for message in rest:
            if message.tool_calls:
                self._write_call(prompt, message)
            elif message.role == "tool":
                self._header(prompt, "ipython").say(to_json(message.content)).mark(_EOT)
            else:
                self._header(prompt, message.role).say(message.content.strip()).mark(_EOT)
        self._header(prompt, "assistant")
        return False

    def _header(self, prompt: PromptText, role: str) -> PromptText:
        return prompt.mark(f"<|start_header_id|>{role}<|end_header_id|>\n\n")

    def _write_call(self, prompt: PromptText, message: Message) -> None:
        if len(message.tool_calls) != 1 or message.content.strip():
            raise InvalidRequestError(
                f"A message holds {len(message.tool_calls)} tool calls and {len(message.content)} characters of text; "
                "with this model it can hold one call alone.",
                param="messages",
            )
        call = message.tool_calls[0]
        try:
            arguments = to_json(json.loads(call.arguments))
        except (ValueError, RecursionError):
            arguments = call.arguments
        self._header(prompt, "assistant").mark('{"name": "').say(call.name).mark('", "parameters": ').say(arguments)
        prompt.mark("}" + _EOT)

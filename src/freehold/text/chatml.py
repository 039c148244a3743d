"""ChatML, as SmolLM2, Qwen2.5 and Qwen3 write it.

What differs between them is read from the published template: the system message that stands in for a missing one
(SmolLM2, Qwen2.5), tools in Hermes' syntax (Qwen), and the thinking switch (Qwen3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from freehold.text.prompt import NativeFormat, PromptText, ThinkStyle, to_json
from freehold.text.reasoning import ThinkTags
from freehold.text.tokenizer import Tokenizer
from freehold.types import Message

__all__ = ["ChatML"]

_START, _END = "<|im_start|>", "<|im_end|>"
_DEFAULT_SYSTEM = re.compile(r"<\|im_start\|>system(?:\\n|\n)([^'\"<{}]+)<\|im_end\|>")


class ChatML(NativeFormat):
    """ChatML in one of its dialects.

    Args:
        tokenizer: The model's.
        default_system: Written where the first message is no system message; None writes none.
        tools: Whether the model was taught to call tools.
        switch: Whether the model thinks unless told not to (Qwen3).

    Source: `chat_template` of HuggingFaceTB/SmolLM2-135M-Instruct, Qwen/Qwen2.5-7B-Instruct, Qwen/Qwen3-0.6B.
    """

    name: ClassVar[str] = "chatml"
    needs: ClassVar[tuple[str, ...]] = (_START, _END)
    stops: ClassVar[tuple[str, ...]] = (_END,)

    def __init__(
        self, tokenizer: Tokenizer, *, default_system: str | None = None, tools: bool = False, switch: bool = False
    ) -> None:
        super().__init__(tokenizer)
        self._default_system = default_system
        if tools:
            self.tool_syntax = "hermes"
        if switch:
            self.thinking = "optional"
            self.default_thinking = True
            self.style = ThinkStyle(
                ThinkTags(),
                opening="",
                start="<think>\n",
                end="\n</think>\n\n",
                skipped="<think>\n\n</think>\n\n",
            )

    @classmethod
    def from_template(cls, tokenizer: Tokenizer) -> ChatML:
        """Reads the dialect off the published template; without one it is plain ChatML."""
        template = tokenizer.chat_template or ""
        default = _DEFAULT_SYSTEM.search(template)
        return cls(
            tokenizer,
            default_system=default.group(1).replace("\\n", "\n") if default else None,
            tools="<tool_call>" in template,
            switch="enable_thinking" in template,
        )

    def write(self, prompt: PromptText, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> bool:
        """Writes everything up to the assistant's turn."""
        given = messages[0].content if messages and messages[0].role == "system" else None
        system = given if given is not None else self._default_system
        if tools:
            self._write_tools(prompt, system, tools)
        elif system is not None:
            prompt.mark(f"{_START}system\n").say(system).mark(f"{_END}\n")
        last_query = _last_query(messages)
        for number, message in enumerate(messages):
            if number == 0 and given is not None:
                continue
            if message.role == "assistant":
                self._write_answer(prompt, message, number > last_query, number == len(messages) - 1)
            elif message.role == "tool":
                if number == 0 or messages[number - 1].role != "tool":
                    prompt.mark(f"{_START}user")
                prompt.mark("\n<tool_response>\n").say(message.content).mark("\n</tool_response>")
                if number == len(messages) - 1 or messages[number + 1].role != "tool":
                    prompt.mark(f"{_END}\n")
            else:
                prompt.mark(f"{_START}{message.role}\n").say(message.content).mark(f"{_END}\n")
        prompt.mark(f"{_START}assistant\n")
        return True

    def _write_tools(self, prompt: PromptText, system: str | None, tools: Sequence[Mapping[str, Any]]) -> None:
        prompt.mark(f"{_START}system\n")
        if system is not None:
            prompt.say(system).mark("\n\n")
        prompt.mark(
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
        )
        for tool in tools:
            prompt.mark("\n").say(to_json(tool))
        prompt.mark(
            "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
            "<tool_call></tool_call> XML tags:\n<tool_call>\n"
            '{"name": <function-name>, "arguments": <args-json-object>}\n'
            f"</tool_call>{_END}\n"
        )

    def _write_answer(self, prompt: PromptText, message: Message, after_query: bool, final: bool) -> None:
        content, reasoning = message.content, message.reasoning_content
        if self.style is not None and reasoning is None and "</think>" in content:
            reasoning = content.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
            content = content.split("</think>")[-1].lstrip("\n")
        prompt.mark(f"{_START}assistant\n")
        # Thinking stays while the model is still answering the same question, that is between its tool calls.
        if self.style is not None and after_query and (final or reasoning):
            prompt.mark("<think>\n").say((reasoning or "").strip("\n")).mark("\n</think>\n\n")
            content = content.lstrip("\n")
        prompt.say(content)
        for number, call in enumerate(message.tool_calls):
            prompt.mark("\n" if content or number else "")
            prompt.mark('<tool_call>\n{"name": "').say(call.name).mark('", "arguments": ').say(call.arguments)
            prompt.mark("}\n</tool_call>")
        prompt.mark(f"{_END}\n")


def _last_query(messages: Sequence[Message]) -> int:
    """Gives the place of the user's last question; tools' results that a client wrote as user messages do not count."""
    for number in range(len(messages) - 1, -1, -1):
        content = messages[number].content
        wrapped = content.startswith("<tool_response>") and content.endswith("</tool_response>")
        if messages[number].role == "user" and not wrapped:
            return number
    return len(messages) - 1

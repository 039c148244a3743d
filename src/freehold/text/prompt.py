"""What every chat format shares: its interface, the prompt it writes, and how thinking is opened and continued."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from freehold.errors import InvalidRequestError, TokenizerError, UnsupportedError
from freehold.text.reasoning import ThinkTags
from freehold.text.tokenizer import Span, Tokenizer
from freehold.text.tools import ToolSyntax
from freehold.types import Message

__all__ = [
    "ChatFormat",
    "EncodedPrompt",
    "NativeFormat",
    "PromptText",
    "ThinkStyle",
    "ThinkingMode",
    "check",
    "to_json",
]

ThinkingMode = Literal["never", "optional", "always"]

_TOOL_MARKERS: dict[ToolSyntax, tuple[str, ...]] = {
    "deepseek": (
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁sep｜>",
    ),
    "hermes": ("<tool_call>", "</tool_call>"),
    "llama3": ("<|python_tag|>",),
}


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as token ids, and whether it ends inside the thinking (then the model's first token belongs to it)."""

    token_ids: tuple[int, ...]
    thinking_opened: bool


class ChatFormat(Protocol):
    """How one family of models writes a conversation. Immutable, safe to share between threads."""

    @property
    def name(self) -> str:
        """`deepseek-v3`, `deepseek-v3.1`, `deepseek-r1`, `chatml`, `llama3` or `template`."""

    @property
    def thinking(self) -> ThinkingMode:
        """Whether the model thinks before it answers."""

    @property
    def default_thinking(self) -> bool:
        """Whether it thinks where nobody says."""

    @property
    def supports_tools(self) -> bool:
        """Whether tools can be offered to it."""

    @property
    def tags(self) -> ThinkTags | None:
        """What encloses its thinking; None where it never thinks."""

    @property
    def tool_syntax(self) -> ToolSyntax | None:
        """How it writes tool calls; None where it has none."""

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """The tokens that end its turn."""

    @property
    def visible_special_ids(self) -> frozenset[int]:
        """Tokens flagged special that its parsers have to see: give them as `keep` when decoding."""

    def encode(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
    ) -> EncodedPrompt:
        """Gives the prompt that lets the model speak next, or go on with a last message that has `prefix=True`.

        Args:
            messages: At least one. What they say is encoded as text, whatever it spells.
            tools: OpenAI's tool objects, `{"type": "function", "function": {…}}`.
            thinking: Think or not; None for the format's default. False with a model that always thinks closes the
                thinking before it begins (`<think>`, blank lines, `</think>`).

        Raises:
            UnsupportedError: Thinking or tools asked of a model that has none, or a role it does not know.
            InvalidRequestError: Messages in an order that cannot be written.
            TemplateError: The published template refuses these messages.
        """


class PromptText:
    """A prompt being written, from the format's own words and the text of others."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def mark(self, text: str) -> PromptText:
        """Adds the format's own words; control tokens in them become tokens."""
        self.spans.append(Span(text, trusted=True))
        return self

    def say(self, text: str) -> PromptText:
        """Adds what somebody wrote; it stays text."""
        self.spans.append(Span(text))
        return self

    def __str__(self) -> str:
        return "".join(span.text for span in self.spans)


@dataclass(frozen=True, slots=True)
class ThinkStyle:
    """How a format writes thinking at the beginning of an assistant's turn.

    Args:
        tags: What encloses it.
        opening: Written where it is to think; empty where the model writes the tag itself.
        start: Written before thinking that is given.
        end: Written between thinking that is given and the answer.
        skipped: Written where it is not to think.
    """

    tags: ThinkTags
    opening: str
    start: str
    end: str
    skipped: str


class NativeFormat(ABC):
    """A chat format written here, equal to its published template on the conversations that the template can render."""

    name: ClassVar[str]
    stops: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]]

    thinking: ThinkingMode = "never"
    default_thinking: bool = False
    tool_syntax: ToolSyntax | None = None
    style: ThinkStyle | None = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        for marker in self.needs:
            if tokenizer.special_id(marker) is None:
                raise TokenizerError(
                    f"The chat format {self.name} needs the token {marker}, which this tokenizer lacks."
                )
        self._tokenizer = tokenizer
        ids = (tokenizer.special_id(stop) for stop in self.stops)
        self.stop_token_ids = tokenizer.eos_ids | {token_id for token_id in ids if token_id is not None}

    @property
    def supports_tools(self) -> bool:
        """Whether tools can be offered to it."""
        return self.tool_syntax is not None

    @property
    def tags(self) -> ThinkTags | None:
        """What encloses its thinking."""
        return self.style.tags if self.style else None

    @property
    def visible_special_ids(self) -> frozenset[int]:
        """Tokens flagged special that the parsers of thinking and tool calls have to see."""
        return visible_ids(self._tokenizer, self.tags, self.tool_syntax)

    @abstractmethod
    def write(self, prompt: PromptText, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> bool:
        """Writes the conversation up to the assistant's turn; gives whether that turn may begin with thinking."""

    def text(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
    ) -> tuple[PromptText, bool]:
        """Gives the prompt as text, and whether it ends inside the thinking. Raises what `encode` raises."""
        check(self, messages, tools, thinking)
        history, last = (messages[:-1], messages[-1]) if messages[-1].prefix else (messages, None)
        prompt = PromptText()
        may_think = self.write(prompt, history, tools or ())
        think = self.default_thinking if thinking is None else thinking
        return prompt, begin_turn(prompt, self.style if may_think or _reasons(last) else None, think, last)

    def encode(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
    ) -> EncodedPrompt:
        """See `ChatFormat.encode`."""
        prompt, opened = self.text(messages, tools=tools, thinking=thinking)
        return EncodedPrompt(tuple(self._tokenizer.encode_spans(prompt.spans)), opened)


def begin_turn(prompt: PromptText, style: ThinkStyle | None, think: bool, last: Message | None) -> bool:
    """Writes how an assistant's turn begins; gives whether the prompt ends inside the thinking.

    Args:
        prompt: Ends where the turn begins.
        style: None where the turn has no thinking.
        think: Whether it is to think.
        last: What the turn already says, to be continued.
    """
    if last is not None and (last.content or last.reasoning_content):
        if style and last.reasoning_content:
            prompt.mark(style.start).say(last.reasoning_content)
            if not last.content:
                return True
            prompt.mark(style.end)
        elif style:
            prompt.mark(style.skipped)
        prompt.say(last.content)
        return False
    if style is None:
        return False
    prompt.mark(style.opening if think else style.skipped)
    return think and bool(style.opening)


def check(
    chat: ChatFormat | NativeFormat,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    thinking: bool | None,
) -> None:
    """Refuses what a chat format cannot write.

    Raises:
        UnsupportedError: Thinking or tools that the model does not have.
        InvalidRequestError: No messages, or fields on messages of the wrong role.
    """
    if thinking and chat.thinking == "never":
        raise UnsupportedError(
            f"A model with the chat format {chat.name} does not think; leave thinking off.", param="thinking"
        )
    if tools and not chat.supports_tools:
        raise UnsupportedError(
            f"A model with the chat format {chat.name} cannot call tools; leave tools out.", param="tools"
        )
    if not messages:
        raise InvalidRequestError("messages is empty; it must hold at least one message.", param="messages")
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message.prefix and (message.role != "assistant" or number != len(messages) - 1 or message.tool_calls):
            raise InvalidRequestError(
                f"{where} has prefix set; only a last assistant message without tool calls can be continued.",
                param=f"{where}.prefix",
            )
        if message.tool_calls and message.role != "assistant":
            raise InvalidRequestError(
                f"{where} is a {message.role} message with tool_calls; only assistants call tools.",
                param=f"{where}.tool_calls",
            )
        if (message.tool_calls or message.role == "tool") and not chat.supports_tools:
            raise UnsupportedError(
                f"{where} holds a tool call or its result, but a model with the chat format {chat.name} cannot call "
                "tools; leave such messages out.",
                param=where,
            )
        if message.prefix and message.reasoning_content and chat.tags is None:
            raise UnsupportedError(
                f"{where} has reasoning_content, but a model with the chat format {chat.name} does not think.",
                param=f"{where}.reasoning_content",
            )


def visible_ids(tokenizer: Tokenizer, tags: ThinkTags | None, syntax: ToolSyntax | None) -> frozenset[int]:
    """Gives the special tokens that the parsers of thinking and tool calls have to see."""
    markers = [*((tags.start, tags.end) if tags else ()), *(_TOOL_MARKERS[syntax] if syntax else ())]
    return frozenset(
        token_id
        for marker in markers
        if (token_id := tokenizer.special_id(marker)) is not None and token_id in tokenizer.special_ids
    )


def to_json(value: Any, indent: int | None = None) -> str:
    """Gives JSON as transformers' `tojson` writes it in templates: not escaped to ASCII, keys in their order."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _reasons(message: Message | None) -> bool:
    return message is not None and bool(message.reasoning_content)

"""Chooses how a model's conversations are written.

    chat = chat_format(Tokenizer.from_folder(folder))
    prompt = chat.encode([Message("user", "What is the capital of France?")], thinking=False)
    prompt.token_ids, prompt.thinking_opened

The formats of DeepSeek, ChatML and Llama 3 are written here natively (`deepseek.py`, `chatml.py`, `llama3.py`); every
other one is rendered from the model's own template in a sandbox (`template.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from freehold.errors import ConfigError, UnsupportedError
from freehold.text.chatml import ChatML
from freehold.text.deepseek import DeepSeekR1, DeepSeekV3, DeepSeekV31
from freehold.text.llama3 import Llama3
from freehold.text.prompt import ChatFormat, EncodedPrompt, ThinkingMode
from freehold.text.reasoning import ThinkTags
from freehold.text.template import TemplateFormat
from freehold.text.tokenizer import Tokenizer
from freehold.text.tools import ToolSyntax
from freehold.types import Message

__all__ = ["CHAT_FORMATS", "ChatFormat", "EncodedPrompt", "NoChat", "ThinkTags", "chat_format", "detect"]

CHAT_FORMATS: Mapping[str, Callable[[Tokenizer], ChatFormat]] = {
    "deepseek-v3": DeepSeekV3,
    "deepseek-v3.1": DeepSeekV31,
    "deepseek-r1": DeepSeekR1,
    "chatml": ChatML.from_template,
    "llama3": Llama3.from_template,
    "template": TemplateFormat,
}
"""The chat formats by name, as the catalog and `freehold.json` name them."""


class NoChat:
    """A base model's chat format: there is none, and every conversation is refused."""

    name = "none"
    thinking: ThinkingMode = "never"
    default_thinking = False
    supports_tools = False
    tags: ThinkTags | None = None
    tool_syntax: ToolSyntax | None = None
    visible_special_ids: frozenset[int] = frozenset()

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.stop_token_ids = tokenizer.eos_ids

    def encode(
        self,
        messages: Sequence[Message],  # noqa: ARG002 - the interface's
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,  # noqa: ARG002
        thinking: bool | None = None,  # noqa: ARG002
    ) -> EncodedPrompt:
        """Refuses.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "This is a base model: it has no chat template, and its tokens are of no known chat format. "
            f"Use plain completions, or name its chat format ({', '.join(CHAT_FORMATS)}).",
            param="messages",
        )


def chat_format(
    tokenizer: Tokenizer, name: str | None = None, folder_meta: Mapping[str, Any] | None = None
) -> ChatFormat:
    """Gives a model's chat format.

    Args:
        tokenizer: The model's; its template tells the dialect.
        name: One of `CHAT_FORMATS`; None takes `folder_meta["chat_format"]`, or what the template shows.
        folder_meta: The model's `freehold.json`.

    Returns:
        The format; `NoChat` for a base model, one without a template and without the tokens of a known format.

    Raises:
        ConfigError: No such name.
        TokenizerError: The tokenizer lacks the tokens of the format named.
    """
    name = name or (folder_meta or {}).get("chat_format") or detect(tokenizer)
    if name is None:
        return NoChat(tokenizer)
    if name not in CHAT_FORMATS:
        raise ConfigError(f"There is no chat format {name!r}; the known ones are {', '.join(CHAT_FORMATS)}.")
    return CHAT_FORMATS[name](tokenizer)


def detect(tokenizer: Tokenizer) -> str | None:
    """Gives the name of the chat format that the published template shows, else the one that the tokens show.

    A native format is chosen only for a template that it is known to equal; any other is rendered.
    """
    template = tokenizer.chat_template
    if template is None:
        if tokenizer.special_id("<｜User｜>") is not None:
            return "deepseek-v3"
        if tokenizer.special_id("<|start_header_id|>") is not None:
            return "llama3"
        return "chatml" if tokenizer.special_id("<|im_start|>") is not None else None
    if "<｜Assistant｜>" in template:
        if "<｜Assistant｜></think>" in template and "thinking" in template:
            return "deepseek-v3.1"
        if "<｜Assistant｜><think>\\n" in template or "<｜Assistant｜><think>\n" in template:
            return "deepseek-r1"
        return "template" if "think>" in template else "deepseek-v3"
    if "<|start_header_id|>" in template and "<think>" not in template and _is_llama(template):
        return "llama3"
    return "chatml" if _is_chatml(template) else "template"


def _is_llama(template: str) -> bool:
    plain = len(template) < 1000 and "trim" in template and "system_message" not in template
    return plain or "Cutting Knowledge Date: December 2023" in template


def _is_chatml(template: str) -> bool:
    """SmolLM2's and plain ChatML are short loops; Qwen's have tool calls, and thinking only with its switch."""
    if "<|im_start|>" not in template or "<|vision_start|>" in template:
        return False
    if "<tool_call>" not in template:
        return len(template) < 1000 and "think" not in template
    hermes = '{"name": "' in template or '{\\"name\\": \\"' in template
    return hermes and ("<think>" not in template or "enable_thinking is false" in template)

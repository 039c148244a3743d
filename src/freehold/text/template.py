"""Chat formats that are known by their published Jinja template alone, rendered in the sandbox.

Whoever writes a message must not be able to write a role marker, yet a template mixes its markers with their text. So
the text is marked before it is rendered: a character that occurs nowhere else, the seal, is put

- inside every control token that the text spells, after its first character;
- at an edge of the text where it could complete a control token together with what the template writes beside it.

Control tokens in the rendered text are then the template's own; the seals are taken out again, and what stood between
the tokens is encoded as text. Text that spells nothing of the kind, that is nearly all text, is rendered untouched, so
that conditions, trimming and JSON see it as it is.

A template could still build a token by changing text (by `replace`, say). Therefore every prompt is rendered a second
time with a seal at every character that is no blank. Both renderings must hold the same control tokens in the same
order; where they differ the second one is used, which no change short of deleting the seals can turn into tokens.

Markers that a template writes as plain text (`User:` with DeepSeek-V2) are no tokens of their own: nothing, here or in
the model, tells them from the same words in a message.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from freehold.errors import SandboxError, TemplateError
from freehold.sandbox import Limits, Sandbox
from freehold.text.prompt import EncodedPrompt, PromptText, ThinkingMode, ThinkStyle, begin_turn, check, visible_ids
from freehold.text.reasoning import ThinkTags
from freehold.text.tokenizer import Span, Tokenizer
from freehold.text.tools import ToolSyntax
from freehold.types import Message

__all__ = ["RENDER", "Sealer", "TemplateFormat"]

# Words of OpenAI's and JSON Schema's own that templates compare with; a client cannot choose them freely.
_FIXED = frozenset({"function", "object", "string", "number", "integer", "boolean", "array", "null"})
# Objects whose keys a client chooses.
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "arguments"})
RENDER = "freehold.text.rendering:render"
_LIMITS = Limits(seconds=5.0, memory_bytes=512 * 2**20)


class TemplateFormat:
    """A published chat template.

    What it can do is read off its text: `enable_thinking` or `thinking` is a switch, `<think>` without a switch means a
    model that always thinks, `tools` together with a known
    syntax of calls means that it can be offered tools.

    Args:
        tokenizer: The model's, with a `chat_template`.
        sandbox: Where `freehold.text.rendering:render` runs; None makes one of its own, whose worker starts with the
            first prompt.

    Raises:
        TemplateError: There is no template.
    """

    name = "template"

    def __init__(self, tokenizer: Tokenizer, *, sandbox: Sandbox | None = None) -> None:
        template = tokenizer.chat_template
        if template is None:
            raise TemplateError("This model has no chat template; name its chat format, or use plain completions.")
        self._tokenizer = tokenizer
        self._template = template
        self._tool_template = tokenizer.chat_templates.get("tool_use", template)
        self._sandbox = sandbox or Sandbox(RENDER, _LIMITS)
        self._sealer = Sealer(tokenizer.control_tokens)
        switch = re.search(r"\benable_thinking\b|\bthinking\s+(?:is|and|or|%\})|\bnot\s+thinking\b", template)
        thinks = "<think>" in template or "</think>" in template
        self.thinking: ThinkingMode = ("optional" if switch else "always") if thinks else "never"
        off = re.search(r"set\s+(?:enable_)?thinking\s*=\s*false", template) or "enable_thinking" not in template
        self.default_thinking = thinks and not (switch and off)
        self.tags: ThinkTags | None = ThinkTags() if thinks else None
        listed = re.search(r"\btools\b", self._tool_template)
        self.tool_syntax: ToolSyntax | None = _syntax(self._tool_template) if listed else None
        self.supports_tools = self.tool_syntax is not None
        self.stop_token_ids = tokenizer.eos_ids
        self.visible_special_ids = visible_ids(tokenizer, self.tags, self.tool_syntax)

    def encode(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
    ) -> EncodedPrompt:
        """See `ChatFormat.encode`.

        Raises:
            TemplateError: The template is malformed, passes a limit, or refuses these messages.
        """
        check(self, messages, tools, thinking)
        history, last = (messages[:-1], messages[-1]) if messages[-1].prefix else (messages, None)
        if last is not None and last.reasoning_content:
            thinking = True
        think = self.default_thinking if thinking is None else thinking
        spans, tail = self._render(history, tools, thinking)
        opened = self.tags is not None and tail.rstrip().endswith(self.tags.start)
        closed = self.tags is not None and tail.rstrip().endswith(self.tags.end)
        turn = PromptText()
        if self.tags is not None and not closed:
            begin_turn(turn, self._style(self.tags, tail if opened else None, last), think, last)
        elif last is not None:
            turn.say(last.content)
        answering = not think or (last is not None and bool(last.content))
        inside = bool(last is not None and last.reasoning_content and not last.content) or (opened and not answering)
        return EncodedPrompt(tuple(self._tokenizer.encode_spans([*spans, *turn.spans])), inside)

    def close(self) -> None:
        """Ends the worker process. A later `encode` starts a new one."""
        self._sandbox.close()

    def _style(self, tags: ThinkTags, opened: str | None, last: Message | None) -> ThinkStyle:
        """Gives how to go on after the template's own opening (`opened` is its end), or where it wrote none."""
        end = f"\n{tags.end}\n\n"
        if opened is not None:
            return ThinkStyle(tags, opening="", start="", end=end, skipped=end if opened.endswith("\n") else "\n" + end)
        empty = f"{tags.start}\n{end}" if self.thinking == "always" or last is not None else ""
        return ThinkStyle(tags, opening="", start=f"{tags.start}\n", end=end, skipped=empty)

    def _render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, thinking: bool | None
    ) -> tuple[list[Span], str]:
        """Gives the rendered prompt, and its end with seals in all that the template did not write itself."""
        conversation = {"messages": [_plain(message) for message in messages], "tools": list(tools) if tools else None}
        seal = _unused_character(self._template + self._tool_template + json.dumps(conversation, ensure_ascii=False))
        fixed = {
            name: self._named(name)
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
            if self._named(name)
        }
        switches = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
        variables = [
            {**fixed, **switches, "add_generation_prompt": True, "documents": None, **marked}
            for marked in (self._sealer.seal(conversation, seal), self._sealer.seal_all(conversation, seal))
        ]
        template = self._tool_template if tools else self._template
        try:
            result = self._sandbox.call({"template": template, "variables": variables})
        except SandboxError as error:
            raise TemplateError(f"The model's chat template could not be rendered: {error}") from error
        if "error" in result:
            raise TemplateError(f"The model's chat template refuses these messages: {result['error']}")
        faithful, safe = (self._tokenizer.spans(text, min_length=2) for text in result["texts"])
        chosen = faithful if _controls(faithful) == _controls(safe) else safe
        escaped = json.dumps(seal)[1:-1]
        spans = [span if span.trusted else Span(span.text.replace(seal, "").replace(escaped, "")) for span in chosen]
        return spans, str(result["texts"][1])[-100:]

    def _named(self, name: str) -> str | None:
        value = self._tokenizer.config.get(name)
        content = value.get("content") if isinstance(value, dict) else value
        return content if isinstance(content, str) else None


class Sealer:
    """Puts seals into text, so that no control token can be read out of it. See the module's text.

    Args:
        controls: The control tokens. One of a single character cannot be sealed; templates' prompts never hold it as a
            token (`Tokenizer.spans` with `min_length=2`).
    """

    def __init__(self, controls: Sequence[str]) -> None:
        self._controls = [control for control in controls if len(control) > 1]
        self._longest = max(map(len, self._controls), default=0)
        self._prefixes = {control[:n] for control in self._controls for n in range(1, len(control))}
        self._suffixes = {control[n:] for control in self._controls for n in range(1, len(control))}
        alternatives = "|".join(map(re.escape, self._controls))
        self._start = re.compile(f"(?=(?:{alternatives}))(.)", re.DOTALL) if self._controls else None

    def seal(self, value: Any, seal: str) -> Any:
        """Seals the strings in a JSON value that need it, and no others."""
        return self._map(value, lambda text: self._sealed(text, seal), seal, named=False)

    def seal_all(self, value: Any, seal: str) -> Any:
        """Seals every string through and through."""

        def thorough(text: str) -> str:
            sealed = re.sub(r"(\S)", lambda match: match.group() + seal, text)
            return re.sub(r"\S", lambda match: seal + match.group(), sealed, count=1)

        return self._map(value, thorough, seal, named=False)

    def _map(self, value: Any, change: Callable[[str], str], seal: str, *, named: bool) -> Any:
        """Changes the strings in a JSON value. Keys that templates look up are changed only where they spell a token.

        Args:
            value: JSON.
            change: Applied to strings, and to keys that a client chose.
            seal: The seal.
            named: The keys of `value` were chosen by a client.
        """
        if isinstance(value, str):
            return value if value in _FIXED else change(value)
        if isinstance(value, list | tuple):
            return [self._map(item, change, seal, named=False) for item in value]
        if not isinstance(value, Mapping):
            return value
        mapped: dict[str, Any] = {}
        for key, item in value.items():
            new_key = change(key) if named else self._broken(key, seal)
            free = key in _NAMED and not named
            mapped[new_key] = item if key == "role" and not named else self._map(item, change, seal, named=free)
        return mapped

    def _broken(self, text: str, seal: str) -> str:
        return self._start.sub(lambda match: match.group(1) + seal, text) if self._start else text

    def _sealed(self, text: str, seal: str) -> str:
        text = self._broken(text, seal)
        core = text.strip()
        if not core:
            return text
        reach = range(1, min(len(core), self._longest) + 1)
        inside = len(core) < self._longest and any(core in control for control in self._controls)
        before = seal if inside or any(core[:n] in self._suffixes for n in reach) else ""
        after = seal if any(core[-n:] in self._prefixes for n in reach) else ""
        start = len(text) - len(text.lstrip())
        return text[:start] + before + core + after + text[start + len(core) :]


def _controls(spans: Sequence[Span]) -> list[str]:
    return [span.text for span in spans if span.trusted]


def _unused_character(text: str) -> str:
    """Gives a private character that the text does not hold, another one every time."""
    chance = random.SystemRandom()
    while (seal := chr(chance.randrange(0xF0000, 0xFFFFE))) in text:
        pass
    return seal


def _plain(message: Message) -> dict[str, Any]:
    """Gives a message as templates expect it: what is not there is left out, arguments are an object."""
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning_content is not None:
        plain["reasoning_content"] = message.reasoning_content
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        plain["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _object(call.arguments)}}
            for call in message.tool_calls
        ]
    return plain


def _object(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _syntax(template: str) -> ToolSyntax | None:
    if "<｜tool▁call▁begin｜>" in template:
        return "deepseek"
    if "<tool_call>" in template:
        return "hermes"
    return "llama3" if '"parameters": ' in template else None

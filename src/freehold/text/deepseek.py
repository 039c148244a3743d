"""DeepSeek's chat formats: V3, V3.1 with its thinking switch, and R1 with its distillations.

Departures from the published templates:
1. Several system messages are joined by a blank line in all of them (R1's first template kept the last alone).
2. R1's tool calls and results are closed and opened anew in every round, as V3-0324 and R1-0528 do (R1's first template
   never resets its flags and so spoils the second round), and text beside a call stands before it.
3. V3's and R1's published templates do not list the tools; the words are those of vLLM's templates for these models.
4. An assistant's turn that follows neither a user's nor a tool's message has its tag too (V3's and V3.1's templates
   leave it out), so that the model is never asked to go on after an end token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from freehold.text.prompt import NativeFormat, PromptText, ThinkingMode, ThinkStyle, to_json
from freehold.text.reasoning import ThinkTags
from freehold.text.tools import ToolSyntax
from freehold.types import Message, ToolCall

__all__ = ["DeepSeekR1", "DeepSeekV3", "DeepSeekV31"]

_BOS, _EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
_USER, _ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
_CALLS, _CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_OUTPUTS, _OUTPUTS_END = "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"
_OUTPUT, _OUTPUT_END = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"


class DeepSeekV3(NativeFormat):
    """DeepSeek-V3 and V3-0324.

    Source: `chat_template` of deepseek-ai/DeepSeek-V3-0324.
    """

    name: ClassVar[str] = "deepseek-v3"
    needs: ClassVar[tuple[str, ...]] = (_BOS, _EOS, _USER, _ASSISTANT)
    stops: ClassVar[tuple[str, ...]] = (_EOS,)
    tool_syntax: ToolSyntax | None = "deepseek"
    drops_thinking: ClassVar[bool] = False

    def write(self, prompt: PromptText, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> bool:
        """Writes everything up to the assistant's turn; a turn right after tool results has no tag and no thinking."""
        prompt.mark(_BOS)
        write_system(prompt, messages)
        if tools:
            self.write_tools(prompt, tools)
        turn_open = after_results = False
        for message in messages:
            if message.role == "user":
                prompt.mark(_USER).say(message.content).mark(_ASSISTANT)
                turn_open, after_results = True, False
            elif message.role == "assistant":
                if after_results:
                    prompt.mark(_OUTPUTS_END)
                elif not turn_open:
                    prompt.mark(_ASSISTANT)
                prompt.say(self.spoken(message))
                if message.tool_calls:
                    write_calls(prompt, message.tool_calls)
                prompt.mark(_EOS)
                turn_open = after_results = False
            elif message.role == "tool":
                prompt.mark("\n" if after_results else _OUTPUTS).mark(_OUTPUT).say(message.content).mark(_OUTPUT_END)
                turn_open, after_results = False, True
        if after_results:
            prompt.mark(_OUTPUTS_END)
        elif not turn_open:
            prompt.mark(_ASSISTANT)
        return not after_results

    def spoken(self, message: Message) -> str:
        """Gives what stays of an earlier assistant's message: with a model that thinks, the answer without thinking."""
        return message.content.split("</think>")[-1] if self.drops_thinking else message.content

    def write_tools(self, prompt: PromptText, tools: Sequence[Mapping[str, Any]]) -> None:
        """Lists the tools after the system message."""
        prompt.mark(
            "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
        )
        for tool in tools:
            prompt.mark("\n").say(to_json(tool))
        prompt.mark(
            f"\n</tools>\n\nFor function call returns, you should first print {_CALLS}"
            f"For each function call, you should return object like:\n{_CALL}function{_SEP}<function_name>\n"
            f"```json\n<function_arguments_in_json_format>\n```{_CALL_END}"
            f"At the end of function call returns, you should print {_CALLS_END}{_EOS}"
        )


class DeepSeekR1(DeepSeekV3):
    """DeepSeek-R1 and its distillations: the prompt opens the thinking, and earlier turns lose theirs.

    Source: `chat_template` of deepseek-ai/DeepSeek-R1 and deepseek-ai/DeepSeek-R1-Distill-Qwen-32B. Thinking switched
    off closes it at once with a blank line inside, as clients of these models do; the model was not trained for it.
    """

    name: ClassVar[str] = "deepseek-r1"
    needs: ClassVar[tuple[str, ...]] = (*DeepSeekV3.needs, "<think>", "</think>")
    thinking: ThinkingMode = "always"
    default_thinking: bool = True
    style: ThinkStyle | None = ThinkStyle(
        ThinkTags(),
        opening="<think>\n",
        start="<think>\n",
        end="\n</think>\n\n",
        skipped="<think>\n\n</think>\n\n",
    )
    drops_thinking: ClassVar[bool] = True

    def write_tools(self, prompt: PromptText, tools: Sequence[Mapping[str, Any]]) -> None:
        """Lists the tools after the system message, in the words of vLLM's `tool_chat_template_deepseekr1.jinja`."""
        prompt.mark(
            "\n\nYou are a helpful assistant with tool calling capabilities. "
            "When a tool call is needed, you MUST use the following format to issue the call:\n"
            f"{_CALLS}{_CALL}function{_SEP}FUNCTION_NAME\n"
            f'```json\n{{"param1": "value1", "param2": "value2"}}\n```{_CALL_END}{_CALLS_END}\n\n'
            "Make sure the JSON is valid."
            "## Tools\n\n### Function\n\nYou have the following functions available:\n\n"
        )
        for tool in tools:
            prompt.mark("\n```json\n").say(to_json(tool)).mark("\n```\n")


class DeepSeekV31(NativeFormat):
    """DeepSeek-V3.1: one model that thinks when the prompt ends with `<think>` and answers at once after `</think>`.

    Source: `chat_template` of deepseek-ai/DeepSeek-V3.1; its tool section as in the model's card and SGLang's
    `tool_chat_template_deepseekv31.jinja`.
    """

    name: ClassVar[str] = "deepseek-v3.1"
    needs: ClassVar[tuple[str, ...]] = DeepSeekR1.needs
    stops: ClassVar[tuple[str, ...]] = (_EOS,)
    thinking: ThinkingMode = "optional"
    tool_syntax: ToolSyntax | None = "deepseek"
    style: ThinkStyle | None = ThinkStyle(
        ThinkTags(), opening="<think>", start="<think>", end="</think>", skipped="</think>"
    )

    def write(self, prompt: PromptText, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> bool:
        """Writes everything up to the assistant's turn; a turn right after tool results has no tag and no thinking."""
        prompt.mark(_BOS)
        write_system(prompt, messages)
        if tools:
            _write_tools_v31(prompt, tools)
        last = ""
        for message in messages:
            if message.role == "user":
                prompt.mark(_USER).say(message.content)
            elif message.role == "assistant":
                if last != "tool":
                    prompt.mark(_ASSISTANT + "</think>")
                prompt.say(message.content.split("</think>", 1)[-1])
                if message.tool_calls:
                    prompt.mark(_CALLS)
                    for call in message.tool_calls:
                        prompt.mark(_CALL).say(call.name).mark(_SEP).say(call.arguments).mark(_CALL_END)
                    prompt.mark(_CALLS_END)
                prompt.mark(_EOS)
            elif message.role == "tool":
                prompt.mark(_OUTPUT).say(message.content).mark(_OUTPUT_END)
            if message.role != "system":
                last = message.role
        if last == "tool":
            return False
        prompt.mark(_ASSISTANT)
        return True


def write_system(prompt: PromptText, messages: Sequence[Message]) -> None:
    """Writes all system messages, joined by blank lines."""
    first = True
    for message in messages:
        if message.role == "system":
            prompt.mark("" if first else "\n\n").say(message.content)
            first = False


def write_calls(prompt: PromptText, calls: Sequence[ToolCall]) -> None:
    """Writes tool calls as V3 and R1 do, arguments in a fenced block."""
    prompt.mark(_CALLS)
    for number, call in enumerate(calls):
        prompt.mark("\n" if number else "").mark(f"{_CALL}function{_SEP}").say(call.name)
        prompt.mark("\n```json\n").say(call.arguments).mark(f"\n```{_CALL_END}")
    prompt.mark(_CALLS_END)


def _write_tools_v31(prompt: PromptText, tools: Sequence[Mapping[str, Any]]) -> None:
    prompt.mark("\n\n## Tools\nYou have access to the following tools:\n")
    for tool in tools:
        function = tool["function"]
        prompt.mark("\n### ").say(str(function["name"]))
        if function.get("description") is not None:
            prompt.mark("\nDescription: ").say(str(function["description"]))
        prompt.mark("\n\nParameters: ").say(to_json(function.get("parameters") or {})).mark("\n")
    prompt.mark(
        "\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
        f"{_CALLS}{_CALL}tool_call_name{_SEP}tool_call_arguments{_CALL_END}{{{{additional_tool_calls}}}}{_CALLS_END}\n\n"
        "Where:\n\n- `tool_call_name` must be an exact match to one of the available tools\n"
        "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
        "- For multiple tool calls, chain them directly without separators or spaces\n"
    )

"""Writes `prompts.json` anew from published chat templates: `python tests/text/golden/make.py FOLDER_OF_TEMPLATES`.

The folder holds one `NAME.jinja` for each name in `SOURCES`; README.md says where each comes from. They are rendered by
transformers, not by Freehold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).parent
DEEPSEEK = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
CHATML = {"bos_token": None, "eos_token": "<|im_end|>"}
LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
PLAIN = ("question", "system", "turns", "unicode")
TOOLS = ("call", "calls", "answered", "called-again")
OFFERED = ("offered", "offered-system")

# Template, fixed variables, conversations, values of the thinking switch, whether arguments are given as text.
SOURCES: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[bool | None, ...], bool]] = {
    "deepseek-v3-0324": (DEEPSEEK, (*PLAIN, *TOOLS), (None,), True),
    "deepseek-v3.1": (DEEPSEEK, (*PLAIN, *TOOLS, "thought"), (None, True, False), True),
    "deepseek-r1": (DEEPSEEK, (*PLAIN, "call", "calls", "answered", "thought"), (None,), True),
    "deepseek-v2": (DEEPSEEK, PLAIN, (None,), True),
    "smollm2": (CHATML, PLAIN, (None,), False),
    "qwen2.5": (CHATML, (*PLAIN, *TOOLS, *OFFERED), (None,), False),
    "qwen3": (CHATML, (*PLAIN, *TOOLS, *OFFERED, "thought", "thought-between-calls"), (None, True, False), False),
    "llama3": (LLAMA, PLAIN, (None,), False),
    "llama3.3": (LLAMA, (*PLAIN, "call", "answered", *OFFERED), (None,), False),
}


def plain(message: dict[str, Any], arguments_as_text: bool) -> dict[str, Any]:
    """Gives a message as the template expects it."""
    message = dict(message)
    if calls := message.pop("tool_calls", None):
        if arguments_as_text and not message["content"]:
            message["content"] = None
        message["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": name, "arguments": text if arguments_as_text else json.loads(text)},
            }
            for name, text in calls
        ]
    return message


def main(folder: Path) -> None:
    """Renders every conversation with every template."""
    conversations = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))
    prompts: dict[str, Any] = {}
    for source, (fixed, names, switches, as_text) in SOURCES.items():
        template = _compile_jinja_template((folder / f"{source}.jinja").read_text(encoding="utf-8"))
        for name in names:
            conversation = conversations[name]
            for switch in switches:
                variables = dict(fixed) if switch is None else {**fixed, "thinking": switch, "enable_thinking": switch}
                if "tools" in conversation:
                    variables["tools"] = conversation["tools"]
                messages = [plain(message, as_text) for message in conversation["messages"]]
                text = template.render(messages=messages, add_generation_prompt=True, **variables)
                prompts.setdefault(source, {}).setdefault(name, {})[str(switch)] = text
    (HERE / "prompts.json").write_text(json.dumps(prompts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

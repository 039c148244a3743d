"""Small byte-level BPE tokenizers in the published styles, trained on the text in this file, the same on every run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

__all__ = ["STYLES", "TEMPLATES", "Style", "tiny_tokenizer"]

Style = Literal["deepseek", "chatml", "llama3"]

_TEXT = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "What is the weather like in Hangzhou today? It is twenty-four degrees and sunny.",
    "Let me think about this step by step: first we add two and two, then we multiply the result by seven.",
    "A model that reasons writes down its thinking before it writes the answer, and the answer is short.",
    "You are a helpful assistant. Answer the question of the user with the tools that are given to you.",
    'def add(left: int, right: int) -> int:\n    """Give the sum."""\n    return left + right\n\n\nprint(add(1, 2))\n',
    '{"name": "get_weather", "arguments": {"location": "Hangzhou", "unit": "celsius"}}\n',
    "Grüße aus Köln! Les élèves étaient là. Привет, мир. 你好，世界。今天天气怎么样？ こんにちは世界 🙂🙃",
    "Numbers: 0, 1, 12, 123, 1234, 3.14159 and 2.71828; dates such as 2025-01-20; sums such as 17 * 23 = 391.",
    "All happy families are alike; every unhappy family is unhappy in its own way.",
    "# Heading\n\n- one item\n- another item\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nimport math\n```\n",
)

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_CHATML_BODY = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_DEEPSEEK_BODY = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + CONTENT + '<｜end▁of▁sentence｜>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>OPENING' }}{% endif %}"
)

TEMPLATES: dict[str, str] = {
    "chatml": _CHATML_BODY,
    "deepseek-v3": _DEEPSEEK_BODY.replace("OPENING", "").replace("CONTENT", "message['content']"),
    "deepseek-r1": _DEEPSEEK_BODY.replace("OPENING", "<think>\\n").replace(
        "CONTENT", "message['content'].split('</think>')[-1]"
    ),
    "llama3": (
        "{{ bos_token }}{% for message in messages %}"
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
        " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
}
"""Short chat templates by chat format: plain conversations only, as the published ones render them."""


@dataclass(frozen=True)
class _StyleTokens:
    """`first` stand before the trained vocabulary, `last` after it; each with whether it is flagged special."""

    first: tuple[tuple[str, bool], ...]
    last: tuple[tuple[str, bool], ...]
    bos: str | None
    eos: str
    pad: str


# The special flags are those of the published tokenizers (DeepSeek-V3.1, Qwen3 and SmolLM2, Llama-3.1).
STYLES: dict[Style, _StyleTokens] = {
    "deepseek": _StyleTokens(
        first=(("<｜begin▁of▁sentence｜>", True), ("<｜end▁of▁sentence｜>", True), ("<｜▁pad▁｜>", True)),
        last=(
            ("<think>", False),
            ("</think>", False),
            ("<｜fim▁hole｜>", False),
            ("<｜fim▁begin｜>", False),
            ("<｜fim▁end｜>", False),
            ("<｜User｜>", False),
            ("<｜Assistant｜>", False),
            ("<|EOT|>", True),
            ("<｜tool▁calls▁begin｜>", False),
            ("<｜tool▁calls▁end｜>", False),
            ("<｜tool▁call▁begin｜>", False),
            ("<｜tool▁call▁end｜>", False),
            ("<｜tool▁outputs▁begin｜>", False),
            ("<｜tool▁outputs▁end｜>", False),
            ("<｜tool▁output▁begin｜>", False),
            ("<｜tool▁output▁end｜>", False),
            ("<｜tool▁sep｜>", False),
        ),
        bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>",
        pad="<｜▁pad▁｜>",
    ),
    "chatml": _StyleTokens(
        first=(("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True)),
        last=(
            ("<tool_call>", False),
            ("</tool_call>", False),
            ("<tool_response>", False),
            ("</tool_response>", False),
            ("<think>", False),
            ("</think>", False),
        ),
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
    ),
    "llama3": _StyleTokens(
        first=(),
        last=(
            ("<|begin_of_text|>", True),
            ("<|end_of_text|>", True),
            ("<|finetune_right_pad_id|>", True),
            ("<|start_header_id|>", True),
            ("<|end_header_id|>", True),
            ("<|eom_id|>", True),
            ("<|eot_id|>", True),
            ("<|python_tag|>", True),
        ),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        pad="<|finetune_right_pad_id|>",
    ),
}


def tiny_tokenizer(
    path: Path, style: Style = "deepseek", vocab_size: int = 512, *, chat_template: str | None = None
) -> Path:
    """Writes `tokenizer.json` and `tokenizer_config.json` into a folder, which is made if need be.

    Args:
        path: The folder.
        style: Which special tokens it carries, flagged special or not as published.
        vocab_size: Ids in all, added tokens included, 320 to 640; ids run without a gap from 0.
        chat_template: Goes into `tokenizer_config.json`; see `TEMPLATES`.

    Returns:
        The folder.
    """
    tokens = STYLES[style]
    if not 320 <= vocab_size <= 640:
        raise ValueError(f"vocab_size is {vocab_size}; the text in this file carries 320 to 640.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(tokens.last),
        show_progress=False,
        special_tokens=[_added(text, special) for text, special in tokens.first],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    for text, special in tokens.last:
        tokenizer.add_tokens([_added(text, special)])
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(f"Training gave {tokenizer.get_vocab_size()} tokens of the {vocab_size} asked for.")
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": tokens.bos is not None,
        "bos_token": tokens.bos,
        "eos_token": tokens.eos,
        "pad_token": tokens.pad,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    (path / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")
    return path


def _added(text: str, special: bool) -> AddedToken:
    return AddedToken(text, special=special, normalized=not special)

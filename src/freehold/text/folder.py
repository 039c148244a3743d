"""What a model folder publishes beside its vocabulary: chat templates, first and end tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.errors import TokenizerError
from freehold.text.vocabulary import read_json

__all__ = ["chat_templates", "start_ids", "token_ids"]


def token_ids(value: Any) -> tuple[int, ...]:
    """Gives the token ids under a key of a configuration: one, several or none.

    Raises:
        TokenizerError: Something else stands there.
    """
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, int) and item >= 0 for item in values):
        raise TokenizerError(f"A token id in the configuration is {value!r}; it must be 0 or more, or a list of such.")
    return tuple(values)


def chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Gives the published chat templates by name; the files of their own come before `tokenizer_config.json`."""
    templates: dict[str, str] = {}
    value = config.get("chat_template")
    if isinstance(value, str):
        templates["default"] = value
    elif isinstance(value, list):
        templates.update({str(entry["name"]): str(entry["template"]) for entry in value if isinstance(entry, dict)})
    beside = folder / "chat_template.json"
    if beside.is_file() and isinstance(text := read_json(beside, required=True).get("chat_template"), str):
        templates["default"] = text
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        templates["default"] = beside.read_text(encoding="utf-8")
    return templates


def start_ids(spec: Mapping[str, Any], config: Mapping[str, Any], bos_id: int | None) -> tuple[int, ...]:
    """Gives what the tokenizer writes before a plain text: by `add_bos_token`, else by its post-processor."""
    if config.get("add_bos_token") is not None:
        return (bos_id,) if config["add_bos_token"] and bos_id is not None else ()
    processor = spec.get("post_processor") or {}
    steps = processor.get("processors") or [] if processor.get("type") == "Sequence" else [processor]
    for step in steps:
        if step.get("type") != "TemplateProcessing":
            continue
        named = step.get("special_tokens") or {}
        start: list[int] = []
        for piece in step.get("single") or []:
            if "SpecialToken" not in piece:
                break
            start.extend(named[piece["SpecialToken"]["id"]]["ids"])
        return tuple(start)
    return ()

"""The engine: many requests at a time over one model, a step at a time.

    model = LanguageModel.from_folder(folder)
    for update in model.stream("What is the capital of France?"):
        print(update.text, end="")

`Engine` does one step per call, `EngineRunner` owns a thread that steps it, `LanguageModel` is both with a tokenizer
and a chat format. Importing the package alone imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freehold.engine.config import EngineConfig
    from freehold.engine.engine import Engine
    from freehold.engine.language_model import LanguageModel
    from freehold.engine.request import Request, Thinking, Update
    from freehold.engine.runner import EngineRunner
    from freehold.engine.stats import EngineStats

__all__ = [
    "Engine",
    "EngineConfig",
    "EngineRunner",
    "EngineStats",
    "LanguageModel",
    "Request",
    "Thinking",
    "Update",
]

_MODULES = {
    "Engine": "engine",
    "EngineConfig": "config",
    "EngineRunner": "runner",
    "EngineStats": "stats",
    "LanguageModel": "language_model",
    "Request": "request",
    "Thinking": "request",
    "Update": "request",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

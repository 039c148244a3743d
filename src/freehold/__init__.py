"""Freehold: a reasoning model that you own outright.

    import freehold

    model = freehold.load("smollm2-135m-instruct")
    print(model.chat("What is the capital of France?").text)

Importing the package imports no torch; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold import errors
from freehold.errors import FreeholdError
from freehold.types import Completion, Message, SamplingParams, TokenLogprob, ToolCall, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from freehold.engine.language_model import LanguageModel

__all__ = [
    "Completion",
    "FreeholdError",
    "Message",
    "SamplingParams",
    "TokenLogprob",
    "ToolCall",
    "Usage",
    "__version__",
    "errors",
    "load",
]

__version__ = "0.1.0"


def load(name_or_path: str | Path, dtype: str = "bfloat16", device: str | None = None) -> LanguageModel:
    """Loads a model by its catalog name, hub name (`hf:org/repo`) or folder; fetches it first where it is not here yet.

    Args:
        name_or_path: A catalog name, a pulled model, `hf:org/repo[@rev]`, a model folder or a GGUF file.
        dtype: `bfloat16`, `float32`, on a GPU `float16`, or `auto`: float32 for small models on a CPU, else bfloat16.
        device: `cpu`, `cuda`, `cuda:1`; None takes the GPU where there is one.

    Returns:
        A model with `logits`, `generate`, `chat` and `stream`.

    Raises:
        FreeholdError: The model is unknown, cannot be fetched, or is malformed; the message names the remedy.
    """
    from freehold.engine.language_model import LanguageModel
    from freehold.hub.pull import ensure

    return LanguageModel.from_folder(ensure(name_or_path), dtype=dtype, device=device)

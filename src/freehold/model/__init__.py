"""DeepSeek-V3 and its kin: configuration, layers, and the loading of published weights.

    >>> from freehold.model import DenseAttend, load_model
    >>> model = load_model("models/smollm2-135m-instruct")
    >>> hidden_TD = model(token_ids_T, positions_T, DenseAttend([len(token_ids_T)]))
    >>> logits_TV = model.logits(hidden_TD)

Importing this package imports no torch; `ModelConfig` never does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freehold.model.attention import Attend, DenseAttend
    from freehold.model.config import ModelConfig
    from freehold.model.transformer import Transformer
    from freehold.model.weights import load_model

__all__ = ["Attend", "DenseAttend", "ModelConfig", "Transformer", "load_model"]

_HOMES = {
    "Attend": "attention",
    "DenseAttend": "attention",
    "ModelConfig": "config",
    "Transformer": "transformer",
    "load_model": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

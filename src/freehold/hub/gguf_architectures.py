"""Which architectures of GGUF files can be converted, and by what."""

from __future__ import annotations

from typing import Any

from freehold.errors import WeightsError
from freehold.hub.gguf import GgufFile, shown
from freehold.hub.gguf_deepseek import deepseek_config, deepseek_plan
from freehold.hub.gguf_dense import DENSE, dense_config, dense_plan
from freehold.hub.gguf_plan import PlannedTensor

__all__ = ["read_architecture"]

_DEEPSEEK = "deepseek2"


def read_architecture(file: GgufFile) -> tuple[dict[str, Any], list[PlannedTensor]]:
    """Reads what a file's metadata and tensors mean in Hugging Face's terms.

    Returns:
        The content of `config.json`, and every tensor of the folder to write.

    Raises:
        WeightsError: The architecture cannot be converted; a number or tensor is missing, unknown or does not fit.
    """
    name = file.metadata.get("general.architecture")
    if name != _DEEPSEEK and name not in DENSE:
        raise WeightsError(
            f"{file.path.name} has the architecture {shown(name)}; "
            f"{', '.join(DENSE)} and {_DEEPSEEK} can be converted. "
            "Pull the model's original folder (hf:org/repo) instead."
        )
    parts = file.metadata.get("split.count", 1)
    if parts not in (0, 1):
        raise WeightsError(f"{file.path.name} is one of {parts} parts; join them with llama-gguf-split --merge first.")
    if name == _DEEPSEEK:
        config = deepseek_config(file)
        return config, deepseek_plan(file, config)
    config = dense_config(file)
    return config, dense_plan(file, config)

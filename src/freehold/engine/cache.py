"""The tensors in which keys and values (or MLA's latents) are kept, block by block.

One tensor holds all layers: (layers, slots, 2, G, d) with each token's keys and values side by side, or
(layers, slots, L) for latents, L = kv_lora_rank + qk_rope_head_dim. A slot is one token's place: block * block_size +
offset. Which block belongs to whom, `BlockPool` knows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from freehold.engine.blocks import BlockPool
from freehold.engine.config import EngineConfig
from freehold.errors import ConfigError
from freehold.model.config import ModelConfig

__all__ = ["KVCache", "bytes_per_token"]

_SHARE_OF_FREE_MEMORY = 0.25
_USUAL_BYTES = 2**30
"""What a cache in the machine's own memory takes by default, where one full context needs no more."""
_UNKNOWN_FREE_BYTES = 4 * 2**30
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


class KVCache:
    """The cache of one engine: its tensor and the pool of blocks over it.

    Args:
        model: Whose layers and head sizes.
        config: Block size, and how many tokens to hold.
        max_context: Most tokens of one sequence.
        dtype: Of keys, values and latents.
        device: Where they are kept.

    Raises:
        ConfigError: There is no room for even one block.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: EngineConfig,
        *,
        max_context: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.block_size = config.block_size
        token_bytes = bytes_per_token(model, dtype)
        tokens = config.cache_tokens
        if tokens is None:
            affordable = int(_free_bytes(device) * _SHARE_OF_FREE_MEMORY) // token_bytes
            context = max_context + config.block_size
            tokens = min(affordable, context * config.max_batch)
            if device.type == "cpu":
                tokens = min(tokens, max(_USUAL_BYTES // token_bytes, context))
        num_blocks = math.ceil(tokens / config.block_size) if config.cache_tokens else tokens // config.block_size
        if num_blocks < 1:
            raise ConfigError(
                f"There is no memory for a cache: {token_bytes * config.block_size:,} bytes are needed for one block "
                f"of {config.block_size} tokens. Free some memory, or set cache_tokens."
            )
        self.pool = BlockPool(num_blocks, config.block_size, prefix_cache=config.prefix_cache)
        self.tensor = _zeros((model.num_hidden_layers, num_blocks * config.block_size, *_row(model)), dtype, device)
        self.layers: tuple[Tensor, ...] = self.tensor.unbind(0)

    @property
    def num_tokens(self) -> int:
        """Tokens that fit in all."""
        return self.pool.num_blocks * self.block_size

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copies whole blocks, of all layers."""
        by_block = self.tensor.view(self.tensor.shape[0], -1, self.block_size, *self.tensor.shape[2:])
        device = self.tensor.device
        content = by_block.index_select(1, torch.tensor(sources, device=device))
        by_block.index_copy_(1, torch.tensor(targets, device=device), content)


def bytes_per_token(model: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes of cache that one token takes over all layers."""
    return model.num_hidden_layers * math.prod(_row(model)) * dtype.itemsize


def _row(model: ModelConfig) -> tuple[int, ...]:
    if model.kind == "mla":
        return (model.cache_width,)
    return (2, model.num_key_value_heads, model.head_dim)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, because padding is read (and masked), and 0 times anything left in memory must be 0, not NaN."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # calloc: the system hands out pages as they are first written, so that a large cache costs nothing until used
    raw = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _machine_free_bytes()
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    return free if limit is None or used is None else min(free, max(0, limit - used))


def _machine_free_bytes() -> int:
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return _UNKNOWN_FREE_BYTES


def _number(path: Path) -> int | None:
    """What a control group's file says; None where there is no such file or it sets no limit (`max`)."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None

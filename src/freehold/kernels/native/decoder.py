"""All layers of a model over the rows of a step in one native call (`cpp/decoder.cpp`).

Its twin is `Transformer.forward` with the engine's `PagedAttend`, where latent attention, experts, and shapes that fit
no panel go.

Shapes: T tokens, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from freehold.kernels.layer import PackedDecoderLayer
from freehold.kernels.linear import FusedLinear
from freehold.kernels.native.library import DecoderStruct, LayerStruct, PassStruct, native
from freehold.kernels.native.linear import NativeLinear
from freehold.kernels.native.team import team_size
from freehold.kernels.norm import PackedRMSNorm
from freehold.kernels.rotary import PackedRope
from freehold.model.norm import RMSNorm
from freehold.model.transformer import Transformer

__all__ = ["NativeDecoder", "Rows", "native_decoder"]

_BLOCK_ROWS = 32
_MAX_ROWS = 512
_WORKSPACE_BYTES = 64 * 2**20
"""What the parts of attention may take, where more than a block of rows is to be read at once."""
_SPAN = 256
_HEAD_STEP, _MAX_HEAD, _MAX_SHARED = 16, 256, 64
"""Sizes of heads, and heads of a group, that the library is made for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows of a pass stand. Rows of one sequence see each other's keys, as far as their lengths say.

    Args:
        positions: Of each row in its sequence.
        slots: Of the cache, where each row's key and value go.
        lengths: How many of its sequence's keys each row sees, its own included.
        table: The blocks of all sequences, one sequence after the other.
        table_start: For each row, where its sequence's blocks begin in `table`.
    """

    positions: Sequence[int]
    slots: Sequence[int]
    lengths: Sequence[int]
    table: Sequence[int]
    table_start: Sequence[int]


class NativeDecoder:
    """The layers of one packed model, ready to be called. Sees new weights that `refill` puts in.

    Not safe for threads: it has one workspace.
    """

    def __init__(self, model: Transformer) -> None:
        library, parts = native(), _parts(model)
        if library is None or parts is None:
            raise RuntimeError("This model has no native form here; ask `native_decoder`.")
        self._library, self._model = library, model
        config = model.config
        layers, rope, norm = parts
        self._structs = (LayerStruct * len(layers))(*map(_layer, layers))
        self._decoder = DecoderStruct(
            layers=len(layers),
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            groups=config.num_key_value_heads,
            head_size=config.head_dim,
            width=layers[0].mlp.gate_proj.out_features,
            rotated=rope.table.shape[1],
            eps=norm.eps,
            scale=config.softmax_scale,
            layer=self._structs,
            norm=norm.weight.data_ptr(),
            rope=rope.table.data_ptr(),
            half=norm.dtype == torch.bfloat16,
        )
        self._workspace = torch.empty(0, dtype=torch.uint8)

    def run(self, x_TD: Tensor, rows: Rows, cache: Tensor, block_size: int) -> Tensor:
        """Takes the rows through all layers and writes their keys and values.

        A row has the same bits whatever other rows go with it, and however a prompt is cut.

        Args:
            x_TD: Embeddings, contiguous, in the model's type.
            rows: Where they stand.
            cache: (layers, slots, 2, G, d), contiguous.
            block_size: Slots of a block.

        Returns:
            The hidden state after the final norm, (T, D).
        """
        out_TD = torch.empty_like(x_TD)
        numbers = np.array((rows.positions, rows.slots, rows.lengths, rows.table_start), dtype=np.int64)
        table = np.array(rows.table, dtype=np.int32)
        step = PassStruct(
            table=table.ctypes.data,
            cache=cache.data_ptr(),
            layer_stride=cache.stride(0),
            slot_stride=cache.stride(1),
            block_size=block_size,
            threads=team_size(),
        )
        total = x_TD.shape[0]
        at_once = self._rows_at_once(max(rows.lengths))
        for first in range(0, total, at_once):
            step.rows = min(at_once, total - first)
            step.positions, step.slots, step.lengths, step.table_start = (
                row.ctypes.data + first * row.itemsize for row in numbers
            )
            step.input, step.output = (t.data_ptr() + first * t.stride(0) * t.itemsize for t in (x_TD, out_TD))
            self._call(step)
        return out_TD

    def _rows_at_once(self, longest: int) -> int:
        config = self._model.config
        parts = -(-longest // _SPAN) * config.num_attention_heads * config.head_dim * 4
        rows = min(_MAX_ROWS, max(1, _WORKSPACE_BYTES // parts))
        return rows if rows < _BLOCK_ROWS else rows // _BLOCK_ROWS * _BLOCK_ROWS

    def _call(self, step: PassStruct) -> None:
        needed = self._library.workspace_bytes(self._decoder, step)
        if needed > self._workspace.nbytes:
            self._workspace = torch.empty(0, dtype=torch.uint8)  # the old one goes before the new one comes
            self._workspace = torch.empty(needed + needed // 4, dtype=torch.uint8)
        step.workspace, step.workspace_bytes = self._workspace.data_ptr(), self._workspace.nbytes
        if not self._library.decode(self._decoder, step):
            raise RuntimeError(f"The native decoder found {self._workspace.nbytes} bytes too few.")


def native_decoder(model: Transformer) -> NativeDecoder | None:
    """The native form of a packed model, where it has one on this machine."""
    return None if native() is None or _parts(model) is None else NativeDecoder(model)


def _parts(model: Transformer) -> tuple[list[PackedDecoderLayer], PackedRope, PackedRMSNorm] | None:
    """Layers, rotation and final norm, where all are of the kinds that have a native form."""
    rope, norm, config = model.rope, model.model.norm, model.config
    layers = [
        layer
        for layer in islice(model.model.layers, config.num_hidden_layers)
        if isinstance(layer, PackedDecoderLayer) and all(isinstance(p, NativeLinear) for p in _products(layer))
    ]
    if not isinstance(rope, PackedRope) or not isinstance(norm, PackedRMSNorm):
        return None
    shared = config.num_attention_heads // config.num_key_value_heads
    if config.head_dim % _HEAD_STEP or config.head_dim > _MAX_HEAD or shared > _MAX_SHARED:
        return None
    if len(layers) < config.num_hidden_layers or len({layer.mlp.gate_proj.out_features for layer in layers}) != 1:
        return None
    return layers, rope, norm


def _products(layer: PackedDecoderLayer) -> tuple[FusedLinear, ...]:
    attention, mlp = layer.self_attn, layer.mlp
    return attention.qkv_proj, attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj


def _layer(layer: PackedDecoderLayer) -> LayerStruct:
    return LayerStruct(
        *(product.struct for product in _products(layer) if isinstance(product, NativeLinear)),
        layer.input_layernorm.weight.data_ptr(),
        layer.post_attention_layernorm.weight.data_ptr(),
        _pointer(layer.self_attn.q_norm),
        _pointer(layer.self_attn.k_norm),
    )


def _pointer(norm: RMSNorm | None) -> int | None:
    return None if norm is None else norm.weight.data_ptr()

"""Packs a whole model in place, layer by layer, so that the weights are never in memory twice.

Each layer's originals are dropped as soon as its packed form stands; the most that is held beside the weights is one
layer. Embeddings stay as they are, because rows are picked from them. Where the head is tied to the embedding, its
packed copy is memory on top: 57 MB beside SmolLM2-135M's 269 MB, for instance, 1.21 times the weights (1.25 measured at
the peak, the load included). It is made only where it stays under `TIED_HEAD_SHARE` of the model, else the head goes on
sharing the table, at `F.linear`'s speed.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn

from freehold.kernels.attention import PackedAttention
from freehold.kernels.forms import fused_linear
from freehold.kernels.layer import PackedDecoderLayer
from freehold.kernels.linear import FusedLinear, PlainLinear
from freehold.kernels.mlp import PackedMLP
from freehold.kernels.norm import PackedRMSNorm
from freehold.kernels.rotary import PackedRope
from freehold.model.gqa import GroupedQueryAttention
from freehold.model.mlp import MLP
from freehold.model.norm import RMSNorm
from freehold.model.transformer import DecoderLayer, Transformer

__all__ = ["TIED_HEAD_SHARE", "PackReport", "pack"]

TIED_HEAD_SHARE = 0.28
"""Largest part of the model's weights that a second, packed copy of a tied embedding may add."""
_KEPT = frozenset({"kv_b_proj"})
"""Matrices that are not multiplied as they stand: MLA splits this one and absorbs its halves into other products."""


@dataclass(frozen=True, slots=True)
class PackReport:
    """What packing did, in bytes of weights.

    Args:
        packed_bytes: In the native library's panels or oneDNN's layout.
        kept_bytes: As they were: embeddings, routers, norms, and everything where the CPU packs nothing.
        extra_bytes: Of `packed_bytes`, what is a second copy of a tied embedding.
    """

    packed_bytes: int
    kept_bytes: int
    extra_bytes: int


def pack(model: Transformer) -> PackReport:
    """Makes a model ready for fast inference on this CPU, in place.

    Results equal the plain model's up to rounding. With native kernels, and in float32 with AVX-512, the matrix
    products of a row do not depend on the other rows of the step (see `invariance.py`), so that steps need no padding
    on their account. Weights can be changed later with `refill` only; the model's `state_dict` has no packed weights
    any more, and gradients do not flow.

    A model on another device, and one packed already, is left alone. Where neither the native library nor oneDNN
    has kernels for the model's type (float16), plain PyTorch runs instead, fused where it can be.

    Args:
        model: Loaded, on the CPU. No forward pass may run meanwhile.

    Returns:
        Where the weights are now.
    """
    if model.model.embed_tokens.weight.device.type == "cpu" and not _is_packed(model):
        with torch.no_grad():
            _pack_layers(model)
            _pack_heads(model)
    return _report(model)


def _is_packed(model: Transformer) -> bool:
    return any(isinstance(module, FusedLinear | PackedRMSNorm) for module in model.modules())


def _pack_layers(model: Transformer) -> None:
    layers = model.model.layers
    fusable = all(_parts(layer) is not None for layer in layers)
    for index in range(len(layers)):
        _pack_layer(layers, index, fusable=fusable)
        _return_free_memory()
    if fusable:
        model.add_module("rope", PackedRope(model.rope, model.model.embed_tokens.weight.dtype))
    model.model.add_module("norm", PackedRMSNorm(model.model.norm))


def _pack_layer(layers: nn.ModuleList, index: int, *, fusable: bool) -> None:
    parts = _parts(layers[index]) if fusable else None
    if parts is None:
        _pack_children(layers[index])
    else:
        layers[index] = _packed_layer(*parts)


def _parts(layer: nn.Module) -> tuple[DecoderLayer, GroupedQueryAttention, MLP] | None:
    """A layer with its sublayers, where these are of the kinds that can take the residual in."""
    if isinstance(layer, DecoderLayer):
        attention, mlp = layer.self_attn, layer.mlp
        if isinstance(attention, GroupedQueryAttention) and isinstance(mlp, MLP):
            return layer, attention, mlp
    return None


def _packed_layer(layer: DecoderLayer, self_attn: GroupedQueryAttention, mlp: MLP) -> PackedDecoderLayer:
    return PackedDecoderLayer(
        PackedAttention(self_attn),
        PackedMLP(mlp),
        PackedRMSNorm(layer.input_layernorm),
        PackedRMSNorm(layer.post_attention_layernorm),
    )


def _pack_children(parent: nn.Module) -> None:
    """Replaces what can be replaced one by one: norms, feed-forward layers (experts too) and single matrices."""
    for name, child in parent.named_children():
        if name in _KEPT or name == "shared_head":
            continue
        if isinstance(child, RMSNorm):
            setattr(parent, name, PackedRMSNorm(child))
        elif isinstance(child, MLP):
            setattr(parent, name, PackedMLP(child))
        elif isinstance(child, nn.Linear):
            setattr(parent, name, fused_linear(child))
        else:
            _pack_children(child)


def _pack_heads(model: Transformer) -> None:
    """Packs the output head, and those of prediction modules; heads that share a weight go on sharing."""
    table = model.model.embed_tokens.weight
    total = sum(weight.nbytes for weight in _distinct(model)) + _report(model).packed_bytes
    done: dict[int, nn.Module] = {}

    def packed(head: nn.Linear) -> nn.Module:
        key = head.weight.data_ptr()
        if key not in done:
            tied = key == table.data_ptr()
            done[key] = head if tied and table.nbytes > TIED_HEAD_SHARE * total else fused_linear(head, wide=True)
        return done[key]

    for module in model.mtp:
        module.shared_head.add_module("head", packed(module.shared_head.head))
    model.add_module("lm_head", packed(model.lm_head))


def _return_free_memory() -> None:
    """Has glibc give back the pages of the dropped originals; elsewhere nothing.

    It would keep them in its heap, where experts leave holes too small for their packed forms.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _report(model: Transformer) -> PackReport:
    packed = {id(m): m.nbytes for m in model.modules() if _is_laid_out(m)}
    plain = sum(m.nbytes for m in model.modules() if isinstance(m, PlainLinear))
    norms = sum(m.weight.nbytes for m in model.modules() if isinstance(m, PackedRMSNorm))
    kept = sum(weight.nbytes for weight in _distinct(model)) + plain + norms
    head: nn.Module = model.lm_head
    extra = head.nbytes if isinstance(head, FusedLinear) and _is_laid_out(head) else 0
    return PackReport(sum(packed.values()), kept, extra if model.config.tie_word_embeddings else 0)


def _is_laid_out(module: nn.Module) -> TypeGuard[FusedLinear]:
    return isinstance(module, FusedLinear) and not isinstance(module, PlainLinear)


def _distinct(model: nn.Module) -> list[Tensor]:
    """Parameters and persistent buffers, each storage once."""
    return list({tensor.data_ptr(): tensor for tensor in model.state_dict().values()}.values())

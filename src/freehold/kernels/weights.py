"""Puts new weights into a packed model, by their published names: between two phases of reinforcement learning, say.

    >>> refill(model, policy.state_dict())

Everything is checked before anything is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from freehold.errors import WeightsError
from freehold.kernels.attention import PackedAttention
from freehold.kernels.linear import FusedLinear
from freehold.kernels.norm import PackedRMSNorm
from freehold.model.transformer import Transformer

__all__ = ["refill"]

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class _Group:
    """Weights that go in together, because one packed matrix holds them."""

    shapes: Mapping[str, tuple[int, ...]]
    load: Callable[[Sequence[Tensor]], object]


def refill(model: Transformer, tensors: Mapping[str, Tensor]) -> None:
    """Replaces weights in place, packed or not. Not safe while a forward pass runs; whoever caches keys and values of
    the old weights must drop them.

    Args:
        model: Packed by `pack`, or plain.
        tensors: By published name. They may be few, but those that one packed matrix holds (the queries', keys' and
            values' of a layer; a weight and its bias) come together. A tied head follows the embedding by itself.

    Raises:
        WeightsError: A name that the model does not have, a shape that differs, or a part of a packed matrix without
            the others. Nothing has been changed then.
    """
    groups = list(_groups(model))
    by_name = {name: group for group in groups for name in group.shapes}
    if model.config.tie_word_embeddings and _EMBEDDING in tensors and _HEAD in by_name:
        tensors = {**tensors, _HEAD: tensors[_EMBEDDING]}
    for name, tensor in tensors.items():
        if name not in by_name:
            raise WeightsError(f"The model has no weight {name}; give the names of its published weights.")
        shape = by_name[name].shapes[name]
        if tuple(tensor.shape) != shape:
            raise WeightsError(f"{name} has the shape {list(tensor.shape)}; this model's is {list(shape)}.")
        absent = [other for other in by_name[name].shapes if other not in tensors]
        if absent:
            raise WeightsError(f"{name} is packed together with {', '.join(absent)}; give them in the same call.")
    with torch.no_grad():
        for group in groups:
            if next(iter(group.shapes)) in tensors:
                group.load([tensors[name] for name in group.shapes])


def _groups(model: Transformer) -> list[_Group]:
    groups: list[_Group] = []
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, PackedAttention):
            groups.append(_joined(f"{path}.", module.qkv_proj, module.parts))
        elif isinstance(module, FusedLinear) and not path.endswith(".qkv_proj"):
            parent, _, name = path.rpartition(".")
            groups.append(_joined(f"{parent}." if parent else "", module, {name: module.out_features}))
        elif isinstance(module, PackedRMSNorm):
            groups.append(_Group({f"{path}.weight": (module.size,)}, _first(module.load)))
        else:
            groups.extend(_plain(path, module))
    return groups


def _joined(prefix: str, layer: FusedLinear, parts: Mapping[str, int]) -> _Group:
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}{name}.weight": (n, layer.in_features) for name, n in parts.items()}
    if layer.bias is not None:
        shapes |= {f"{prefix}{name}.bias": (n,) for name, n in parts.items()}

    def load(given: Sequence[Tensor]) -> None:
        weights, biases = given[: len(parts)], given[len(parts) :]
        layer.load(torch.cat(list(weights)), torch.cat(list(biases)) if biases else None)

    return _Group(shapes, load)


def _plain(path: str, module: nn.Module) -> list[_Group]:
    """Parameters and persistent buffers that a module holds itself; a shared weight is listed by each of its names."""
    prefix = f"{path}." if path else ""
    own: dict[str, Tensor] = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    own |= {name: tensor for name, tensor in module.named_buffers(recurse=False) if name in module.state_dict()}
    return [_Group({prefix + name: tuple(tensor.shape)}, _first(tensor.copy_)) for name, tensor in own.items()]


def _first(load: Callable[[Tensor], object]) -> Callable[[Sequence[Tensor]], object]:
    return lambda given: load(given[0])

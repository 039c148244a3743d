"""The seam between a model's layers and the place where keys and values live.

A forward pass sees one flat run of tokens, T of them, that may belong to many sequences. Which sequence a
token belongs to, and what came before it, only the `Attend` object knows: the modules hand it queries, keys and
values (or MLA's latent) and get the attended values back. Training and `logits` use `DenseAttend`; the engine brings
its own over a paged cache.

Shapes: T tokens of the step, H query heads, G key/value heads, d head size, n non-rotary and r rotary part of
an MLA query head, C latent (kv_lora_rank), v value head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from freehold.model.gqa import gqa
from freehold.model.mla import mla_naive

__all__ = ["Attend", "DenseAttend"]


class Attend(Protocol):
    """Stores this step's keys and values of one layer, and attends causally over each token's own sequence.

    Both methods mutate the cache behind the object where it has one; each is called once per layer and step.
    """

    def gqa(self, layer: int, q_THd: Tensor, k_TGd: Tensor, v_TGd: Tensor, scale: float) -> Tensor:
        """Grouped-query attention; rotary embedding is already applied. Returns (T, H, d)."""
        ...

    def mla(
        self,
        layer: int,
        q_nope_THn: Tensor,
        q_rope_THr: Tensor,
        latent_TL: Tensor,
        w_uk_HnC: Tensor,
        w_uv_HvC: Tensor,
        scale: float,
    ) -> Tensor:
        """Multi-head latent attention over cached latents. Returns (T, H, v).

        Args:
            layer: Index of the layer, the MTP module's counted after the last.
            q_nope_THn: The part of each query without position.
            q_rope_THr: The part of each query with rotary embedding applied.
            latent_TL: What is cached per token: the normalised latent (C) followed by the shared rotary key (r).
            w_uk_HnC: Up-projection to keys, by head.
            w_uv_HvC: Up-projection to values, by head.
            scale: Softmax scale, YaRN's correction included.
        """
        ...


class DenseAttend:
    """Attends within whole sequences that lie one after the other in the step; nothing is cached or kept.

    For logits of whole texts and for training: every sequence is seen from its first token. Each is attended to on its
    own, so that its result does not depend on its neighbours, and no padding is computed.

    Args:
        lengths: Tokens of each sequence, in order; they sum to T.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        if not lengths or min(lengths) < 1:
            raise ValueError(
                f"lengths is {list(lengths)}; it must name one sequence at least, of one token at least each."
            )
        self.lengths = list(lengths)

    def gqa(self, layer: int, q_THd: Tensor, k_TGd: Tensor, v_TGd: Tensor, scale: float) -> Tensor:
        """See `Attend.gqa`."""
        del layer  # every layer alike
        return self._each(lambda q, k, v: gqa(q, k, v, None, scale), q_THd, k_TGd, v_TGd)

    def mla(
        self,
        layer: int,
        q_nope_THn: Tensor,
        q_rope_THr: Tensor,
        latent_TL: Tensor,
        w_uk_HnC: Tensor,
        w_uv_HvC: Tensor,
        scale: float,
    ) -> Tensor:
        """See `Attend.mla`; the naive form, which is the cheaper one for whole sequences."""
        del layer  # every layer alike
        return self._each(
            lambda q_nope, q_rope, latent: mla_naive(q_nope, q_rope, latent, None, w_uk_HnC, w_uv_HvC, scale),
            q_nope_THn,
            q_rope_THr,
            latent_TL,
        )

    def _each(self, attention: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        parts = zip(*(torch.split(tensor, self.lengths) for tensor in tensors), strict=True)
        outs = [attention(*(part.unsqueeze(0) for part in sequence)).squeeze(0) for sequence in parts]
        return outs[0] if len(outs) == 1 else torch.cat(outs)

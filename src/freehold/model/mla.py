"""Multi-head latent attention: the layer, and its mathematics written twice over padded batches.

`mla_naive` expands every cached latent to keys and values; `mla_absorbed` moves the up-projections to the side of the
query and attends over the latents themselves, as if they were one key/value head. Both give the same numbers; the first
is cheaper when there are about as many queries as keys, the second when few queries meet a long cache.

Shapes: B batch, T query, S key, D hidden, H heads, n non-rotary and r rotary part of a query head, C latent
(kv_lora_rank), L = C + r what is cached per token, v value head size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freehold.model.config import ModelConfig
from freehold.model.linear import Linear
from freehold.model.norm import RMSNorm
from freehold.model.rope import rotate_half_split, rotate_interleaved

if TYPE_CHECKING:
    from freehold.model.attention import Attend

__all__ = ["MultiHeadLatentAttention", "mla_absorbed", "mla_naive"]

_LATENT_NORM_EPS = 1e-6


def mla_naive(
    q_nope_BTHn: Tensor,
    q_rope_BTHr: Tensor,
    latent_BSL: Tensor,
    mask_BTS: Tensor | None,
    w_uk_HnC: Tensor,
    w_uv_HvC: Tensor,
    scale: float,
) -> Tensor:
    """Latent attention with keys and values of every head computed from the latents.

    Args:
        q_nope_BTHn: The part of each query without position.
        q_rope_BTHr: The part of each query with rotary embedding applied.
        latent_BSL: Normalised latents (C) followed by the shared rotary key (r).
        mask_BTS: True where a query may see a key (T or B may be 1 to be shared); None means causal, with T = S. Rows
            that see nothing have no meaning; latents that nobody sees must still be finite.
        w_uk_HnC: Up-projection to keys, by head.
        w_uv_HvC: Up-projection to values, by head.
        scale: Of the products before the softmax, YaRN's correction included.

    Returns:
        (B, T, H, v).

    Source: DeepSeek-V3 report, section 2.1.1, Eqs 1-11; DeepSeek-V2 (arXiv 2405.04434), appendix C, Eqs 37-47.
    """
    c_BSC, k_rope_BSr = torch.split(latent_BSL, [w_uk_HnC.shape[-1], q_rope_BTHr.shape[-1]], dim=-1)
    k_nope_BHSn = torch.einsum("bsc,hnc->bhsn", c_BSC, w_uk_HnC)
    v_BHSv = torch.einsum("bsc,hvc->bhsv", c_BSC, w_uv_HvC)
    k_rope_BHSr = k_rope_BSr.unsqueeze(1).expand(-1, w_uk_HnC.shape[0], -1, -1)
    out_BHTv = F.scaled_dot_product_attention(
        torch.cat((q_nope_BTHn, q_rope_BTHr), dim=-1).transpose(1, 2),
        torch.cat((k_nope_BHSn, k_rope_BHSr), dim=-1),
        v_BHSv,
        attn_mask=None if mask_BTS is None else mask_BTS[:, None],
        is_causal=mask_BTS is None,
        scale=scale,
    )
    return out_BHTv.transpose(1, 2)


def mla_absorbed(
    q_nope_BTHn: Tensor,
    q_rope_BTHr: Tensor,
    latent_BSL: Tensor,
    mask_BTS: Tensor | None,
    w_uk_HnC: Tensor,
    w_uv_HvC: Tensor,
    scale: float,
) -> Tensor:
    """Latent attention over the latents themselves; arguments and result as `mla_naive`.

    (W_uk c) . q = c . (W_uk^T q), and the sum of values is W_uv applied to the sum of latents.

    Source: DeepSeek-V2 (arXiv 2405.04434), section 2.1.2 (absorbing W_UK into W_UQ and W_UV into W_O); DeepSeek-V3's
        `inference/model.py`, `attn_impl = "absorb"`.
    """
    batch, queries, heads, _ = q_nope_BTHn.shape
    c_BSC = latent_BSL[..., : w_uk_HnC.shape[-1]]
    q_BTHL = torch.cat((torch.einsum("bthn,hnc->bthc", q_nope_BTHn, w_uk_HnC), q_rope_BTHr), dim=-1)
    # All heads of all queries are rows against the same latents: one matrix product per sequence.
    scores = torch.matmul(q_BTHL.reshape(batch, queries * heads, -1), latent_BSL.transpose(1, 2))
    scores_BTHS = scores.view(batch, queries, heads, -1).float() * scale
    if mask_BTS is None:
        mask_BTS = torch.ones(queries, queries, dtype=torch.bool, device=scores.device).tril()[None]
    weights_BTHS = scores_BTHS.masked_fill(~mask_BTS[:, :, None], float("-inf")).softmax(dim=-1).to(c_BSC.dtype)
    seen_BTHC = torch.matmul(weights_BTHS.view(batch, queries * heads, -1), c_BSC).view(batch, queries, heads, -1)
    return torch.einsum("bthc,hvc->bthv", seen_BTHC, w_uv_HvC)


class MultiHeadLatentAttention(nn.Module):
    """Attention of DeepSeek-V2 and V3, with published parameter names. `attend` chooses between the two forms above.

    Source: DeepSeek-V3 report, section 2.1.1; `MLA` of its `inference/model.py`, whose latent norms keep an eps of 1e-6
        whatever `rms_norm_eps` says.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        hidden, heads, rank = config.hidden_size, config.num_attention_heads, config.kv_lora_rank
        self.layer = layer
        self.num_heads = heads
        self.kv_lora_rank = rank
        self.nope_dim, self.rope_dim, self.v_dim = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
        self.scale = config.softmax_scale
        self.rotate = rotate_interleaved if config.rope_interleave else rotate_half_split
        if config.q_lora_rank is None:
            self.q_proj = Linear(hidden, heads * config.head_dim, bias=False)
        else:
            self.q_a_proj = Linear(hidden, config.q_lora_rank, bias=config.attention_bias)
            self.q_a_layernorm = RMSNorm(config.q_lora_rank, _LATENT_NORM_EPS)
            self.q_b_proj = Linear(config.q_lora_rank, heads * config.head_dim, bias=False)
        self.compresses_queries = config.q_lora_rank is not None
        self.kv_a_proj_with_mqa = Linear(hidden, config.cache_width, bias=config.attention_bias)
        self.kv_a_layernorm = RMSNorm(rank, _LATENT_NORM_EPS)
        self.kv_b_proj = Linear(rank, heads * (self.nope_dim + self.v_dim), bias=False)
        self.o_proj = Linear(heads * self.v_dim, hidden, bias=config.attention_out_bias)

    def forward(self, x_TD: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Attends from each token to its own sequence's past. `attend` stores the latents. Returns (T, D)."""
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x_TD))) if self.compresses_queries else self.q_proj(x_TD)
        q_THd = q.unflatten(-1, (self.num_heads, -1))
        q_nope_THn, q_rope_THr = q_THd.split([self.nope_dim, self.rope_dim], dim=-1)
        c_TC, k_rope_Tr = self.kv_a_proj_with_mqa(x_TD).split([self.kv_lora_rank, self.rope_dim], dim=-1)
        k_rope_Tr = self.rotate(k_rope_Tr.unsqueeze(1), *rotation).squeeze(1)
        latent_TL = torch.cat((self.kv_a_layernorm(c_TC), k_rope_Tr), dim=-1)
        w_HxC = self.kv_b_proj.weight.view(self.num_heads, -1, self.kv_lora_rank)
        w_uk_HnC, w_uv_HvC = torch.split(w_HxC, [self.nope_dim, self.v_dim], dim=1)
        q_rope_THr = self.rotate(q_rope_THr, *rotation)
        out_THv = attend.mla(self.layer, q_nope_THn, q_rope_THr, latent_TL, w_uk_HnC, w_uv_HvC, self.scale)
        out_TD: Tensor = self.o_proj(out_THv.flatten(1))
        return out_TD

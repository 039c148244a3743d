"""A walk over an architecture: every matrix it has, how often it is stored, and how often a token passes through it.

Sizes, active parameters and FLOPs are sums over the walk, and none is a formula for one model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from freehold.cost.shape import Shape

__all__ = ["Attention", "Part", "attentions", "walk"]

Kind = Literal["embedding", "head", "attention", "indexer", "dense", "router", "expert", "shared", "norm", "mtp"]


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of tensor in one place.

    Args:
        name: As in the published weights, without the layer's number.
        kind: What it is for.
        layer: Which layer, -1 outside of them; MTP modules follow the last layer.
        rows, columns: Of a matrix; a vector has one column.
        copies: How many are stored.
        used: How many of them one token passes through.
        multiplies: Whether it is a matrix product; embeddings are looked up, and norms cost next to nothing.
        stored: False for a tied head, which is the embedding.
        mtp: Whether it belongs to a multi-token prediction module.
    """

    name: str
    kind: Kind
    layer: int
    rows: int
    columns: int = 1
    copies: int = 1
    used: int = 1
    multiplies: bool = True
    stored: bool = True
    mtp: bool = False

    @property
    def params(self) -> int:
        """Numbers stored."""
        return self.rows * self.columns * self.copies if self.stored else 0

    @property
    def active(self) -> int:
        """Numbers that one token passes through."""
        return self.rows * self.columns * self.used

    @property
    def flops(self) -> int:
        """Of one token forward: a multiplication and an addition for each number of a matrix."""
        return 2 * self.active if self.multiplies else 0


@dataclass(frozen=True, slots=True)
class Attention:
    """What one layer's attention does for each pair of a query and a key, apart from its matrices.

    Args:
        layer: Which.
        flops_per_pair: Of scores and weighted values, over all heads.
        index_flops_per_pair: Of the indexer that chooses the keys; 0 without one.
        most_keys: How many keys are attended to at most; 0 means all.
        mtp: Whether it belongs to a multi-token prediction module.
    """

    layer: int
    flops_per_pair: int
    index_flops_per_pair: int
    most_keys: int
    mtp: bool

    def flops(self, keys: float) -> float:
        """Forward FLOPs of one query that sees `keys` keys."""
        attended = min(keys, self.most_keys) if self.most_keys else keys
        return self.flops_per_pair * attended + self.index_flops_per_pair * keys


def walk(shape: Shape) -> Iterator[Part]:
    """All parts, in the order of a forward pass, the multi-token prediction modules last."""
    hidden, vocab = shape.hidden_size, shape.vocab_size
    yield Part("embed_tokens", "embedding", -1, vocab, hidden, multiplies=False)
    for layer in range(shape.layers):
        yield from _layer(shape, layer, experts=layer >= shape.dense_layers)
    yield _norm("norm", -1, hidden)
    yield Part("lm_head", "head", -1, vocab, hidden, stored=not shape.tied)
    for depth in range(shape.mtp_layers):
        layer = shape.layers + depth
        for name in ("enorm", "hnorm", "shared_head.norm"):
            yield _norm(name, layer, hidden, mtp=True)
        yield Part("eh_proj", "mtp", layer, hidden, 2 * hidden, mtp=True)
        yield from _layer(shape, layer, experts=shape.experts > 0, mtp=True)


def attentions(shape: Shape) -> Iterator[Attention]:
    """The attention of every layer, the multi-token prediction modules last.

    Latent attention is counted as it is trained and prefilled: keys and values expanded for each head.
    """
    pair = 2 * shape.heads * (shape.head_size + shape.value_size)
    index = 2 * shape.index_heads * shape.index_head_size
    for layer in range(shape.layers + shape.mtp_layers):
        yield Attention(layer, pair, index, shape.index_top_k, layer >= shape.layers)


def _norm(name: str, layer: int, size: int, *, mtp: bool = False) -> Part:
    return Part(name, "norm", layer, size, multiplies=False, mtp=mtp)


def _layer(s: Shape, layer: int, *, experts: bool, mtp: bool = False) -> Iterator[Part]:
    yield _norm("input_layernorm", layer, s.hidden_size, mtp=mtp)
    yield from _latent(s, layer, mtp) if s.latent else _grouped(s, layer, mtp)
    yield _norm("post_attention_layernorm", layer, s.hidden_size, mtp=mtp)
    if not experts:
        yield from _gated("mlp", "dense", s, layer, s.intermediate_size, mtp=mtp)
        return
    yield Part("mlp.gate", "router", layer, s.experts, s.hidden_size, mtp=mtp)
    if s.router_bias:
        yield Part("mlp.gate.e_score_correction_bias", "router", layer, s.experts, multiplies=False, mtp=mtp)
    yield from _gated("mlp.experts", "expert", s, layer, s.expert_size, copies=s.experts, used=s.experts_used, mtp=mtp)
    if s.shared_size:
        yield from _gated("mlp.shared_experts", "shared", s, layer, s.shared_size, mtp=mtp)
    if s.shared_gate:
        yield Part("mlp.shared_expert_gate", "shared", layer, 1, s.hidden_size, mtp=mtp)


def _gated(
    name: str, kind: Kind, s: Shape, layer: int, width: int, *, copies: int = 1, used: int = 1, mtp: bool = False
) -> Iterator[Part]:
    for part, rows, columns in (
        ("gate_proj", width, s.hidden_size),
        ("up_proj", width, s.hidden_size),
        ("down_proj", s.hidden_size, width),
    ):
        yield Part(f"{name}.{part}", kind, layer, rows, columns, copies, used, mtp=mtp)
        if s.mlp_bias:
            yield Part(f"{name}.{part}.bias", kind, layer, rows, 1, copies, used, multiplies=False, mtp=mtp)


def _grouped(s: Shape, layer: int, mtp: bool) -> Iterator[Part]:
    q, kv = s.heads * s.head_size, s.kv_heads * s.head_size
    for name, rows in (("q_proj", q), ("k_proj", kv), ("v_proj", kv)):
        yield Part(f"self_attn.{name}", "attention", layer, rows, s.hidden_size, mtp=mtp)
        if s.qkv_bias:
            yield Part(f"self_attn.{name}.bias", "attention", layer, rows, multiplies=False, mtp=mtp)
    if s.qk_norm:
        yield _norm("self_attn.q_norm", layer, s.head_size, mtp=mtp)
        yield _norm("self_attn.k_norm", layer, s.head_size, mtp=mtp)
    yield Part("self_attn.o_proj", "attention", layer, s.hidden_size, q, mtp=mtp)
    if s.o_bias:
        yield Part("self_attn.o_proj.bias", "attention", layer, s.hidden_size, multiplies=False, mtp=mtp)


def _latent(s: Shape, layer: int, mtp: bool) -> Iterator[Part]:
    """Source: DeepSeek-V2 (arXiv 2405.04434), appendix C; the indexer: DeepSeek-V3.2-Exp, Eqs 1-2 and `Indexer` of its
    inference/model.py."""
    nope = s.head_size - s.qk_rope_head_dim
    queries = s.heads * s.head_size
    if s.q_lora_rank:
        yield Part("self_attn.q_a_proj", "attention", layer, s.q_lora_rank, s.hidden_size, mtp=mtp)
        yield _norm("self_attn.q_a_layernorm", layer, s.q_lora_rank, mtp=mtp)
        yield Part("self_attn.q_b_proj", "attention", layer, queries, s.q_lora_rank, mtp=mtp)
    else:
        yield Part("self_attn.q_proj", "attention", layer, queries, s.hidden_size, mtp=mtp)
    latent = s.kv_lora_rank + s.qk_rope_head_dim
    yield Part("self_attn.kv_a_proj_with_mqa", "attention", layer, latent, s.hidden_size, mtp=mtp)
    yield _norm("self_attn.kv_a_layernorm", layer, s.kv_lora_rank, mtp=mtp)
    yield Part("self_attn.kv_b_proj", "attention", layer, s.heads * (nope + s.value_size), s.kv_lora_rank, mtp=mtp)
    yield Part("self_attn.o_proj", "attention", layer, s.hidden_size, s.heads * s.value_size, mtp=mtp)
    if s.index_heads:
        width = s.index_heads * s.index_head_size
        yield Part("self_attn.indexer.wq_b", "indexer", layer, width, s.q_lora_rank, mtp=mtp)
        yield Part("self_attn.indexer.wk", "indexer", layer, s.index_head_size, s.hidden_size, mtp=mtp)
        yield Part("self_attn.indexer.k_norm", "indexer", layer, s.index_head_size, 2, multiplies=False, mtp=mtp)
        yield Part("self_attn.indexer.weights_proj", "indexer", layer, s.index_heads, s.hidden_size, mtp=mtp)

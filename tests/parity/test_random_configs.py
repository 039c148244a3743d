"""Configurations drawn at random, against transformers: the same logits in a batch, with and without a cache.

Every example is written by transformers, read by our loader and compared, so that reading the configuration is tested
too. The examples are the same on every run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.model.weights import load_model
from tests.parity.compare import (
    TOLERANCE,
    cached_logits,
    expected_logits,
    largest_difference,
    packed_logits,
    texts,
)
from tests.support.tiny_models import tiny_folder

VOCAB = 96
POSITIONS = 64
bounded = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@st.composite
def common(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "intermediate_size": draw(st.sampled_from([17, 48])),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "max_position_embeddings": POSITIONS,
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-5, 1e-2])),
        "tie_word_embeddings": draw(st.booleans()),
    }


@st.composite
def yarn(draw: st.DrawFn, theta: float) -> dict[str, Any]:
    rope: dict[str, Any] = {
        "rope_type": "yarn",
        "rope_theta": theta,
        "factor": draw(st.sampled_from([1.0, 1.5, 4.0, 40.0])),
        "original_max_position_embeddings": draw(st.sampled_from([8, 16, 64])),
    }
    optional = {
        "mscale": st.sampled_from([0.707, 1.0]),
        "mscale_all_dim": st.sampled_from([0.0, 0.707, 1.0]),
        "beta_fast": st.sampled_from([8, 32]),
        "beta_slow": st.sampled_from([1, 2]),
        "attention_factor": st.sampled_from([0.9, 1.2]),
        "truncate": st.booleans(),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            rope[name] = draw(values)
    return rope


@st.composite
def rope_parameters(draw: st.DrawFn, *types: str) -> dict[str, Any]:
    theta = draw(st.sampled_from([100.0, 10000.0, 500000.0]))
    rope_type = draw(st.sampled_from(types))
    if rope_type == "yarn":
        return draw(yarn(theta))
    rope: dict[str, Any] = {"rope_type": rope_type, "rope_theta": theta}
    if rope_type != "default":
        rope["factor"] = draw(st.sampled_from([2.0, 8.0]))
    if rope_type == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": draw(st.sampled_from([2.0, 4.0]))}
        rope["original_max_position_embeddings"] = draw(st.sampled_from([8, 32]))
    return rope


@st.composite
def grouped_query(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    groups = draw(st.integers(1, 3))
    heads = groups * draw(st.integers(1, 3))
    head_dim = draw(st.sampled_from([4, 6, 16]))
    fields = draw(common()) | {"num_attention_heads": heads, "num_key_value_heads": groups}
    fields["hidden_size"] = heads * head_dim
    if kind != "qwen2":
        fields["attention_bias"] = draw(st.booleans())
        fields["head_dim"] = draw(st.sampled_from([None, 8])) or head_dim
    if kind == "llama":
        fields["mlp_bias"] = draw(st.booleans())
    fields["rope_parameters"] = draw(rope_parameters("default", "linear", "dynamic", "yarn", "llama3"))
    return fields


@st.composite
def latent(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    heads = draw(st.integers(1, 5))
    odd = 1 if kind == "deepseek_v3" else 0  # transformers' V2 rotates complex views, which start at even offsets only
    fields = draw(common()) | {
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "hidden_size": heads * draw(st.sampled_from([8, 12])),
        "q_lora_rank": draw(st.sampled_from([None, 5, 16])),
        "kv_lora_rank": draw(st.sampled_from([4 - odd, 16])),
        "qk_rope_head_dim": draw(st.sampled_from([2, 8])),
        "qk_nope_head_dim": draw(st.sampled_from([2 - odd, 6, 16])),
        "v_head_dim": draw(st.sampled_from([5, 16])),
        "attention_bias": draw(st.booleans()),
        "rope_parameters": draw(rope_parameters("default", "yarn")),
    }
    groups = draw(st.integers(1, 4))
    per_group = draw(st.integers(2, 4))
    top_groups = draw(st.integers(1, groups))
    fields |= {
        "n_group": groups,
        "n_routed_experts": groups * per_group,
        "topk_group": top_groups,
        "num_experts_per_tok": draw(st.integers(1, top_groups * per_group)),
        "n_shared_experts": draw(st.integers(1, 2)),
        "moe_intermediate_size": draw(st.sampled_from([4, 16])),
        "first_k_dense_replace": draw(st.integers(0, fields["num_hidden_layers"])),
        "routed_scaling_factor": draw(st.sampled_from([1.0, 2.5])),
    }
    if kind == "deepseek_v3":
        fields |= {"norm_topk_prob": draw(st.booleans()), "rope_interleave": draw(st.booleans()), "mtp_layers": 0}
    else:
        fields |= {
            "topk_method": draw(st.sampled_from(["greedy", "group_limited_greedy"])),
            "mlp_bias": draw(st.booleans()),
        }
    return fields


def check(kind: str, fields: dict[str, Any], lengths: list[int], seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = tiny_folder(kind, Path(directory), seed=seed, tokenizer=False, **fields)
        model = load_model(folder, torch.float32)
        sequences = texts(VOCAB, lengths, seed)
        expected = expected_logits(folder, sequences)
    assert largest_difference(packed_logits(model, sequences), expected) < TOLERANCE
    assert largest_difference(cached_logits(model, sequences, [5, 1, 3]), expected) < TOLERANCE


lengths = st.lists(st.integers(1, 24), min_size=1, max_size=3)
seeds = st.integers(0, 2**16)


@bounded
@given(grouped_query("llama"), lengths, seeds)
def test_llama(fields: dict[str, Any], lengths: list[int], seed: int):
    check("llama", fields, lengths, seed)


@bounded
@given(grouped_query("qwen2"), lengths, seeds)
def test_qwen2(fields: dict[str, Any], lengths: list[int], seed: int):
    check("qwen2", fields, lengths, seed)


@bounded
@given(grouped_query("qwen3"), lengths, seeds)
def test_qwen3(fields: dict[str, Any], lengths: list[int], seed: int):
    check("qwen3", fields, lengths, seed)


@bounded
@given(latent("deepseek_v2"), lengths, seeds)
def test_deepseek_v2(fields: dict[str, Any], lengths: list[int], seed: int):
    check("deepseek_v2", fields, lengths, seed)


@bounded
@given(latent("deepseek_v3"), lengths, seeds)
def test_deepseek_v3(fields: dict[str, Any], lengths: list[int], seed: int):
    check("deepseek_v3", fields, lengths, seed)

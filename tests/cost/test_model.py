"""Sizes and FLOPs against published figures, against transformers' own tensors, and against the catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from freehold.cost.model import model_cost
from freehold.cost.shape import Shape, read_shape, shape_of
from freehold.cost.walk import walk
from freehold.errors import ConfigError
from freehold.hub.catalog import load_catalog
from freehold.hub.published import published_config

V3 = "deepseek-v3"


def shape(name: str) -> Shape:
    config = published_config(name)
    assert config is not None
    return shape_of(config, name)


def test_deepseek_v3_is_what_its_report_says() -> None:
    """Source: facts computed from the report; 70,272 bytes and 250 GFLOP: arXiv 2505.09343, Tables 1 and 2."""
    cost = model_cost(shape(V3), 4096)
    assert round(cost.params_total / 1e9, 2) == 671.03
    assert round(cost.params_active / 1e9, 2) == 37.55
    assert round(cost.params_active_head_only / 1e9, 2) == 36.63
    assert round(cost.params_with_mtp / 1e9, 1) == 682.6
    assert cost.kv_bytes_per_token == 70_272
    assert round(cost.train_flops_per_token / 1e9, 2) == 250.46
    assert cost.weight_bytes["bfloat16"] == 2 * cost.params_total


@pytest.mark.parametrize(
    ("file", "total"), [("config_16B.json", 15.7), ("config_236B.json", 235.7), ("config_671B.json", 671.0)]
)
def test_deepseek_s_own_files_are_read(file: str, total: float, shared_data: Path) -> None:
    cost = model_cost(read_shape(shared_data / "deepseek_configs" / file), 4096)
    assert round(cost.params_total / 1e9, 1) == total


def test_its_own_file_and_the_published_one_agree(shared_data: Path) -> None:
    assert model_cost(read_shape(shared_data / "deepseek_configs" / "config_671B.json"), 4096) == model_cost(
        shape(V3), 4096
    )


def test_sparse_attention_costs_less_at_long_contexts(shared_data: Path) -> None:
    dense = read_shape(shared_data / "deepseek_configs" / "config_v3.1.json")
    sparse = read_shape(shared_data / "deepseek_configs" / "config_671B_v3.2.json")
    near, far = (
        [model_cost(one, context).attention_flops_per_token for one in (dense, sparse)] for context in (1024, 131_072)
    )
    assert near[1] > near[0]  # the indexer comes on top where all keys are taken
    assert far[1] < far[0] / 3


@pytest.mark.parametrize("name", sorted(load_catalog().models))
def test_the_catalog_s_counts_are_sums_of_the_walk(name: str) -> None:
    assert model_cost(shape(name), 4096).params_total == load_catalog().models[name].parameters


_SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LATENT = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "first_k_dense_replace": 1,
    "n_shared_experts": 2,
    "n_group": 1,
    "topk_group": 1,
}


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("Llama", {}),
        ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("Mistral", {"head_dim": 24}),
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 24}),
        ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
        ("Qwen2Moe", {**_EXPERTS, "num_experts": 6, "shared_expert_intermediate_size": 48}),
        ("Qwen3Moe", {**_EXPERTS, "num_experts": 6, "head_dim": 24, "mlp_only_layers": [1]}),
        ("DeepseekV2", {**_EXPERTS, **_LATENT, "q_lora_rank": None}),
        ("DeepseekV2", {**_EXPERTS, **_LATENT}),
        ("DeepseekV3", {**_EXPERTS, **_LATENT}),
    ],
)
def test_counts_are_those_of_transformers(architecture: str, fields: dict[str, Any], tmp_path: Path) -> None:
    import torch

    config = getattr(transformers, f"{architecture}Config")(**{**_SMALL, **fields})
    config.architectures = [f"{architecture}ForCausalLM"]
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict(), default=str), encoding="utf-8")
    with torch.device("meta"):
        theirs = getattr(transformers, f"{architecture}ForCausalLM")(config)
    tensors = {id(tensor): tensor.numel() for tensor in theirs.parameters()}
    bias = sum(buffer.numel() for name, buffer in theirs.named_buffers() if "e_score_correction_bias" in name)
    read = read_shape(tmp_path)
    ours = [part for part in walk(read) if not part.mtp]
    assert sum(part.params for part in ours) == sum(tensors.values()) + bias


def test_active_parameters_count_a_token_s_experts_alone() -> None:
    all_used = Shape(**{**_fields(shape("deepseek-v2-lite")), "experts_used": 64})
    cost = model_cost(all_used, 1)
    assert cost.params_active == cost.params_total


def test_attention_is_causal() -> None:
    costs = [model_cost(shape(V3), context) for context in (1, 3, 4096)]
    one, two = (cost.attention_flops_per_token for cost in costs[:2])
    assert two == 2 * one  # tokens of a sequence of 3 see 2 keys on average
    assert costs[2].attention_flops_per_token == pytest.approx(one * 4097 / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, r"lacks 'hidden_size'"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers is 0; it must be a whole number of at least 1"),
        ({"vocab_size": "many"}, r"vocab_size is 'many'"),
        ({"tie_word_embeddings": "yes"}, r"tie_word_embeddings is 'yes'; it must be true or false"),
        ({"architectures": ["MambaForCausalLM"]}, r"'MambaForCausalLM' is not known; known are DeepseekV2ForCausalLM"),
    ],
)
def test_a_malformed_configuration_is_named(change: dict[str, Any], message: str) -> None:
    raw = {"architectures": ["LlamaForCausalLM"], **_SMALL, **change}
    with pytest.raises(ConfigError, match=message):
        shape_of({key: value for key, value in raw.items() if value is not None}, "config.json")


def test_what_is_no_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*config\.json"):
        read_shape(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="holds list, not a JSON object"):
        read_shape(tmp_path)
    with pytest.raises(ConfigError, match="The context is 0 tokens"):
        model_cost(shape(V3), 0)


def _fields(shape: Shape) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in Shape.__dataclass_fields__}

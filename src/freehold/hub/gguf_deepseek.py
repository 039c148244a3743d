"""Converts DeepSeek-V2, V2-Lite, V3 and R1 (`deepseek2`): latent attention and a mixture of experts.

llama.cpp keeps the rotary rows in the published order, stacks the experts of a layer in one tensor, and in newer files
splits `kv_b_proj` by head into `attn_k_b` (transposed) and `attn_v_b`; the plan takes both forms. The multi-token
prediction modules are not in such files.

Source: llama.cpp `convert_hf_to_gguf.py` (`DeepseekV2Model`) and `gguf-py/gguf/tensor_mapping.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from freehold.errors import WeightsError
from freehold.hub.gguf import GgufFile, shown
from freehold.hub.gguf_plan import (
    TOP_TENSORS,
    Numbers,
    PlannedTensor,
    Rows,
    check_all_used,
    common_config,
    whole_tensor,
)

__all__ = ["deepseek_config", "deepseek_plan"]

_SOFTMAX, _SIGMOID = 1, 2
_KNOWN_GROUPS = {(_SIGMOID, 256): (8, 4), (_SOFTMAX, 160): (8, 3), (_SOFTMAX, 64): (1, 1)}
"""Groups and chosen groups of V3, V2 and V2-Lite, which older files leave out, by scores and number of experts."""


def deepseek_config(file: GgufFile) -> dict[str, Any]:
    """Gives the content of `config.json`.

    Raises:
        WeightsError: A variant that cannot be converted, or a number that is missing or out of bounds.
    """
    numbers = Numbers(file)
    scores = numbers.whole("expert_gating_func", _SOFTMAX)
    if scores not in (_SOFTMAX, _SIGMOID):
        raise numbers.bad("expert_gating_func", scores, "1 (softmax, V2) or 2 (sigmoid, V3)")
    version = 3 if scores == _SIGMOID else 2
    config = common_config(numbers, f"DeepseekV{version}ForCausalLM", f"deepseek_v{version}")
    n_group, topk_group = _groups(numbers, scores)
    nope, rope, value = _head_dims(numbers)
    config |= {
        "num_key_value_heads": config["num_attention_heads"],
        "q_lora_rank": numbers.whole("attention.q_lora_rank", 0, least=0) or None,
        "kv_lora_rank": numbers.whole("attention.kv_lora_rank"),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": value,
        "attention_bias": False,
        "n_routed_experts": numbers.whole("expert_count"),
        "n_shared_experts": numbers.whole("expert_shared_count"),
        "num_experts_per_tok": numbers.whole("expert_used_count"),
        "moe_intermediate_size": numbers.whole("expert_feed_forward_length"),
        "first_k_dense_replace": numbers.whole("leading_dense_block_count", least=0),
        "moe_layer_freq": 1,
        "n_group": n_group,
        "topk_group": topk_group,
        "norm_topk_prob": numbers.flag("expert_weights_norm", version == 3),
        "routed_scaling_factor": numbers.real("expert_weights_scale", 1.0),
        "scoring_func": "sigmoid" if version == 3 else "softmax",
        "topk_method": _topk_method(version, n_group),
        **_yarn(numbers),
    }
    if version == 3:
        config["num_nextn_predict_layers"] = 0
    return config


def deepseek_plan(file: GgufFile, config: dict[str, Any]) -> list[PlannedTensor]:
    """Lists every tensor of the folder to write; each tensor of the file is used.

    Raises:
        WeightsError: A tensor is missing, is not known for this architecture, or has another shape than the metadata
            say.
    """
    vocabulary, hidden = (config["vocab_size"], config["hidden_size"]), config["hidden_size"]
    top = {"token_embd.weight": vocabulary, "output_norm.weight": (hidden,), "output.weight": vocabulary}
    planned = [
        whole_tensor(file, source, TOP_TENSORS[source], shape)
        for source, shape in top.items()
        if source != "output.weight" or source in file.tensors
    ]
    for layer in range(config["num_hidden_layers"]):
        here, there = f"blk.{layer}.", f"model.layers.{layer}."
        for source, (name, shape) in _layer(config, layer).items():
            planned.append(whole_tensor(file, here + source, there + name, shape))
        planned.append(_kv_b(file, here, f"{there}self_attn.kv_b_proj.weight", config))
        if layer >= config["first_k_dense_replace"]:
            planned += _experts(file, here, f"{there}mlp.experts.", config)
    check_all_used(file, planned)
    return planned


def _layer(config: dict[str, Any], layer: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of a layer that are stored as they are published, without `kv_b_proj` and the routed experts."""
    hidden, heads, latent = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    rope, query = config["qk_rope_head_dim"], heads * (config["qk_nope_head_dim"] + config["qk_rope_head_dim"])
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "attn_norm.weight": ("input_layernorm.weight", (hidden,)),
        "attn_kv_a_mqa.weight": ("self_attn.kv_a_proj_with_mqa.weight", (latent + rope, hidden)),
        "attn_kv_a_norm.weight": ("self_attn.kv_a_layernorm.weight", (latent,)),
        "attn_output.weight": ("self_attn.o_proj.weight", (hidden, heads * config["v_head_dim"])),
        "ffn_norm.weight": ("post_attention_layernorm.weight", (hidden,)),
    }
    rank = config["q_lora_rank"]
    if rank is None:
        tensors["attn_q.weight"] = ("self_attn.q_proj.weight", (query, hidden))
    else:
        tensors["attn_q_a.weight"] = ("self_attn.q_a_proj.weight", (rank, hidden))
        tensors["attn_q_a_norm.weight"] = ("self_attn.q_a_layernorm.weight", (rank,))
        tensors["attn_q_b.weight"] = ("self_attn.q_b_proj.weight", (query, rank))
    if layer < config["first_k_dense_replace"]:
        return tensors | _feed_forward("ffn_{}.weight", "mlp.", hidden, config["intermediate_size"])
    experts = config["n_routed_experts"]
    tensors["ffn_gate_inp.weight"] = ("mlp.gate.weight", (experts, hidden))
    if config["topk_method"] == "noaux_tc":
        tensors["exp_probs_b.bias"] = ("mlp.gate.e_score_correction_bias", (experts,))
    shared = config["n_shared_experts"] * config["moe_intermediate_size"]
    return tensors | _feed_forward("ffn_{}_shexp.weight", "mlp.shared_experts.", hidden, shared)


def _feed_forward(source: str, name: str, hidden: int, inner: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    shapes = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    return {source.format(part): (f"{name}{part}_proj.weight", shape) for part, shape in shapes.items()}


def _experts(file: GgufFile, here: str, there: str, config: dict[str, Any]) -> list[PlannedTensor]:
    hidden, inner, count = config["hidden_size"], config["moe_intermediate_size"], config["n_routed_experts"]
    planned = []
    for part, (rows, width) in {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}.items():
        source = f"{here}ffn_{part}_exps.weight"
        _check_shape(file, source, (count, rows, width))
        for expert in range(count):
            read = partial(file.rows, source, np.arange(expert * rows, (expert + 1) * rows))
            planned.append(PlannedTensor(f"{there}{expert}.{part}_proj.weight", (source,), (rows, width), read))
    return planned


def _kv_b(file: GgufFile, here: str, name: str, config: dict[str, Any]) -> PlannedTensor:
    heads, latent = config["num_attention_heads"], config["kv_lora_rank"]
    nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
    shape = (heads * (nope + value), latent)
    if f"{here}attn_kv_b.weight" in file.tensors:
        return whole_tensor(file, f"{here}attn_kv_b.weight", name, shape)
    keys, values = f"{here}attn_k_b.weight", f"{here}attn_v_b.weight"
    _check_shape(file, keys, (heads, latent, nope))
    _check_shape(file, values, (heads, value, latent))

    def rows() -> Rows:
        for head in range(heads):
            of_head = np.arange(head * latent, (head + 1) * latent)
            yield np.ascontiguousarray(np.concatenate(list(file.rows(keys, of_head))).T)
            yield from file.rows(values, np.arange(head * value, (head + 1) * value))

    return PlannedTensor(name, (keys, values), shape, rows)


def _check_shape(file: GgufFile, source: str, shape: tuple[int, ...]) -> None:
    found = file.tensor(source).shape
    if found != shape:
        raise WeightsError(f"{file.path.name}: tensor {source} has shape {found}; its metadata ask for {shape}.")


def _head_dims(numbers: Numbers) -> tuple[int, int, int]:
    """Widths of a head without rotation, with it, and of its values; newer files have the absorbed form beside them."""
    form = "_mla" if numbers.has("attention.key_length_mla") else ""
    key, value = numbers.whole(f"attention.key_length{form}"), numbers.whole(f"attention.value_length{form}")
    rope = numbers.whole("rope.dimension_count")
    if key <= rope:
        raise numbers.bad(f"attention.key_length{form}", key, f"over the {rope} rotated dimensions")
    return key - rope, rope, value


def _groups(numbers: Numbers, scores: int) -> tuple[int, int]:
    if numbers.has("expert_group_count"):
        return numbers.whole("expert_group_count"), numbers.whole("expert_group_used_count")
    experts = numbers.whole("expert_count")
    if (scores, experts) not in _KNOWN_GROUPS:
        raise WeightsError(
            f"{numbers.file.path.name} does not say in how many groups its {experts} experts are; convert it anew with "
            "a newer llama.cpp, or pull hf:org/repo."
        )
    return _KNOWN_GROUPS[scores, experts]


def _topk_method(version: int, n_group: int) -> str:
    if version == 3:
        return "noaux_tc"
    return "group_limited_greedy" if n_group > 1 else "greedy"


def _yarn(numbers: Numbers) -> dict[str, Any]:
    kind = numbers.text("rope.scaling.type", "none")
    if kind in ("none", ""):
        return {}
    if kind != "yarn" or not numbers.has("rope.scaling.yarn_log_multiplier"):
        raise WeightsError(
            f"{numbers.file.path.name} scales its positions by {shown(kind)} without a yarn_log_multiplier, which "
            "cannot be converted: pull hf:org/repo."
        )
    # llama.cpp stores a tenth of mscale_all_dim. DeepSeek's mscale equals it, so that the rotation itself is unscaled.
    mscale = round(10 * numbers.real("rope.scaling.yarn_log_multiplier"), 6)
    scaling = {
        "type": "yarn",
        "factor": numbers.real("rope.scaling.factor"),
        "original_max_position_embeddings": numbers.whole("rope.scaling.original_context_length"),
        "beta_fast": numbers.real("rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": numbers.real("rope.scaling.yarn_beta_slow", 1.0),
        "mscale": mscale,
        "mscale_all_dim": mscale,
    }
    return {"rope_scaling": scaling}

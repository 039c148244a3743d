"""Converts Llama, Qwen2 and Qwen3: dense models with grouped-query attention.

llama.cpp stores the query and key rows of Llama in the order that its rotary embedding wants, each head's two halves
interleaved; the plan undoes that.

Source: llama.cpp `convert_hf_to_gguf.py` (`LlamaModel.permute`) and `gguf-py/gguf/tensor_mapping.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from freehold.errors import WeightsError
from freehold.hub.gguf import GgufFile, shown
from freehold.hub.gguf_plan import TOP_TENSORS, Numbers, PlannedTensor, check_all_used, common_config, whole_tensor

__all__ = ["DENSE", "dense_config", "dense_plan"]

_ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True, slots=True)
class _Family:
    hf_class: str
    permuted: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False


DENSE = {
    "llama": _Family("LlamaForCausalLM", permuted=True),
    "qwen2": _Family("Qwen2ForCausalLM", qkv_bias=True),
    "qwen3": _Family("Qwen3ForCausalLM", qk_norm=True),
}
"""By `general.architecture`."""


def dense_config(file: GgufFile) -> dict[str, Any]:
    """Gives the content of `config.json`.

    Raises:
        WeightsError: A variant that cannot be converted, or a number that is missing or out of bounds.
    """
    numbers = Numbers(file)
    family = DENSE[numbers.architecture]
    if numbers.whole("expert_count", 0, least=0):
        raise WeightsError(
            f"{file.path.name} is a mixture of experts of the architecture {numbers.architecture}, which cannot be "
            "converted: pull hf:org/repo."
        )
    config = common_config(numbers, family.hf_class, numbers.architecture)
    heads = config["num_attention_heads"]
    head_dim = _head_dim(numbers, config["hidden_size"] // heads)
    config |= {"num_key_value_heads": numbers.whole("attention.head_count_kv", heads), "head_dim": head_dim}
    if numbers.architecture == "llama":
        return config | {"attention_bias": False, "mlp_bias": False} | _llama3_scaling(numbers, head_dim)
    kind = numbers.text("rope.scaling.type", "none")
    if kind not in ("none", ""):
        raise WeightsError(
            f"{file.path.name} scales its positions by {shown(kind)}, which cannot be converted: pull hf:org/repo."
        )
    return config | {"attention_bias": family.qkv_bias, "use_sliding_window": False}


def dense_plan(file: GgufFile, config: dict[str, Any]) -> list[PlannedTensor]:
    """Lists every tensor of the folder to write; each tensor of the file is used or known to be derived.

    Raises:
        WeightsError: A tensor is missing, is not known for this architecture, or has another shape than the metadata
            say.
    """
    family = DENSE[Numbers(file).architecture]
    top = _top_shapes(config)
    planned = [
        whole_tensor(file, source, name, top[name])
        for source, name in TOP_TENSORS.items()
        if source != "output.weight" or source in file.tensors
    ]
    for layer in range(config["num_hidden_layers"]):
        for part, (name, shape) in _layer(config, family).items():
            order = None
            if family.permuted and part in ("attn_q.weight", "attn_k.weight"):
                order = partial(_unpermuted_rows, shape[0], config["head_dim"])
            source = f"blk.{layer}.{part}"
            planned.append(whole_tensor(file, source, f"model.layers.{layer}.{name}", shape, order))
    check_all_used(file, planned, derived=[_ROPE_FACTORS])
    return planned


def _top_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    vocabulary = (config["vocab_size"], config["hidden_size"])
    norm = (config["hidden_size"],)
    return {"model.embed_tokens.weight": vocabulary, "lm_head.weight": vocabulary, "model.norm.weight": norm}


def _layer(config: dict[str, Any], family: _Family) -> dict[str, tuple[str, tuple[int, ...]]]:
    hidden, inner, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "attn_norm.weight": ("input_layernorm.weight", (hidden,)),
        "attn_q.weight": ("self_attn.q_proj.weight", (query, hidden)),
        "attn_k.weight": ("self_attn.k_proj.weight", (kv, hidden)),
        "attn_v.weight": ("self_attn.v_proj.weight", (kv, hidden)),
        "attn_output.weight": ("self_attn.o_proj.weight", (hidden, query)),
        "ffn_norm.weight": ("post_attention_layernorm.weight", (hidden,)),
        "ffn_gate.weight": ("mlp.gate_proj.weight", (inner, hidden)),
        "ffn_up.weight": ("mlp.up_proj.weight", (inner, hidden)),
        "ffn_down.weight": ("mlp.down_proj.weight", (hidden, inner)),
    }
    if family.qkv_bias:
        rows = {"q": query, "k": kv, "v": kv}
        tensors |= {f"attn_{part}.bias": (f"self_attn.{part}_proj.bias", (n,)) for part, n in rows.items()}
    if family.qk_norm:
        tensors |= {f"attn_{part}_norm.weight": (f"self_attn.{part}_norm.weight", (head_dim,)) for part in "qk"}
    return tensors


def _unpermuted_rows(n_rows: int, head_dim: int) -> npt.NDArray[np.int64]:
    # llama.cpp has turned (2, head_dim/2) of each head into (head_dim/2, 2); row 2j+i there is row i*head_dim/2+j here.
    rows = np.arange(n_rows).reshape(n_rows // head_dim, head_dim // 2, 2)
    return rows.swapaxes(1, 2).reshape(-1)


def _head_dim(numbers: Numbers, default: int) -> int:
    head_dim = numbers.whole("attention.key_length", default)
    rotated = numbers.whole("rope.dimension_count", head_dim)
    if head_dim % 2 or rotated != head_dim or numbers.whole("attention.value_length", head_dim) != head_dim:
        raise WeightsError(
            f"{numbers.file.path.name}: heads of {head_dim} with {rotated} rotated dimensions cannot be converted; "
            "both must be one even number."
        )
    return head_dim


def _llama3_scaling(numbers: Numbers, head_dim: int) -> dict[str, Any]:
    """Recovers Llama 3.1's rope scaling from the factors that llama.cpp computed from it."""
    file = numbers.file
    if _ROPE_FACTORS not in file.tensors:
        kind = numbers.text("rope.scaling.type", "none")
        if kind not in ("none", ""):
            raise WeightsError(
                f"{file.path.name} scales its positions by {shown(kind)}, which cannot be converted: pull hf:org/repo."
            )
        return {}
    factors = np.concatenate([rows.reshape(-1) for rows in file.rows(_ROPE_FACTORS)])
    factor, low, high, original = float(factors.max()), 1.0, 4.0, 8192
    follows = len(factors) == head_dim // 2  # before arrays of that many are made
    if follows:
        inverse = 1.0 / numbers.real("rope.freq_base", 10000.0) ** (np.arange(0, head_dim, 2) / head_dim)
        smooth = np.clip((original * inverse / (2 * math.pi) - low) / (high - low), 0.0, 1.0)
        follows = np.allclose(factors, 1.0 / ((1 - smooth) / factor + smooth), rtol=1e-4)
    if not follows:
        raise WeightsError(
            f"{file.path.name}: {_ROPE_FACTORS} does not follow Llama 3.1's rule, so that it cannot be converted: "
            "pull hf:org/repo."
        )
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }
    return {"rope_scaling": scaling}

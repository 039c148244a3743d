"""What the metadata and tensor names of a GGUF file mean in Hugging Face's terms, per architecture.

`config_json` gives `config.json`; `plan` lists every tensor to write, with where its rows come from. llama.cpp stores
the query and key rows of `llama` models in the order that its rotary embedding wants (pairs side by side); `plan`
undoes that.

Source: llama.cpp `convert_hf_to_gguf.py` (`LlamaModel.permute`, `set_gguf_parameters`) and
`gguf-py/gguf/tensor_mapping.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from freehold.errors import WeightsError
from freehold.hub.gguf import GgufFile
from freehold.hub.gguf_tokenizer import eos_ids, special_token_id

__all__ = ["PlannedTensor", "config_json", "context_length", "plan"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the folder to write.

    Args:
        name: Its published name, such as `model.layers.0.self_attn.q_proj.weight`.
        source: The GGUF tensor that holds its values.
        shape: As written.
        order: Which rows of the source, in which order; None means all, in order.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    order: Rows | None = None


@dataclass(frozen=True, slots=True)
class _Architecture:
    hf_class: str
    model_type: str
    layer_tensors: dict[str, str]
    permuted: bool
    more_config: Callable[[GgufFile], dict[str, Any]]


_COMMON_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
_QKV_BIAS = {f"attn_{part}.bias": f"self_attn.{part}_proj.bias" for part in "qkv"}
_QK_NORM = {f"attn_{part}_norm.weight": f"self_attn.{part}_norm.weight" for part in "qk"}
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_ROPE_FACTORS = "rope_freqs.weight"


def _llama_extra(file: GgufFile) -> dict[str, Any]:
    return {"attention_bias": False, "mlp_bias": False, **_llama3_scaling(file)}


def _qwen2_extra(_file: GgufFile) -> dict[str, Any]:
    return {"use_sliding_window": False}


def _qwen3_extra(_file: GgufFile) -> dict[str, Any]:
    return {"attention_bias": False, "use_sliding_window": False}


_ARCHITECTURES = {
    "llama": _Architecture("LlamaForCausalLM", "llama", _COMMON_LAYER, True, _llama_extra),
    "qwen2": _Architecture("Qwen2ForCausalLM", "qwen2", _COMMON_LAYER | _QKV_BIAS, False, _qwen2_extra),
    "qwen3": _Architecture("Qwen3ForCausalLM", "qwen3", _COMMON_LAYER | _QK_NORM, False, _qwen3_extra),
}


def config_json(file: GgufFile) -> dict[str, Any]:
    """Gives the content of `config.json`.

    Raises:
        WeightsError: An architecture or a variant that cannot be converted, or a number that is missing or out of
            bounds.
    """
    architecture = _architecture(file)
    hidden, heads = _whole(file, "embedding_length"), _whole(file, "attention.head_count")
    bos, pad = special_token_id(file.metadata, "bos_token_id"), special_token_id(file.metadata, "padding_token_id")
    ends = eos_ids(file.metadata)
    return {
        "architectures": [architecture.hf_class],
        "model_type": architecture.model_type,
        "vocab_size": file.tensor("token_embd.weight").shape[0],
        "hidden_size": hidden,
        "intermediate_size": _whole(file, "feed_forward_length"),
        "num_hidden_layers": _whole(file, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _whole(file, "attention.head_count_kv", heads),
        "head_dim": _head_dim(file),
        "hidden_act": "silu",
        "max_position_embeddings": context_length(file),
        "rms_norm_eps": _real(file, "attention.layer_norm_rms_epsilon"),
        "rope_theta": _real(file, "rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "bos_token_id": bos,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": pad,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        **architecture.more_config(file),
    }


def context_length(file: GgufFile) -> int:
    """Gives the longest context that the model was made for, in tokens."""
    return _whole(file, "context_length")


def plan(file: GgufFile) -> list[PlannedTensor]:
    """Lists every tensor of the folder to write; each tensor of the file is used or known to be derived.

    Raises:
        WeightsError: A tensor is missing, is not known for this architecture, or has another shape than the metadata
            say.
    """
    architecture = _architecture(file)
    config = config_json(file)
    shapes = _shapes(config)
    wanted = [(source, name) for source, name in _TOP.items() if source != "output.weight" or source in file.tensors]
    for layer in range(config["num_hidden_layers"]):
        wanted += [
            (f"blk.{layer}.{source}", f"model.layers.{layer}.{name}")
            for source, name in architecture.layer_tensors.items()
        ]
    unknown = set(file.tensors) - {source for source, _ in wanted} - {_ROPE_FACTORS}
    if unknown:
        raise WeightsError(
            f"{file.path.name} holds tensors that {architecture.hf_class} has no place for: "
            f"{', '.join(sorted(unknown)[:5])}"
            f"{' …' if len(unknown) > 5 else ''}. Pull the model's original folder (hf:org/repo) instead."
        )
    planned = []
    for source, name in wanted:
        shape = file.tensor(source).shape
        expected = shapes[name.split(".", 3)[-1] if name.startswith("model.layers.") else name]
        if shape != expected:
            raise WeightsError(f"{file.path.name}: tensor {source} has shape {shape}; its metadata ask for {expected}.")
        order = None
        if architecture.permuted and source.endswith(("attn_q.weight", "attn_k.weight")):
            order = _unpermuted_rows(shape[0], config["head_dim"])
        planned.append(PlannedTensor(name, source, shape, order))
    return planned


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    hidden, inner, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    vocabulary = (config["vocab_size"], hidden)
    return {
        "model.embed_tokens.weight": vocabulary,
        "lm_head.weight": vocabulary,
        "model.norm.weight": (hidden,),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (kv, hidden),
        "self_attn.v_proj.weight": (kv, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "self_attn.q_proj.bias": (query,),
        "self_attn.k_proj.bias": (kv,),
        "self_attn.v_proj.bias": (kv,),
        "self_attn.q_norm.weight": (head_dim,),
        "self_attn.k_norm.weight": (head_dim,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }


def _unpermuted_rows(n_rows: int, head_dim: int) -> Rows:
    # llama.cpp has turned (2, head_dim/2) of each head into (head_dim/2, 2); row 2j+i there is row i*head_dim/2+j here.
    rows = np.arange(n_rows).reshape(n_rows // head_dim, head_dim // 2, 2)
    return rows.swapaxes(1, 2).reshape(-1)


def _architecture(file: GgufFile) -> _Architecture:
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in _ARCHITECTURES:
        raise WeightsError(
            f"{file.path.name} has the architecture {name!r}; {', '.join(_ARCHITECTURES)} can be converted. "
            "Pull the model's original folder (hf:org/repo) instead."
        )
    if file.metadata.get("split.count", 1) != 1:
        raise WeightsError(
            f"{file.path.name} is one of {file.metadata['split.count']} parts; join them with llama-gguf-split --merge "
            f"first."
        )
    if file.metadata.get(f"{name}.expert_count", 0) != 0:
        raise WeightsError(
            f"{file.path.name} is a mixture of experts of the architecture {name}, which cannot be converted: pull "
            f"hf:org/repo."
        )
    return _ARCHITECTURES[name]


def _number(file: GgufFile, key: str, default: float | None) -> float | int:
    full = f"{file.metadata['general.architecture']}.{key}"
    value = file.metadata.get(full, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WeightsError(f"{file.path.name}: {full} is {value!r}; a number is needed to convert this model.")
    return value


def _whole(file: GgufFile, key: str, default: int | None = None) -> int:
    value = _number(file, key, default)
    if not isinstance(value, int) or not 1 <= value < 2**31:
        raise WeightsError(f"{file.path.name}: {key} is {value!r}; it must be a whole number from 1 to {2**31 - 1}.")
    return value


def _real(file: GgufFile, key: str, default: float | None = None) -> float:
    value = _number(file, key, default)
    if not math.isfinite(value) or value <= 0:
        raise WeightsError(f"{file.path.name}: {key} is {value!r}; it must be finite and over 0.")
    return float(str(np.float32(value)))  # stored as float32: 1e-05 reads 9.999999747378752e-06 otherwise


def _head_dim(file: GgufFile) -> int:
    heads = _whole(file, "attention.head_count")
    head_dim = _whole(file, "attention.key_length", _whole(file, "embedding_length") // heads)
    rotated = _whole(file, "rope.dimension_count", head_dim)
    if head_dim % 2 or rotated != head_dim or _whole(file, "attention.value_length", head_dim) != head_dim:
        raise WeightsError(
            f"{file.path.name}: heads of {head_dim} with {rotated} rotated dimensions cannot be converted; both must "
            f"be one even number."
        )
    return head_dim


def _llama3_scaling(file: GgufFile) -> dict[str, Any]:
    """Recovers Llama 3.1's rope scaling from the factors that llama.cpp computed from it."""
    if _ROPE_FACTORS not in file.tensors:
        kind = file.metadata.get("llama.rope.scaling.type", "none")
        if kind not in ("none", ""):
            raise WeightsError(
                f"{file.path.name} scales its positions by {kind!r}, which cannot be converted: pull hf:org/repo."
            )
        return {}
    factors = np.concatenate([rows.reshape(-1) for rows in file.rows(_ROPE_FACTORS)])
    factor, low, high, original = float(factors.max()), 1.0, 4.0, 8192
    head_dim = _head_dim(file)
    inverse = 1.0 / _real(file, "rope.freq_base", 10000.0) ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((original * inverse / (2 * math.pi) - low) / (high - low), 0.0, 1.0)
    expected = 1.0 / ((1 - smooth) / factor + smooth)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        raise WeightsError(
            f"{file.path.name}: {_ROPE_FACTORS} does not follow Llama 3.1's rule, so that it cannot be converted: pull "
            f"hf:org/repo."
        )
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }
    return {"rope_scaling": scaling}

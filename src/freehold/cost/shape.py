"""The shape of any published model, read from its `config.json` or from DeepSeek's own configuration files.

Only what decides sizes and counts is read, so that models can be reckoned with that Freehold does not run (Mixtral,
DeepSeek-V3.2). A field that must be there and is not is an error, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import ConfigError

__all__ = ["Shape", "read_shape", "shape_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Counts and widths of a decoder-only transformer.

    Args:
        architecture: The name in the configuration, or `DeepSeek` for DeepSeek's own files.
        q_lora_rank: Width of compressed queries; 0 where they are not compressed.
        kv_lora_rank: Width of MLA's latent; 0 means grouped-query attention.
        qk_rope_head_dim: Rotary part of a latent attention's head.
        dense_layers: Layers with a dense feed-forward network; the rest have experts.
        expert_size: Width of one routed expert; 0 in a dense model.
        shared_size: Width that every token passes through beside the routed experts.
        routing_groups: Into how many groups experts are divided, of which a token reaches `routing_groups_used`.
        index_heads: Of DeepSeek-V3.2's indexer; 0 without one. `index_top_k` keys are then attended to.
        qkv_bias, o_bias: Biases of the attention's products.
        qk_norm: RMSNorm on query and key heads.
        router_bias: A selection bias for each expert, stored with the weights.
        mtp_layers: Multi-token prediction modules stored with the model.
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    value_size: int
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    intermediate_size: int
    dense_layers: int
    experts: int = 0
    experts_used: int = 0
    expert_size: int = 0
    shared_size: int = 0
    routing_groups: int = 1
    routing_groups_used: int = 1
    index_heads: int = 0
    index_head_size: int = 0
    index_top_k: int = 0
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    router_bias: bool = False
    shared_gate: bool = False
    mtp_layers: int = 0
    tied: bool = False
    context: int = 0

    @property
    def latent(self) -> bool:
        """Whether attention is multi-head latent."""
        return self.kv_lora_rank > 0


def read_shape(path: Path) -> Shape:
    """Reads a `config.json`, a folder that has one, or one of DeepSeek's `config_*.json`.

    Raises:
        ConfigError: No such file, no JSON object, an unknown architecture, or a field is missing or not a number.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no {file}; give a config.json, a folder with one, or a name of the catalog."
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{file} holds {type(raw).__name__}, not a JSON object.")
    return shape_of(raw, str(file))


def shape_of(raw: Mapping[str, Any], name: str = "the configuration") -> Shape:
    """As `read_shape`, from the parsed object; `name` is what errors call it."""
    fields = _Fields(raw, name)
    if "n_layers" in raw and "dim" in raw:
        return _deepseek_own(fields)
    named = raw.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else raw.get("model_type")
    read = _READERS.get(str(architecture)) or _READERS.get(_BY_TYPE.get(str(raw.get("model_type")), ""))
    if read is None:
        raise ConfigError(
            f"{name}: the architecture {architecture!r} is not known; known are {', '.join(sorted(_READERS))}."
        )
    return read(fields, str(architecture))


class _Fields:
    def __init__(self, raw: Mapping[str, Any], name: str) -> None:
        self.raw, self.name = raw, name

    def number(self, key: str, default: int | None = None, *, least: int = 0) -> int:
        value = self.raw.get(key)
        if value is None:
            if default is None:
                raise ConfigError(f"{self.name} lacks {key!r}, without which the model's size cannot be told.")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{self.name}: {key} is {value!r}; it must be a whole number of at least {least}.")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"{self.name}: {key} is {value!r}; it must be true or false.")
        return value


def _deepseek_own(f: _Fields) -> Shape:
    """DeepSeek's inference code names its fields differently, and has its own defaults (`ModelArgs` of model.py)."""
    heads = f.number("n_heads", least=1)
    # V3's weights are published with one prediction module that these files do not name (its README_WEIGHTS.md)
    third = f.raw.get("score_func") == "sigmoid"
    expert = f.number("moe_inter_dim", least=1)
    return Shape(
        architecture="DeepSeek",
        vocab_size=f.number("vocab_size", least=1),
        hidden_size=f.number("dim", least=1),
        layers=f.number("n_layers", least=1),
        heads=heads,
        kv_heads=heads,
        head_size=f.number("qk_nope_head_dim", least=1) + f.number("qk_rope_head_dim", least=1),
        value_size=f.number("v_head_dim", least=1),
        q_lora_rank=f.number("q_lora_rank", 0),
        kv_lora_rank=f.number("kv_lora_rank", least=1),
        qk_rope_head_dim=f.number("qk_rope_head_dim", least=1),
        intermediate_size=f.number("inter_dim", least=1),
        dense_layers=f.number("n_dense_layers"),
        experts=f.number("n_routed_experts", least=1),
        experts_used=f.number("n_activated_experts", least=1),
        expert_size=expert,
        shared_size=f.number("n_shared_experts") * expert,
        routing_groups=f.number("n_expert_groups", 1, least=1),
        routing_groups_used=f.number("n_limited_groups", 1, least=1),
        index_heads=f.number("index_n_heads", 0),
        index_head_size=f.number("index_head_dim", 0),
        index_top_k=f.number("index_topk", 0),
        router_bias=third,
        mtp_layers=int(third),
        context=f.number("max_seq_len", 4096),
    )


def _common(f: _Fields, architecture: str) -> dict[str, Any]:
    heads = f.number("num_attention_heads", least=1)
    hidden = f.number("hidden_size", least=1)
    head = f.number("head_dim", hidden // heads, least=1)
    return {
        "architecture": architecture,
        "vocab_size": f.number("vocab_size", least=1),
        "hidden_size": hidden,
        "layers": f.number("num_hidden_layers", least=1),
        "heads": heads,
        "kv_heads": f.number("num_key_value_heads", heads, least=1),
        "head_size": head,
        "value_size": head,
        "intermediate_size": f.number("intermediate_size", least=1),
        "dense_layers": f.number("num_hidden_layers", least=1),
        "tied": f.flag("tie_word_embeddings"),
        "context": f.number("max_position_embeddings", 0),
    }


def _llama(f: _Fields, architecture: str) -> Shape:
    bias = f.flag("attention_bias")
    return Shape(**_common(f, architecture), qkv_bias=bias, o_bias=bias, mlp_bias=f.flag("mlp_bias"))


def _qwen2(f: _Fields, architecture: str) -> Shape:
    return Shape(**_common(f, architecture), qkv_bias=True)


def _qwen3(f: _Fields, architecture: str) -> Shape:
    bias = f.flag("attention_bias")
    return Shape(
        **{**_common(f, architecture), "head_size": f.number("head_dim", 128), "value_size": f.number("head_dim", 128)},
        qkv_bias=bias,
        o_bias=bias,
        qk_norm=True,
    )


def _qwen_moe(f: _Fields, architecture: str) -> Shape:
    """Qwen2-MoE and Qwen3-MoE: every `decoder_sparse_step`-th layer has experts, but those in `mlp_only_layers`."""
    common = _common(f, architecture)
    third = architecture.startswith("Qwen3")
    step, only = f.number("decoder_sparse_step", 1, least=1), f.raw.get("mlp_only_layers") or []
    sparse = sum((i + 1) % step == 0 and i not in only for i in range(common["layers"]))
    if third:
        common |= {"head_size": f.number("head_dim", 128), "value_size": f.number("head_dim", 128)}
    return Shape(
        **{**common, "dense_layers": common["layers"] - sparse},
        experts=f.number("num_experts", f.number("num_local_experts", 0) or None, least=1),
        experts_used=f.number("num_experts_per_tok", least=1),
        expert_size=f.number("moe_intermediate_size", least=1),
        shared_size=0 if third else f.number("shared_expert_intermediate_size", least=1),
        shared_gate=not third,
        qkv_bias=not third or f.flag("attention_bias"),
        o_bias=third and f.flag("attention_bias"),
        qk_norm=third,
    )


def _mixtral(f: _Fields, architecture: str) -> Shape:
    common = _common(f, architecture)
    return Shape(
        **{**common, "dense_layers": 0},
        experts=f.number("num_local_experts", least=1),
        experts_used=f.number("num_experts_per_tok", least=1),
        expert_size=common["intermediate_size"],
    )


def _deepseek(f: _Fields, architecture: str) -> Shape:
    """V2, V2-Lite, V3, R1 and V3.2 as published on the hub."""
    common = _common(f, architecture)
    expert = f.number("moe_intermediate_size", least=1)
    frequency, first = f.number("moe_layer_freq", 1, least=1), f.number("first_k_dense_replace")
    sparse = sum(i >= first and i % frequency == 0 for i in range(common["layers"]))
    second = "V2" in architecture
    return Shape(
        **{
            **common,
            "kv_heads": common["heads"],
            "head_size": f.number("qk_nope_head_dim", least=1) + f.number("qk_rope_head_dim", least=1),
            "value_size": f.number("v_head_dim", least=1),
            "dense_layers": common["layers"] - sparse,
        },
        q_lora_rank=f.number("q_lora_rank", 0),
        kv_lora_rank=f.number("kv_lora_rank", least=1),
        qk_rope_head_dim=f.number("qk_rope_head_dim", least=1),
        experts=f.number("n_routed_experts", least=1),
        experts_used=f.number("num_experts_per_tok", least=1),
        expert_size=expert,
        shared_size=f.number("n_shared_experts", 0) * expert,
        routing_groups=f.number("n_group", 1, least=1),
        routing_groups_used=f.number("topk_group", 1, least=1),
        index_heads=f.number("index_n_heads", 0),
        index_head_size=f.number("index_head_dim", 0),
        index_top_k=f.number("index_topk", 0),
        router_bias=not second,
        mtp_layers=0 if second else f.number("num_nextn_predict_layers", 0),
    )


_READERS: dict[str, Callable[[_Fields, str], Shape]] = {
    "LlamaForCausalLM": _llama,
    "MistralForCausalLM": _llama,
    "Qwen2ForCausalLM": _qwen2,
    "Qwen3ForCausalLM": _qwen3,
    "Qwen2MoeForCausalLM": _qwen_moe,
    "Qwen3MoeForCausalLM": _qwen_moe,
    "MixtralForCausalLM": _mixtral,
    "DeepseekV2ForCausalLM": _deepseek,
    "DeepseekV3ForCausalLM": _deepseek,
    "DeepseekV32ForCausalLM": _deepseek,
}
_BY_TYPE = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "deepseek_v32": "DeepseekV32ForCausalLM",
}

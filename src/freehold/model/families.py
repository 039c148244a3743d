"""How the `config.json` of each family is read, with its defaults and its bounds; without torch.

A field that changes the mathematics and is not implemented is refused by name, never ignored. Fields that only say how
a model was trained or stored (`initializer_range`, `aux_loss_alpha`, `ep_size`, `auto_map` ...) are not read.

Departures:
1. An absent `scoring_func` means sigmoid in DeepSeek-V3 and softmax in V2, an absent `topk_method` `noaux_tc` and
   `greedy`: transformers 5 does not save what DeepSeek's own files state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from freehold.errors import ConfigError
from freehold.model.fields import Fields
from freehold.model.rope_config import rope_config

__all__ = ["MAX_POSITIONS", "Architecture", "read_config"]

Architecture = Literal[
    "DeepseekV3ForCausalLM", "DeepseekV2ForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"
]
_BY_MODEL_TYPE: dict[str, Architecture] = {
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_MAX_WIDTH = 2**20
_MAX_HEADS = 2**14
_MAX_LAYERS = 1024
_MAX_EXPERTS = 2**12
_MAX_EXPERT_MODULES = 2**15
MAX_POSITIONS = 2**21
_MAX_VOCAB = 2**22


def read_config(config: Mapping[str, Any], generation_eos: Any = None) -> dict[str, Any]:
    """The arguments of `ModelConfig` that a parsed `config.json` states.

    Args:
        config: The parsed object.
        generation_eos: `eos_token_id` of `generation_config.json`, an id or a list of them.

    Raises:
        ConfigError: An unknown architecture, a missing field, a value out of bounds, or one that is not implemented.
    """
    architecture = _architecture(config)
    fields = Fields(config)
    _refuse_unimplemented(config, fields, architecture)
    positions = fields.integer("max_position_embeddings", 1, MAX_POSITIONS)
    common: dict[str, Any] = {
        "architecture": architecture,
        "vocab_size": fields.integer("vocab_size", 1, _MAX_VOCAB),
        "hidden_size": fields.integer("hidden_size", 1, _MAX_WIDTH),
        "intermediate_size": fields.integer("intermediate_size", 1, _MAX_WIDTH),
        "num_hidden_layers": fields.integer("num_hidden_layers", 1, _MAX_LAYERS),
        "num_attention_heads": fields.integer("num_attention_heads", 1, _MAX_HEADS),
        "max_position_embeddings": positions,
        "rms_norm_eps": fields.number("rms_norm_eps", 0.0, 0.1, 1e-6),
        "tie_word_embeddings": fields.boolean("tie_word_embeddings", False),
        "rope": rope_config(config, positions),
        "bos_token_id": fields.optional_integer("bos_token_id", 0, _MAX_VOCAB),
        "eos_token_ids": _eos_ids(config.get("eos_token_id"), generation_eos),
        "dtype": _dtype(config),
        "fp8_block": _fp8_block(config.get("quantization_config")),
    }
    if architecture in ("DeepseekV3ForCausalLM", "DeepseekV2ForCausalLM"):
        return common | _deepseek(fields, common, v3=architecture == "DeepseekV3ForCausalLM")
    return common | _grouped_query(fields, common)


def _architecture(config: Mapping[str, Any]) -> Architecture:
    stated = config.get("architectures")
    known = get_args(Architecture)
    if stated is not None:
        if not isinstance(stated, list) or not stated or not all(isinstance(name, str) for name in stated):
            raise ConfigError(f"architectures is {stated!r}; it must be a list with the name of one architecture.")
        for name in _BY_MODEL_TYPE.values():
            if stated[0] == name:
                return name
        raise ConfigError(f"The architecture {stated[0]!r} is not implemented; known are {', '.join(known)}.")
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in _BY_MODEL_TYPE:
        return _BY_MODEL_TYPE[model_type]
    raise ConfigError(
        f"config.json names no architecture and its model_type is {model_type!r}; known: {', '.join(known)}."
    )


def _refuse_unimplemented(config: Mapping[str, Any], fields: Fields, architecture: Architecture) -> None:
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise ConfigError(f"hidden_act is {activation!r}; the families offered here use silu only.")
    layers = fields.integer("num_hidden_layers", 1, _MAX_LAYERS)
    if fields.boolean("use_sliding_window", False) and fields.integer("max_window_layers", 0, 2**20, 0) < layers:
        raise ConfigError("use_sliding_window is true; sliding windows are not implemented, only full attention.")
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types):
        raise ConfigError(f"layer_types is {layer_types!r}; only full_attention is implemented.")
    switched = architecture in ("Qwen2ForCausalLM", "Qwen3ForCausalLM")  # theirs counts only if switched on, above
    if not switched and config.get("sliding_window") is not None:
        raise ConfigError(f"sliding_window is {config['sliding_window']!r}; sliding windows are not implemented.")


def _grouped_query(fields: Fields, common: dict[str, Any]) -> dict[str, Any]:
    architecture, heads, hidden = common["architecture"], common["num_attention_heads"], common["hidden_size"]
    key_value_heads = fields.integer("num_key_value_heads", 1, _MAX_HEADS, heads)
    if heads % key_value_heads:
        raise ConfigError(f"num_attention_heads, {heads}, is no multiple of num_key_value_heads, {key_value_heads}.")
    if fields.optional_integer("head_dim", 2, 2**14) is None and hidden % heads:
        raise ConfigError(
            f"hidden_size, {hidden}, is no multiple of num_attention_heads, {heads}, and head_dim is missing."
        )
    default = 128 if architecture == "Qwen3ForCausalLM" else hidden // heads
    head_dim = fields.integer("head_dim", 2, 2**14, default)
    if head_dim % 2:
        raise ConfigError(f"head_dim is {head_dim}; rotary embedding needs an even number.")
    is_qwen2 = architecture == "Qwen2ForCausalLM"
    bias = fields.boolean("attention_bias", is_qwen2)
    if is_qwen2 and not bias:
        raise ConfigError("attention_bias is false; Qwen2 has biases on q, k and v. Is this a Llama or a Qwen3?")
    return {
        "num_key_value_heads": key_value_heads,
        "head_dim": head_dim,
        "attention_bias": bias,
        "attention_out_bias": bias and not is_qwen2,
        "mlp_bias": architecture == "LlamaForCausalLM" and fields.boolean("mlp_bias", False),
        "qk_norm": architecture == "Qwen3ForCausalLM",
    }


def _deepseek(fields: Fields, common: dict[str, Any], *, v3: bool) -> dict[str, Any]:
    if (
        fields.integer("num_key_value_heads", 1, _MAX_HEADS, common["num_attention_heads"])
        != common["num_attention_heads"]
    ):
        raise ConfigError(
            "num_key_value_heads differs from num_attention_heads, which multi-head latent attention excludes."
        )
    if not fields.states("q_lora_rank"):
        raise ConfigError("q_lora_rank is missing; write null where queries are not compressed (DeepSeek-V2-Lite).")
    rotary, nope = fields.integer("qk_rope_head_dim", 2, 2**14), fields.integer("qk_nope_head_dim", 1, 2**14)
    if rotary % 2:
        raise ConfigError(f"qk_rope_head_dim is {rotary}; rotary embedding needs an even number.")
    bias = fields.boolean("attention_bias", False)
    mlp_bias = not v3 and fields.boolean("mlp_bias", False)
    return {
        "num_key_value_heads": common["num_attention_heads"],
        "head_dim": nope + rotary,
        "attention_bias": bias,
        "attention_out_bias": bias,
        "mlp_bias": mlp_bias,
        "q_lora_rank": fields.optional_integer("q_lora_rank", 1, _MAX_WIDTH),
        "kv_lora_rank": fields.integer("kv_lora_rank", 1, _MAX_WIDTH),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rotary,
        "v_head_dim": fields.integer("v_head_dim", 1, 2**14),
        "rope_interleave": fields.boolean("rope_interleave", True),
        "num_nextn_predict_layers": fields.integer("num_nextn_predict_layers", 0, 16, 0),
        **_experts(fields, common["num_hidden_layers"], v3=v3),
    }


def _experts(fields: Fields, layers: int, *, v3: bool) -> dict[str, Any]:
    experts = fields.integer("n_routed_experts", 0, _MAX_EXPERTS, 0)
    if experts == 0:
        return {}
    if experts * layers > _MAX_EXPERT_MODULES:
        raise ConfigError(
            f"{experts} experts in {layers} layers are more than the {_MAX_EXPERT_MODULES} that are believable."
        )
    method = fields.choice(
        "topk_method", ("greedy", "group_limited_greedy", "noaux_tc"), "noaux_tc" if v3 else "greedy"
    )
    grouped = method != "greedy"
    groups = fields.integer("n_group", 1, experts, None if grouped else 1) if grouped else 1
    chosen_groups = fields.integer("topk_group", 1, groups) if grouped else 1
    per_token = fields.integer("num_experts_per_tok", 1, experts)
    if experts % groups:
        raise ConfigError(f"n_routed_experts, {experts}, is no multiple of n_group, {groups}.")
    if method == "noaux_tc" and experts // groups < 2:
        raise ConfigError(
            f"n_group is {groups} for {experts} experts; noaux_tc scores a group by its two best experts."
        )
    if per_token > chosen_groups * (experts // groups):
        raise ConfigError(
            f"num_experts_per_tok is {per_token}; {chosen_groups} groups of {experts // groups} hold fewer."
        )
    return {
        "n_routed_experts": experts,
        "n_shared_experts": fields.integer("n_shared_experts", 0, 64, 0),
        "num_experts_per_tok": per_token,
        "moe_intermediate_size": fields.integer("moe_intermediate_size", 1, _MAX_WIDTH),
        "first_k_dense_replace": fields.integer("first_k_dense_replace", 0, layers, 0),
        "moe_layer_freq": fields.integer("moe_layer_freq", 1, _MAX_LAYERS, 1),
        "n_group": groups,
        "topk_group": chosen_groups,
        "scoring_func": fields.choice("scoring_func", ("sigmoid", "softmax"), "sigmoid" if v3 else "softmax"),
        "topk_method": method,
        "norm_topk_prob": fields.boolean("norm_topk_prob", v3),
        "routed_scaling_factor": fields.number("routed_scaling_factor", 1e-6, 1e6, 1.0),
    }


def _eos_ids(*sources: Any) -> tuple[int, ...]:
    ids: dict[int, None] = {}
    for source in sources:
        for token in source if isinstance(source, list) else [] if source is None else [source]:
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < _MAX_VOCAB:
                raise ConfigError(f"eos_token_id is {source!r}; it must be a token id or a list of them.")
            ids[token] = None
    return tuple(ids)


def _dtype(config: Mapping[str, Any]) -> str | None:
    stated = config.get("dtype") or config.get("torch_dtype")
    return stated if isinstance(stated, str) else None


def _fp8_block(quantization: Any) -> tuple[int, int] | None:
    if quantization is None:
        return None
    if not isinstance(quantization, Mapping) or quantization.get("quant_method") != "fp8":
        method = quantization.get("quant_method") if isinstance(quantization, Mapping) else quantization
        raise ConfigError(
            f"quantization_config has the method {method!r}; only DeepSeek's block FP8 is read. "
            "Fetch the unquantised weights, or a GGUF file of the model."
        )
    block: Any = quantization.get("weight_block_size")
    if quantization.get("fmt", "e4m3") != "e4m3":
        raise ConfigError(f"quantization_config.fmt is {quantization['fmt']!r}; only e4m3 is read.")
    is_pair = isinstance(block, list) and len(block) == 2
    if not is_pair or not all(
        isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= 2**14 for side in block
    ):
        raise ConfigError(
            f"quantization_config.weight_block_size is {block!r}; it must be two sizes, as in [128, 128]."
        )
    return int(block[0]), int(block[1])

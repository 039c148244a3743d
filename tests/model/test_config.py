"""Published configurations, and configurations that must be refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import ConfigError
from freehold.model.config import ModelConfig
from freehold.model.families import MAX_POSITIONS

DATA = Path(__file__).parents[3] / "shared" / "data" / "deepseek_configs"

# config.json of deepseek-ai/DeepSeek-V3, without what says how it was trained.
V3: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "auto_map": {"AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM"},
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    },
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "v_head_dim": 128,
    "vocab_size": 129280,
}
V2_LITE: dict[str, Any] = {
    **{key: value for key, value in V3.items() if key not in ("num_nextn_predict_layers", "quantization_config")},
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "first_k_dense_replace": 1,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "q_lora_rank": None,
    "rope_scaling": V3["rope_scaling"] | {"mscale": 0.707, "mscale_all_dim": 0.707},
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "topk_group": 1,
    "topk_method": "greedy",
    "vocab_size": 102400,
}
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "vocab_size": 128256,
    "eos_token_id": [128001, 128008, 128009],
}
QWEN2: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "max_position_embeddings": 131072,
    "max_window_layers": 21,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rope_theta": 10000,
    "sliding_window": 4096,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def test_v3_as_published():
    config = ModelConfig.from_dict(V3)
    assert (config.kind, config.cache_width, config.num_layers_with_mtp) == ("mla", 576, 62)
    assert config.fp8_block == (128, 128)
    assert config.context_length == 163840
    # The cache of 70,272 bytes per token in BF16 of arXiv 2505.09343, Table 1.
    assert config.cache_width * config.num_hidden_layers * 2 == 70272
    # The code multiplies the softmax scale by (0.1 ln 40 + 1)^2.
    assert config.softmax_scale == pytest.approx(192**-0.5 * 1.874, rel=1e-3)
    assert [config.is_moe_layer(layer) for layer in (0, 2, 3, 60, 61)] == [False, False, True, True, True]


@pytest.mark.parametrize(("file", "ours"), [("config_671B.json", V3), ("config_16B.json", V2_LITE)])
def test_figures_agree_with_deepseeks_own_inference_code(file: str, ours: dict[str, Any]):
    if not (DATA / file).is_file():
        pytest.skip(f"needs DeepSeek's inference configuration {file} in ../shared/data/deepseek_configs")
    theirs = json.loads((DATA / file).read_text())
    config = ModelConfig.from_dict(ours)
    names = {
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "inter_dim": "intermediate_size",
        "moe_inter_dim": "moe_intermediate_size",
        "n_layers": "num_hidden_layers",
        "n_dense_layers": "first_k_dense_replace",
        "n_heads": "num_attention_heads",
        "n_routed_experts": "n_routed_experts",
        "n_shared_experts": "n_shared_experts",
        "n_activated_experts": "num_experts_per_tok",
        "route_scale": "routed_scaling_factor",
        "kv_lora_rank": "kv_lora_rank",
        "qk_nope_head_dim": "qk_nope_head_dim",
        "qk_rope_head_dim": "qk_rope_head_dim",
        "v_head_dim": "v_head_dim",
    }
    assert {name: getattr(config, field) for name, field in names.items()} == {name: theirs[name] for name in names}
    assert (config.q_lora_rank or 0) == theirs["q_lora_rank"]
    assert (config.n_group, config.topk_group) == (theirs.get("n_expert_groups", 1), theirs.get("n_limited_groups", 1))
    assert config.scoring_func == theirs.get("score_func", "softmax")


def test_absent_scoring_and_selection_take_the_familys_own():
    v3 = ModelConfig.from_dict(without(V3, "scoring_func", "topk_method"))
    assert (v3.scoring_func, v3.topk_method) == ("sigmoid", "noaux_tc")
    v2 = ModelConfig.from_dict(without(V2_LITE, "scoring_func", "topk_method"))
    assert (v2.scoring_func, v2.topk_method) == ("softmax", "greedy")


def test_llama_and_qwen():
    llama = ModelConfig.from_dict(LLAMA)
    assert (llama.kind, llama.head_dim, llama.cache_width) == ("gqa", 128, 2048)
    assert llama.eos_token_ids == (128001, 128008, 128009)
    assert llama.rope.rope_type == "llama3"
    qwen = ModelConfig.from_dict(QWEN2)
    assert (qwen.attention_bias, qwen.attention_out_bias, qwen.qk_norm) == (True, False, False)


def test_both_spellings_of_rotary_settings_mean_the_same():
    new = without(V3, "rope_scaling", "rope_theta")
    scaling = without(V3["rope_scaling"], "type")
    new["rope_parameters"] = scaling | {"rope_type": "yarn", "rope_theta": 10000}
    assert ModelConfig.from_dict(new) == ModelConfig.from_dict(V3)


def test_end_tokens_of_both_files_count(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"eos_token_id": 7}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 7]}))
    assert ModelConfig.from_folder(tmp_path).eos_token_ids == (7, 9)


def test_yarn_that_states_only_its_original_length_reaches_the_stretched_one():
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    config = ModelConfig.from_dict(QWEN2 | {"max_position_embeddings": 32768, "rope_scaling": scaling})
    assert config.context_length == 131072


def test_yarns_attn_factor_multiplies_the_correction():
    scaling = {
        "attn_factor": 0.8782488562869419,
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
        "rope_type": "yarn",
    }
    stated = QWEN2 | {"architectures": ["Qwen3ForCausalLM"], "rope_scaling": scaling}
    assert ModelConfig.from_dict(stated).rope.cos_sin_scale == pytest.approx(1.0)
    plain = QWEN2 | {"rope_scaling": without(scaling, "attn_factor")}
    assert ModelConfig.from_dict(plain).rope.cos_sin_scale == pytest.approx(0.1 * math.log(4) + 1)


YARN = V3["rope_scaling"]
REFUSED = [
    (V3, {"architectures": ["GPT2LMHeadModel"]}, "'GPT2LMHeadModel' is not implemented"),
    (V3, {"architectures": ["DeepseekV32ForCausalLM"]}, "'DeepseekV32ForCausalLM' is not implemented"),
    (V3, {"architectures": []}, "architectures is"),
    (V3, {"architectures": None, "model_type": "mamba"}, "'mamba'"),
    (V3, {"q_lora_rank": ...}, "q_lora_rank is missing"),
    (V3, {"n_group": ...}, "n_group is missing"),
    (V3, {"kv_lora_rank": 0}, "kv_lora_rank is 0"),
    (V3, {"n_group": 7}, "no multiple of n_group, 7"),
    (V3, {"n_group": 256, "topk_group": 8}, "two best experts"),
    (V3, {"topk_group": 9}, "topk_group is 9"),
    (V3, {"num_experts_per_tok": 129}, "num_experts_per_tok is 129"),
    (V3, {"first_k_dense_replace": 62}, "first_k_dense_replace is 62"),
    (V3, {"scoring_func": "relu"}, "scoring_func is 'relu'"),
    (V3, {"topk_method": "random"}, "topk_method is 'random'"),
    (V3, {"num_key_value_heads": 8}, "num_key_value_heads differs"),
    (V3, {"qk_rope_head_dim": 63}, "qk_rope_head_dim is 63"),
    (
        V3,
        {"rope_scaling": {**YARN, "attention_factor": 1.0, "attn_factor": 1.0}},
        "both attention_factor and attn_factor",
    ),
    (V3, {"n_routed_experts": 10**9}, "n_routed_experts is 1000000000"),
    (V3, {"quantization_config": {"quant_method": "gptq"}}, "'gptq'"),
    (V3, {"quantization_config": {"quant_method": "fp8"}}, "weight_block_size is None"),
    (V3, {"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 128]}}, "weight_block_size is"),
    (V3, {"quantization_config": {"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [1, 1]}}, "e5m2"),
    (V3, {"rope_scaling": YARN | {"type": "longrope"}}, "'longrope'"),
    (V3, {"rope_scaling": YARN | {"surprise": 1}}, r"unknown keys \['surprise'\]"),
    (V3, {"rope_scaling": YARN | {"factor": 0}}, "rope_parameters.factor is 0"),
    (V3, {"rope_scaling": YARN | {"factor": math.inf}}, "rope_parameters.factor is inf"),
    (V3, {"rope_scaling": "yarn"}, "must be an object"),
    (V3, {"rope_parameters": {"rope_type": "default"}}, "they differ"),
    (
        V3,
        {"rope_scaling": None, "rope_parameters": {"full_attention": {"rope_type": "x"}, "rope_type": "y"}},
        "type of layer",
    ),
    (LLAMA, {"rope_scaling": LLAMA["rope_scaling"] | {"high_freq_factor": 1.0}}, "high_freq_factor is 1"),
    (LLAMA, {"rope_scaling": {"type": "linear"}}, "rope_parameters.factor is missing"),
    (LLAMA, {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    (LLAMA, {"num_key_value_heads": 5}, "no multiple of num_key_value_heads, 5"),
    (LLAMA, {"num_attention_heads": 30, "num_key_value_heads": 30}, "head_dim is missing"),
    (LLAMA, {"head_dim": 63}, "head_dim is 63"),
    (LLAMA, {"sliding_window": 4096}, "sliding_window is 4096"),
    (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    (LLAMA, {"hidden_size": -1}, "hidden_size is -1; it must be an integer from 1"),
    (LLAMA, {"hidden_size": 2**63}, "hidden_size is 9223372036854775808"),
    (LLAMA, {"hidden_size": 4096.0}, "hidden_size is 4096.0"),
    (LLAMA, {"hidden_size": True}, "hidden_size is True"),
    (LLAMA, {"hidden_size": "x" * 1000}, r"hidden_size is 'x{76}\.\.\.;"),
    (LLAMA, {"hidden_size": ...}, "hidden_size is missing"),
    (LLAMA, {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    (LLAMA, {"max_position_embeddings": MAX_POSITIONS + 1}, "max_position_embeddings is"),
    (LLAMA, {"rms_norm_eps": math.nan}, "rms_norm_eps is nan"),
    (LLAMA, {"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no'"),
    (LLAMA, {"eos_token_id": -1}, "eos_token_id is -1"),
    (LLAMA, {"eos_token_id": ["</s>"]}, "eos_token_id is"),
    (QWEN2, {"use_sliding_window": True}, "use_sliding_window is true"),
    (QWEN2, {"layer_types": ["sliding_attention"] * 28}, "layer_types is"),
    (QWEN2, {"attention_bias": False}, "attention_bias is false"),
]


@pytest.mark.parametrize(("base", "change", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_refused_by_name(base: dict[str, Any], change: dict[str, Any], message: str):
    changed = {key: value for key, value in (base | change).items() if value is not ...}
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": "\\ud800"', "not valid JSON"),
    ],
    ids=["cut", "array", "deep", "surrogate"],
)
def test_malformed_files(tmp_path: Path, text: str, message: str):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_folder(tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        ModelConfig.from_folder(tmp_path)


def test_no_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        ModelConfig.from_folder(tmp_path)


def test_needs_no_torch():
    code = "import sys, freehold.model, freehold.model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from freehold.engine import cache as cache_module
from freehold.engine.cache import KVCache, bytes_per_token
from freehold.engine.config import EngineConfig
from freehold.errors import ConfigError
from freehold.model.config import ModelConfig
from tests.engine.conftest import Tiny

CPU = torch.device("cpu")


def make(model: ModelConfig, max_context: int = 512, **settings: object) -> KVCache:
    config = EngineConfig(**settings)  # type: ignore[arg-type]
    return KVCache(model, config, max_context=max_context, dtype=torch.bfloat16, device=CPU)


def test_keys_and_values_or_latents_are_kept(llama: Tiny, deepseek: Tiny) -> None:
    gqa, mla = llama.model.config, deepseek.model.config
    assert make(gqa, cache_tokens=64).tensor.shape == (3, 64, 2, 2, 16)
    assert make(mla, cache_tokens=64).tensor.shape == (3, 64, 16 + 8)
    assert bytes_per_token(gqa, torch.bfloat16) == 3 * 2 * 2 * 16 * 2
    assert bytes_per_token(mla, torch.float32) == 3 * 24 * 4


def test_deepseek_v3_takes_what_its_authors_say() -> None:
    """Source: arXiv 2505.09343, table 1: 70,272 bytes per token in BF16, without the MTP module."""
    fields = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "vocab_size": 129280,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "num_key_value_heads": 128,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
        "n_group": 8,
        "topk_group": 4,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "max_position_embeddings": 163840,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000,
    }
    assert bytes_per_token(ModelConfig.from_dict(fields), torch.bfloat16) == 70_272


def test_tokens_are_rounded_up_to_whole_blocks(llama: Tiny) -> None:
    assert make(llama.model.config, cache_tokens=65, block_size=16).num_tokens == 80


def test_by_default_it_is_no_larger_than_the_batch_can_fill(llama: Tiny) -> None:
    assert make(llama.model.config, max_batch=2).num_tokens == 2 * (512 + 16)


def test_by_default_it_takes_a_quarter_of_the_free_memory(
    llama: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = llama.model.config
    token = bytes_per_token(model, torch.bfloat16)
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {token * 4} kB\n")
    monkeypatch.setattr(cache_module, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cache_module, "_CGROUP", tmp_path)
    assert make(model).num_tokens == 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert make(model).num_tokens == 1024
    (tmp_path / "memory.max").write_text(f"{token * 4 * 64 + 5}\n")
    assert make(model).num_tokens == 64
    (tmp_path / "memory.max").write_text("6\n")
    with pytest.raises(ConfigError, match="no memory for a cache"):
        make(model)


def test_by_default_it_leaves_memory_to_others_beyond_one_context(
    llama: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = llama.model.config
    (tmp_path / "meminfo").write_text(f"MemAvailable: {2**30} kB\n")
    monkeypatch.setattr(cache_module, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cache_module, "_CGROUP", tmp_path)
    monkeypatch.setattr(cache_module, "_USUAL_BYTES", bytes_per_token(model, torch.bfloat16) * 1024)
    assert make(model).num_tokens == 1024
    monkeypatch.setattr(cache_module, "_USUAL_BYTES", 1)
    assert make(model).num_tokens == 512 + 16, "one full context always fits"


def test_blocks_are_copied_in_all_layers(llama: Tiny) -> None:
    cache = make(llama.model.config, cache_tokens=64, block_size=4)
    cache.tensor.copy_(torch.randn(cache.tensor.shape))
    before = cache.tensor.clone()
    cache.copy((1, 5), (7, 8))
    assert torch.equal(cache.tensor[:, 28:32], before[:, 4:8])
    assert torch.equal(cache.tensor[:, 32:36], before[:, 20:24])
    cache.tensor[:, 28:36] = before[:, 28:36]
    assert torch.equal(cache.tensor, before)

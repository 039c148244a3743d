"""Routing against sorting by hand, and dispatch against running every expert on every token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from freehold.model.config import ModelConfig
from freehold.model.mlp import MLP
from freehold.model.moe import MoE, Router, dispatch

HIDDEN = 12


def config(**fields: Any) -> ModelConfig:
    defaults: dict[str, Any] = {
        "architecture": "DeepseekV3ForCausalLM",
        "vocab_size": 8,
        "hidden_size": HIDDEN,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "max_position_embeddings": 8,
        "moe_intermediate_size": 6,
        "n_shared_experts": 1,
    }
    return ModelConfig(**(defaults | fields))


def drawn(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
    return module


def expected_routing(router: Router, x: Tensor, c: ModelConfig) -> list[dict[int, float]]:
    """Each token's experts and weights, by sorting in Python."""
    out = []
    size = c.n_routed_experts // c.n_group
    for logits in (x.double() @ router.weight.double().T).detach():
        scores = logits.sigmoid() if c.scoring_func == "sigmoid" else logits.softmax(-1)
        bias = router.e_score_correction_bias
        choice = (scores if bias is None else scores + bias.double()).tolist()
        strength = []
        for group in range(c.n_group):
            members = sorted(choice[group * size : (group + 1) * size], reverse=True)
            strength.append(sum(members[:2]) if bias is not None else members[0])
        groups = sorted(range(c.n_group), key=lambda g: -strength[g])[: c.topk_group]
        allowed = [expert for expert in range(c.n_routed_experts) if expert // size in groups]
        chosen = sorted(allowed, key=lambda e: -choice[e])[: c.num_experts_per_tok]
        total = sum(float(scores[e]) for e in chosen) if c.norm_topk_prob else 1.0
        out.append({e: float(scores[e]) / total * c.routed_scaling_factor for e in chosen})
    return out


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_router(data: st.DataObject):
    groups = data.draw(st.integers(1, 4))
    per_group = data.draw(st.integers(2, 4))
    top_groups = data.draw(st.integers(1, groups))
    c = config(
        n_routed_experts=groups * per_group,
        n_group=groups,
        topk_group=top_groups,
        num_experts_per_tok=data.draw(st.integers(1, top_groups * per_group)),
        scoring_func=data.draw(st.sampled_from(["sigmoid", "softmax"])),
        topk_method=data.draw(st.sampled_from(["noaux_tc", "group_limited_greedy"])),
        norm_topk_prob=data.draw(st.booleans()),
        routed_scaling_factor=data.draw(st.sampled_from([1.0, 2.5])),
    )
    router = drawn(Router(c), data.draw(st.integers(0, 99)))
    x = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(1))
    chosen, weights = router(x)
    assert weights.dtype == torch.float32
    for experts, gates, expected in zip(chosen.tolist(), weights.tolist(), expected_routing(router, x, c), strict=True):
        assert dict(zip(experts, gates, strict=True)) == pytest.approx(expected, rel=1e-4)


def test_the_selection_bias_chooses_but_does_not_weigh():
    c = config(
        n_routed_experts=4, num_experts_per_tok=1, scoring_func="sigmoid", topk_method="noaux_tc", norm_topk_prob=False
    )
    router = drawn(Router(c))
    router.e_score_correction_bias.copy_(torch.tensor([0.0, 0.0, 100.0, 0.0]))
    x = torch.randn(3, HIDDEN, generator=torch.Generator().manual_seed(1))
    chosen, weights = router(x)
    assert chosen.flatten().tolist() == [2, 2, 2]
    torch.testing.assert_close(weights[:, 0], (x @ router.weight.T).sigmoid()[:, 2])


def test_a_family_without_bias_stores_none():
    c = config(n_routed_experts=4, num_experts_per_tok=1, topk_method="greedy")
    assert set(Router(c).state_dict()) == {"weight"}


@pytest.mark.parametrize("tokens", [1, 2, 17])
def test_dispatch_is_the_weighted_sum_over_all_experts(tokens: int):
    experts = torch.nn.ModuleList(drawn(MLP(HIDDEN, 6), seed) for seed in range(7))
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(tokens, HIDDEN, generator=generator)
    chosen = torch.stack([torch.randperm(7, generator=generator)[:3] for _ in range(tokens)])
    weights = torch.rand(tokens, 3, generator=generator)
    dense = torch.zeros(tokens, 7).scatter_(1, chosen, weights)
    expected = sum(dense[:, e, None] * expert(x) for e, expert in enumerate(experts))
    torch.testing.assert_close(dispatch(x, chosen, weights, experts), expected, rtol=1e-5, atol=1e-5)


def test_experts_that_are_not_hit_do_not_run():
    class Refusing(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError(f"{len(x)} tokens reached an expert that was not chosen")

    experts = torch.nn.ModuleList([Refusing(), drawn(MLP(HIDDEN, 6)), Refusing()])
    out = dispatch(torch.ones(4, HIDDEN), torch.ones(4, 1, dtype=torch.int64), torch.ones(4, 1), experts)
    torch.testing.assert_close(out, experts[1](torch.ones(4, HIDDEN)))


def test_a_token_alone_and_among_others():
    moe = drawn(MoE(config(n_routed_experts=6, num_experts_per_tok=2, topk_method="noaux_tc", scoring_func="sigmoid")))
    x = torch.randn(9, HIDDEN, generator=torch.Generator().manual_seed(0))
    together = moe(x)
    for row in range(9):
        torch.testing.assert_close(moe(x[row : row + 1])[0], together[row], rtol=1e-5, atol=1e-6)


def test_gradients_reach_experts_and_router_and_not_the_bias():
    moe = drawn(MoE(config(n_routed_experts=4, num_experts_per_tok=2, topk_method="noaux_tc", scoring_func="sigmoid")))
    x = torch.randn(40, HIDDEN, generator=torch.Generator().manual_seed(0), requires_grad=True)
    moe(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in moe.parameters())
    assert x.grad is not None
    assert "gate.e_score_correction_bias" not in dict(moe.named_parameters())


def test_no_shared_experts():
    moe = drawn(MoE(config(n_routed_experts=4, num_experts_per_tok=4, n_shared_experts=0)))
    x = torch.randn(3, HIDDEN, generator=torch.Generator().manual_seed(0))
    chosen, weights = moe.gate(x)
    assert moe.shared_experts is None
    torch.testing.assert_close(moe(x), dispatch(x, chosen, weights, moe.experts))

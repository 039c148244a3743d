"""The whole model: published names, tied heads, random initialisation, independence of neighbours, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from freehold.model.attention import DenseAttend
from freehold.model.config import ModelConfig
from freehold.model.transformer import Transformer
from tests.model.test_config import V2_LITE, V3
from tests.support.tiny_models import KINDS, tiny_folder


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(request.param, tmp_path_factory.mktemp(request.param), tokenizer=False)


def run(model: Transformer, ids: torch.Tensor) -> torch.Tensor:
    return model.logits(model(ids, torch.arange(len(ids)), DenseAttend([len(ids)])))


def test_names_and_shapes_are_the_published_ones(folder: Path):
    model = Transformer(ModelConfig.from_folder(folder))
    with safe_open(folder / "model.safetensors", "pt") as published:
        expected = {name: tuple(published.get_slice(name).get_shape()) for name in published.keys()}  # noqa: SIM118
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        assert ours.pop("lm_head.weight") == expected["model.embed_tokens.weight"]
    assert ours == expected


def test_random_initialisation_follows_the_report(folder: Path):
    config = ModelConfig.from_folder(folder)
    model = Transformer.random(config, seed=1)
    matrices = torch.cat([p.detach().flatten() for p in model.parameters() if p.ndim >= 2])
    assert float(matrices.std()) == pytest.approx(0.006, rel=0.02)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.full_like(parameter, 0.0 if name.endswith("bias") else 1.0))
    same, other = Transformer.random(config, seed=1), Transformer.random(config, seed=2)
    assert torch.equal(model.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)
    for module in model.mtp:
        assert module.shared_head.head.weight is model.lm_head.weight


def test_every_parameter_gets_a_gradient(folder: Path):
    model = Transformer.random(ModelConfig.from_folder(folder), seed=0)
    ids = torch.randint(0, 500, (64,), generator=torch.Generator().manual_seed(0))
    hidden = model(ids, torch.arange(64), DenseAttend([40, 24]))
    loss = torch.nn.functional.cross_entropy(model.logits(hidden)[:-1], ids[1:])
    for depth in range(len(model.mtp)):
        further = model.predict_further(depth, hidden[:-1], ids[1:], torch.arange(63), DenseAttend([63]))
        loss = loss + torch.nn.functional.cross_entropy(model.mtp[depth].logits(further)[:-1], ids[2:])
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    # With so few tokens an expert may stay unused.
    assert [name for name in without if ".experts." not in name] == []


def test_logits_are_float32_and_routers_stay_so_in_bfloat16(folder: Path):
    model = Transformer.random(ModelConfig.from_folder(folder), seed=0, dtype=torch.bfloat16)
    assert run(model, torch.arange(5)).dtype == torch.float32
    for name, tensor in model.state_dict().items():
        is_router = name.endswith(("mlp.gate.weight", "e_score_correction_bias"))
        assert tensor.dtype == (torch.float32 if is_router else torch.bfloat16), name


def test_later_tokens_do_not_change_earlier_ones(folder: Path):
    model = Transformer.random(ModelConfig.from_folder(folder), seed=0)
    ids = torch.randint(0, 500, (20,), generator=torch.Generator().manual_seed(0))
    changed = torch.cat((ids[:12], ids[12:].flip(0)))
    torch.testing.assert_close(run(model, ids)[:12], run(model, changed)[:12], rtol=1e-5, atol=1e-6)


def test_no_such_prediction_module():
    config = ModelConfig(
        architecture="LlamaForCausalLM",
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=8,
    )
    model = Transformer.random(config, seed=0)
    with pytest.raises(IndexError):
        model.predict_further(0, torch.zeros(1, 8), torch.tensor([1]), torch.tensor([0]), DenseAttend([1]))


@pytest.mark.parametrize(
    ("published", "billions", "with_mtp"),
    [
        pytest.param(V2_LITE, 15.71, 15.71, id="V2-Lite"),
        pytest.param(V3, 671.03, 684.49, id="V3", marks=pytest.mark.slow),
    ],
)
def test_published_models_have_as_many_parameters_as_reported(published: dict, billions: float, with_mtp: float):
    """DeepSeek-V3's README_WEIGHTS: 671B without and 685B with the MTP module; V2-Lite's card: 15.7B."""
    with torch.device("meta"):
        model = Transformer(ModelConfig.from_dict(published))
    sizes = {name: tensor.numel() for name, tensor in model.state_dict().items()}
    biases = sum(size for name, size in sizes.items() if name.endswith("e_score_correction_bias"))
    assert (sum(sizes.values()) - biases) / 1e9 == pytest.approx(with_mtp, abs=0.01)
    further = f"model.layers.{model.config.num_hidden_layers}."
    assert sum(s for name, s in sizes.items() if not name.startswith(further)) / 1e9 == pytest.approx(
        billions, abs=0.01
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(folder: Path):
    model = Transformer.random(ModelConfig.from_folder(folder), seed=0)
    ids = torch.randint(0, 500, (30,), generator=torch.Generator().manual_seed(0))
    expected = run(model, ids)
    model.to("cuda")
    positions = torch.arange(30, device="cuda")
    ours = model.logits(model(ids.to("cuda"), positions, DenseAttend([30])))
    torch.testing.assert_close(ours.cpu(), expected, rtol=1e-4, atol=1e-4)

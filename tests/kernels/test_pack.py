"""Packed models of every family against the same models as they were loaded; memory; new weights."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from freehold.errors import WeightsError
from freehold.kernels import forms, pack, refill
from freehold.kernels.layer import PackedDecoderLayer
from freehold.kernels.linear import FusedLinear, PlainLinear, packs
from freehold.kernels.native.library import native
from freehold.model.attention import DenseAttend
from freehold.model.transformer import Transformer
from freehold.model.weights import load_model
from tests.support.native import PYTORCH, levels, use
from tests.support.tiny_models import KINDS, tiny_folder

LENGTHS = (5, 1, 11)


def logits(model: Transformer, lengths: tuple[int, ...] = LENGTHS) -> Tensor:
    count = sum(lengths)
    ids = torch.randint(0, model.config.vocab_size, (count,), generator=torch.Generator().manual_seed(7))
    positions = torch.cat([torch.arange(length) for length in lengths])
    with torch.inference_mode():
        return model.logits(model(ids, positions, DenseAttend(lengths)))


def alone(model: Transformer) -> Tensor:
    """A single row, which takes paths of its own."""
    return logits(model, (1,))


@pytest.fixture(autouse=True, params=[PYTORCH, *levels()[:1]])
def _form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything without native kernels, and with the best of them."""
    use(request.param, monkeypatch)
    yield
    native.cache_clear()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny_folder(kind, tmp_path_factory.mktemp(kind) / "model") for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_model_gives_the_plain_one_s_logits(kind: str, folders: dict[str, Path]) -> None:
    plain, packed = load_model(folders[kind], torch.float32), load_model(folders[kind], torch.float32)
    report = pack(packed)
    assert report.packed_bytes > report.kept_bytes
    assert any(isinstance(module, FusedLinear) for module in packed.modules())
    torch.testing.assert_close(logits(packed), logits(plain), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone(packed), alone(plain), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "deepseek_v2_lite"])
def test_bfloat16_stays_as_near_to_the_truth_as_the_plain_form(kind: str, folders: dict[str, Path]) -> None:
    truth = load_model(folders[kind], torch.float32)
    plain, packed = load_model(folders[kind], torch.bfloat16), load_model(folders[kind], torch.bfloat16)
    pack(packed)
    for measure in (logits, alone):
        expected = measure(truth)
        error = (measure(packed) - expected).norm() / expected.norm()
        assert error < max(1.5 * float((measure(plain) - expected).norm() / expected.norm()), 0.01)


def test_the_twins_run_where_nothing_is_packed(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    use(PYTORCH, monkeypatch)
    monkeypatch.setattr(forms, "packs", lambda _: False)
    for kind in ("qwen2", "deepseek_v3"):
        plain, fused = load_model(folders[kind], torch.float32), load_model(folders[kind], torch.float32)
        assert pack(fused).packed_bytes == 0
        torch.testing.assert_close(logits(fused), logits(plain), rtol=1e-5, atol=1e-5)


def test_every_matrix_of_a_mixture_is_packed_but_the_absorbed_one(folders: dict[str, Path]) -> None:
    model = load_model(folders["deepseek_v3"], torch.float32)
    pack(model)
    left = {name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert left == {"kv_b_proj"}
    experts = [name for name, m in model.named_modules() if _is_laid_out(m) and ".experts." in name]
    assert len(experts) == 3 * 8 * 3  # three matrices of eight experts in two layers and the MTP module


def _is_laid_out(module: torch.nn.Module) -> bool:
    return isinstance(module, FusedLinear) and not isinstance(module, PlainLinear)


def test_grouped_query_layers_are_fused_whole(folders: dict[str, Path]) -> None:
    model = load_model(folders["llama"], torch.float32)
    pack(model)
    assert all(isinstance(layer, PackedDecoderLayer) for layer in model.model.layers)


def test_packing_twice_changes_nothing(folders: dict[str, Path]) -> None:
    model = load_model(folders["qwen3"], torch.float32)
    first, before = pack(model), logits(model)
    assert pack(model) == first
    assert torch.equal(logits(model), before)


def test_a_small_tied_head_is_copied_and_a_large_one_is_shared(tmp_path: Path) -> None:
    small = load_model(
        tiny_folder("llama", tmp_path / "small", tie_word_embeddings=True, vocab_size=512), torch.float32
    )
    large = load_model(
        tiny_folder("llama", tmp_path / "large", tie_word_embeddings=True, num_hidden_layers=1, vocab_size=2048),
        torch.float32,
    )
    for model, is_copied in ((small, True), (large, False)):
        plain = copy.deepcopy(model)
        table = model.model.embed_tokens.weight
        report = pack(model)
        assert report.extra_bytes == (table.nbytes if is_copied else 0)
        assert (report.packed_bytes + report.kept_bytes) / (
            report.packed_bytes + report.kept_bytes - report.extra_bytes
        ) < 1.3
        torch.testing.assert_close(logits(model), logits(plain), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "deepseek_v3", "deepseek_v2_lite"])
def test_new_weights_reach_every_part(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    packed = load_model(folders[kind], torch.float32)
    pack(packed)
    other = load_model(tiny_folder(kind, tmp_path / "other", seed=1), torch.float32)
    assert not torch.allclose(logits(packed), logits(other), atol=1e-2)
    refill(packed, other.state_dict())
    torch.testing.assert_close(logits(packed), logits(other), rtol=1e-5, atol=1e-5)


def test_a_tied_head_follows_the_embedding(tmp_path: Path) -> None:
    first, second = (
        load_model(tiny_folder("llama", tmp_path / str(seed), seed=seed, tie_word_embeddings=True), torch.float32)
        for seed in (0, 1)
    )
    pack(first)
    weights = second.state_dict()
    del weights["lm_head.weight"]
    refill(first, weights)
    torch.testing.assert_close(logits(first), logits(second), rtol=1e-5, atol=1e-5)


def test_weights_that_do_not_fit_change_nothing(folders: dict[str, Path]) -> None:
    model = load_model(folders["qwen2"], torch.float32)
    pack(model)
    before = logits(model)
    name = "model.layers.0.self_attn.{}_proj.{}".format
    zeros = torch.zeros_like(model.model.embed_tokens.weight)
    good = {"model.embed_tokens.weight": zeros}
    with pytest.raises(WeightsError, match=r"no weight model\.layers\.0\.q"):
        refill(model, {**good, "model.layers.0.q": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"embed_tokens\.weight has the shape \[3\]"):
        refill(model, {"model.embed_tokens.weight": torch.zeros(3)})
    with pytest.raises(
        WeightsError, match=r"is packed together with .*k_proj\.weight, .*v_proj\.weight, .*q_proj\.bias"
    ):
        refill(model, {**good, name("q", "weight"): torch.zeros(64, 64)})
    assert torch.equal(logits(model), before)


_MEASURE = """
import sys, torch
from pathlib import Path
from freehold.kernels import pack
from freehold.model.weights import load_model

def status(field):
    return next(int(l.split()[1]) * 1024 for l in Path("/proc/self/status").open() if l.startswith(field))

weight = torch.zeros(64, 64)
pack(load_model(sys.argv[2], torch.float32))  # the libraries' own memory is not the weights'
before = status("VmRSS")
model = load_model(sys.argv[1], torch.float32)
weights = sum(t.nbytes for t in {t.data_ptr(): t for t in model.state_dict().values()}.values())
pack(model)
print((status("VmHWM") - before) / weights)
"""


_DENSE = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 24_000,
}
_SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "untied": ("llama", {**_DENSE, "tie_word_embeddings": False}),
    "tied": ("llama", {**_DENSE, "tie_word_embeddings": True}),
    "experts": (
        "deepseek_v3",
        {
            "hidden_size": 384,
            "moe_intermediate_size": 256,
            "n_routed_experts": 24,
            "num_hidden_layers": 9,
            "mtp_layers": 0,
        },
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: reads peak memory from /proc")
@pytest.mark.parametrize("shape", ["untied", "tied", "experts"])
def test_loading_and_packing_stay_under_1_3_times_the_weights(shape: str, tmp_path: Path) -> None:
    kind, fields = _SHAPES[shape]
    folder = tiny_folder(kind, tmp_path / "m", **fields)
    tiny = tiny_folder(kind, tmp_path / "tiny")
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder), str(tiny)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert float(run.stdout) < 1.3


def test_bfloat16_is_packed_on_a_cpu_that_computes_in_it() -> None:
    assert packs(torch.bfloat16) == bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

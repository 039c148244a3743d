"""FP8 blocks against multiplying one number at a time, and a whole quantised folder against its original."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from freehold.errors import WeightsError
from freehold.model import checkpoint
from freehold.model.attention import DenseAttend
from freehold.model.fp8 import dequantise_blocks, scale_shape
from freehold.model.weights import load_model
from tests.support.tiny_models import tiny_folder

BLOCK = 16


def quantised(weight: Tensor, block: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """e4m3 weight and scales, block by block, so that each block's largest number becomes e4m3's, 448."""
    rows, columns = weight.shape
    stored = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    scales = torch.empty(scale_shape((rows, columns), block))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
            scales[i, j] = weight[part].abs().max() / 448
            stored[part] = (weight[part] / scales[i, j]).to(torch.float8_e4m3fn)
    return stored, scales


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    block=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    seed=st.integers(0, 99),
)
def test_every_number_is_multiplied_with_its_blocks_scale(rows: int, columns: int, block: tuple[int, int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator).to(torch.float8_e4m3fn)
    scales = torch.rand(scale_shape((rows, columns), block), generator=generator)
    ours = torch.empty(rows, columns)
    dequantise_blocks(weight, scales, block, ours)
    for i in range(rows):
        for j in range(columns):
            assert float(ours[i, j]) == float(weight[i, j].float() * scales[i // block[0], j // block[1]])


def test_published_block_size_with_ragged_edges():
    weight = torch.randn(300, 200, generator=torch.Generator().manual_seed(0))
    stored, scales = quantised(weight, (128, 128))
    assert scales.shape == (3, 2)
    restored = torch.empty(300, 200, dtype=torch.bfloat16)
    dequantise_blocks(stored, scales, (128, 128), restored)
    torch.testing.assert_close(restored.float(), weight, rtol=0.08, atol=0.02)


@pytest.fixture
def fp8_folder(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A tiny V3 quantised as DeepSeek does it (all matrices but embeddings, head, router), and what it must load as."""
    folder = tiny_folder("deepseek_v3", tmp_path / "model", tokenizer=False)
    tensors = load_file(folder / "model.safetensors")
    expected = dict(tensors)
    for name, tensor in list(tensors.items()):
        if tensor.ndim == 2 and not any(part in name for part in ("embed_tokens", "head", "mlp.gate.", "eh_proj")):
            tensors[name], tensors[f"{name}_scale_inv"] = quantised(tensor, (BLOCK, BLOCK))
            rows = tensors[f"{name}_scale_inv"].repeat_interleave(BLOCK, 0)[: len(tensor)]
            expected[name] = tensors[name].float() * rows.repeat_interleave(BLOCK, 1)[:, : tensor.shape[1]]
    save_file(tensors, folder / "model.safetensors")
    set_config(folder, quantization_config={"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [BLOCK, BLOCK]})
    return folder, expected


def set_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize("window", [16 * 2**20, 1500])
def test_a_quantised_folder_loads_as_what_it_stands_for(
    fp8_folder: tuple[Path, dict[str, Tensor]], tmp_path: Path, window: int, monkeypatch: pytest.MonkeyPatch
):
    """Also where the file is read in windows so small that matrices are cut, at multiples of a block."""
    monkeypatch.setattr(checkpoint, "_MIN_WINDOW_BYTES", window)
    monkeypatch.setattr(checkpoint, "_WINDOWS_PER_FILE", 10**9)
    folder, expected = fp8_folder
    model = load_model(folder, torch.float32)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    original = load_model(tiny_folder("deepseek_v3", tmp_path / "original", tokenizer=False), torch.float32)
    ids = torch.arange(30)
    ours, exact = (m.logits(m(ids, torch.arange(30), DenseAttend([30]))) for m in (model, original))
    assert float((ours - exact).std()) < 0.3 * float(exact.std())


def test_a_scale_in_another_shard_is_found(fp8_folder: tuple[Path, dict[str, Tensor]]):
    folder, expected = fp8_folder
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    for name, tensor in tensors.items():
        shards[f"model-0000{1 if name.endswith('weight') else 2}-of-00002.safetensors"][name] = tensor
    for shard, part in shards.items():
        save_file(part, folder / shard)
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    name = "model.layers.1.self_attn.o_proj.weight"
    assert torch.equal(load_model(folder, torch.float32).state_dict()[name], expected[name])


@pytest.mark.parametrize("change", ["missing", "shape", "dtype"])
def test_wrong_scales_are_refused(fp8_folder: tuple[Path, dict[str, Tensor]], change: str):
    folder, _ = fp8_folder
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.self_attn.o_proj.weight_scale_inv"
    scale = tensors.pop(name)
    if change == "shape":
        tensors[name] = scale[:1].contiguous()
    if change == "dtype":
        tensors[name] = scale.to(torch.int32)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=name):
        load_model(folder, torch.float32)


def test_fp8_without_a_stated_block_is_refused(fp8_folder: tuple[Path, dict[str, Tensor]]):
    folder, _ = fp8_folder
    set_config(folder, quantization_config=None)
    with pytest.raises(WeightsError, match="no quantization_config"):
        load_model(folder, torch.float32)


def test_a_scale_without_an_fp8_weight_is_refused(fp8_folder: tuple[Path, dict[str, Tensor]]):
    folder, _ = fp8_folder
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.self_attn.o_proj.weight"
    tensors[name] = tensors[name].float()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=f"does not use: {name}_scale_inv"):
        load_model(folder, torch.float32)

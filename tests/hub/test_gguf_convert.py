"""A GGUF file becomes a folder with the weights, the configuration and the logits of the model that it was made "
"from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from freehold.errors import FreeholdError, PullError, WeightsError
from freehold.hub import gguf_convert
from freehold.hub.gguf import GgufFile
from freehold.hub.gguf_convert import convert
from freehold.hub.gguf_deepseek import deepseek_config
from freehold.hub.manifest import read_manifest
from freehold.hub.pull import ensure, installed, pull, remove, resolve
from freehold.model.config import ModelConfig
from tests.support.gguf_files import gguf_from_folder
from tests.support.tiny_models import tiny_folder

Kind = gguf.GGMLQuantizationType
PRE = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2"}


def bfloat16_folder(kind: str, path: Path, **overrides: Any) -> Path:
    """A tiny model whose every weight is exactly a bfloat16, stored as float32."""
    folder = tiny_folder(kind, path, **overrides)
    weights = load_file(folder / "model.safetensors")
    exact = {name: tensor.to(torch.bfloat16).to(torch.float32).contiguous() for name, tensor in weights.items()}
    save_file(exact, folder / "model.safetensors", {"format": "pt"})
    return folder


def converted(source: Path, tmp_path: Path, **options: Any) -> Path:
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(gguf_from_folder(source, tmp_path / "model.gguf", **options), folder)
    return folder


@torch.no_grad()
def logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model(ids).logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_weights_and_logits_are_those_of_the_original(kind: str, tied: bool, tmp_path: Path) -> None:
    source = bfloat16_folder(kind, tmp_path / "source", tie_word_embeddings=tied)
    folder = converted(source, tmp_path, pre=PRE[kind])

    expected, found = load_file(source / "model.safetensors"), load_file(folder / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == torch.bfloat16
        assert torch.equal(found[name].float(), tensor), name
    assert ModelConfig.from_folder(folder).architecture == ModelConfig.from_folder(source).architecture
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is tied
    ids = torch.randint(0, 512, (2, 40), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits(folder, ids), logits(source, ids), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("split_kv_b", [True, False])
@pytest.mark.parametrize("kind", ["deepseek_v3", "deepseek_v2", "deepseek_v2_lite"])
def test_deepseeks_weights_and_logits_are_those_of_the_original(kind: str, split_kv_b: bool, tmp_path: Path) -> None:
    source = bfloat16_folder(kind, tmp_path / "source", mtp_layers=0)
    folder = converted(source, tmp_path, pre="deepseek-v3", split_kv_b=split_kv_b)

    expected, found = load_file(source / "model.safetensors"), load_file(folder / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].float(), tensor), name
    ours, theirs = ModelConfig.from_folder(folder), ModelConfig.from_folder(source)
    for field in dataclasses.fields(ModelConfig):
        if field.name != "dtype":
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name
    ids = torch.randint(0, 512, (2, 200), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits(folder, ids), logits(source, ids), atol=5e-5, rtol=1e-4)


def test_groups_that_an_older_file_leaves_out_are_known_or_asked_for(tmp_path: Path) -> None:
    source = tiny_folder("deepseek_v3", tmp_path / "source", mtp_layers=0)
    path = gguf_from_folder(source, tmp_path / "model.gguf", pre="deepseek-v3")
    file = GgufFile.open(path)
    metadata = {key: value for key, value in file.metadata.items() if "expert_group" not in key}
    with pytest.raises(WeightsError, match="in how many groups its 8 experts are; convert it anew"):
        deepseek_config(GgufFile(path, metadata, file.tensors))
    metadata["deepseek2.expert_count"] = 256
    config = deepseek_config(GgufFile(path, metadata, file.tensors))
    assert (config["n_group"], config["topk_group"]) == (8, 4)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_1])
def test_quantised_weights_are_the_dequantised_ones_to_the_nearest_bfloat16(kind: Kind, tmp_path: Path) -> None:
    source = tiny_folder("qwen3", tmp_path / "source")
    found = load_file(converted(source, tmp_path, pre="qwen2", kind=kind) / "model.safetensors")
    for name, tensor in load_file(source / "model.safetensors").items():
        values = tensor.numpy()
        if values.ndim > 1:
            values = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
            assert torch.equal(found[name], torch.from_numpy(np.array(values)).to(torch.bfloat16)), name


def test_vectors_that_bfloat16_cannot_hold_stay_float32(tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    expected = load_file(source / "model.safetensors")["model.norm.weight"]
    found = load_file(converted(source, tmp_path) / "model.safetensors")["model.norm.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_large_models_are_written_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_convert, "SHARD_BYTES", 50_000)
    source = bfloat16_folder("llama", tmp_path / "source")
    folder = converted(source, tmp_path)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    for name, shard in index["weight_map"].items():
        with safe_open(folder / shard, "pt") as file:
            assert name in file.keys()  # noqa: SIM118 (not a dict)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(logits(folder, ids), logits(source, ids), atol=2e-5, rtol=1e-4)


def test_tokenizer_and_generation_defaults_are_carried_over(tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(gguf_from_folder(source, tmp_path / "model.gguf"), folder, sampling={"temperature": 0.2, "top_p": 0.9})
    ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(source)
    messages = [{"role": "user", "content": "What is 12 + 345? Grüße! 你好 🙂"}]
    assert ours.apply_chat_template(messages, tokenize=False) == theirs.apply_chat_template(messages, tokenize=False)
    defaults = json.loads((folder / "generation_config.json").read_text())
    assert defaults == {
        "bos_token_id": theirs.bos_token_id,
        "eos_token_id": [theirs.eos_token_id],
        "do_sample": True,
        "temperature": 0.2,
        "top_p": 0.9,
    }


def test_llama_3_rope_scaling_is_recovered_from_its_factors(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    source = bfloat16_folder(
        "llama", tmp_path / "source", rope_parameters=scaling, head_dim=64, max_position_embeddings=131072
    )
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    plain = 1.0 / 500000.0 ** (torch.arange(0, 64, 2) / 64)
    factors = (plain / model.model.rotary_emb.inv_freq).numpy()
    assert factors.max() == pytest.approx(8.0)
    folder = tmp_path / "converted"
    folder.mkdir()
    path = gguf_from_folder(source, tmp_path / "model.gguf", more_tensors={"rope_freqs.weight": factors})
    convert(path, folder)
    ids = torch.randint(0, 512, (1, 200), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits(folder, ids), logits(source, ids), atol=5e-5, rtol=1e-4)

    odd = tmp_path / "odd"
    odd.mkdir()
    path = gguf_from_folder(source, tmp_path / "odd.gguf", more_tensors={"rope_freqs.weight": factors * 1.5})
    with pytest.raises(WeightsError, match=r"does not follow Llama 3\.1's rule"):
        convert(path, odd)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ["blk.1.ffn_up.weight"]}, r"has no tensor 'blk\.1\.ffn_up\.weight'"),
        ({"more_tensors": {"blk.0.attn_q.bias": np.ones(64, np.float32)}}, r"has no place for: blk\.0\.attn_q\.bias"),
        ({"metadata": {"embedding_length": 128}}, "has shape .* its metadata ask for"),
        (
            {
                "metadata": dict.fromkeys(
                    ["attention.key_length", "attention.value_length", "rope.dimension_count"], 2**30
                )
            },
            "has shape .* its metadata ask for",
        ),
        (
            {
                "metadata": dict.fromkeys(
                    ["attention.key_length", "attention.value_length", "rope.dimension_count"], 2**31 - 2
                ),
                "more_tensors": {"rope_freqs.weight": np.ones(8, np.float32)},
            },
            r"does not follow Llama 3\.1's rule",
        ),
        ({"metadata": {"attention.head_count": 0}}, "head_count is 0; it must be a whole number from 1"),
        ({"metadata": {"block_count": 4}}, "has no tensor 'blk.3"),
        ({"metadata": {"expert_count": 8}}, "is a mixture of experts"),
        ({"metadata": {"rope.dimension_count": 8}}, "8 rotated dimensions"),
        ({"metadata": {"tokenizer.ggml.eos_token_id": 512}}, "eos_token_id is 512; the vocabulary has ids 0 to 511"),
        ({"metadata": {"split.count": 3}}, "is one of 3 parts; join them"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    with pytest.raises(FreeholdError, match=message):
        converted(source, tmp_path, **options)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(WeightsError, match=r"architecture 'mamba'.* can be converted"):
        convert(path, tmp_path)


@pytest.mark.parametrize("name", ["mlp.up_proj", "input_layernorm"])
def test_weights_that_are_not_finite_are_refused(name: str, tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    weights[f"model.layers.0.{name}.weight"][..., 5] = float("nan")
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"(ffn_up|attn_norm)\.weight .* not finite"):
        converted(source, tmp_path)


@pytest.mark.usefixtures("empty_home")
def test_a_file_is_pulled_once_under_its_own_name(tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    path = gguf_from_folder(source, tmp_path / "My Model.Q8_0.GGUF")
    assert resolve(path) is None
    folder = ensure(path)
    assert folder.name == "my-model.q8_0"
    assert ensure(str(path)) == pull(path) == resolve(path) == resolve("my-model.q8_0") == folder
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.source == f"file:{path}"
    assert manifest.revision.startswith("sha256:")
    other = gguf_from_folder(source, tmp_path / "elsewhere.gguf").rename(tmp_path / "source" / path.name)
    with pytest.raises(PullError, match=r"The name my-model\.q8_0 is taken"):
        ensure(other)
    remove("my-model.q8_0")
    assert ensure(other) == folder


@pytest.mark.usefixtures("empty_home")
def test_a_file_that_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    source = tiny_folder("llama", tmp_path / "source")
    path = gguf_from_folder(source, tmp_path / "bad.gguf", without=["output_norm.weight"])
    with pytest.raises(WeightsError, match="has no tensor 'output_norm"):
        ensure(path)
    assert installed() == []
    assert not [entry for entry in (tmp_path / "home" / "models").iterdir() if entry.is_dir()]

"""Loading: every tensor accounted for, shards, types, and folders that must be refused with the remedy."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from freehold.errors import ConfigError, FreeholdError, WeightsError
from freehold.model import checkpoint
from freehold.model.weights import load_model
from tests.support.tiny_models import KINDS, tiny_folder

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
NORM = "model.layers.1.input_layernorm.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder("qwen2", tmp_path / "model", tokenizer=False)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / FILE)
    change(tensors)
    save_file(tensors, folder / FILE)


def split(folder: Path) -> list[str]:
    """Turns the single file into three shards with an index."""
    tensors = load_file(folder / FILE)
    (folder / FILE).unlink()
    names = sorted(tensors)
    shards = [f"model-0000{i + 1}-of-00003.safetensors" for i in range(3)]
    for i, shard in enumerate(shards):
        save_file({name: tensors[name] for name in names[i::3]}, folder / shard)
    weight_map = {name: shards[i % 3] for i, name in enumerate(names)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return shards


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_arrives(kind: str, tmp_path: Path):
    folder = tiny_folder(kind, tmp_path, tokenizer=False)
    published = load_file(folder / FILE)
    model = load_model(folder, torch.float32)
    loaded = model.state_dict()
    if model.config.tie_word_embeddings:
        assert model.lm_head.weight is model.model.embed_tokens.weight
        del loaded["lm_head.weight"]
    assert set(loaded) == set(published)
    for name, tensor in published.items():
        assert torch.equal(loaded[name], tensor), name
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_are_converted_by_rounding(folder: Path, stored: torch.dtype, dtype: torch.dtype):
    rewrite(folder, lambda tensors: tensors.update({name: t.to(stored) for name, t in tensors.items()}))
    published = load_file(folder / FILE)
    for name, tensor in load_model(folder, dtype).state_dict().items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, published[name].to(dtype)), name


def test_routers_stay_in_float32(tmp_path: Path):
    folder = tiny_folder("deepseek_v3", tmp_path, tokenizer=False)
    published = load_file(folder / FILE)
    loaded = load_model(folder, torch.bfloat16).state_dict()
    for name in ("model.layers.1.mlp.gate.weight", "model.layers.1.mlp.gate.e_score_correction_bias"):
        assert torch.equal(loaded[name], published[name])
    assert loaded["model.layers.1.mlp.experts.0.up_proj.weight"].dtype == torch.bfloat16


def test_memory_is_our_own(folder: Path):
    """A file that is overwritten while the model serves must not change it."""
    model = load_model(folder, torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    size = (folder / FILE).stat().st_size
    with (folder / FILE).open("r+b") as file:
        file.write(b"\0" * size)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_shards(folder: Path):
    expected = load_file(folder / FILE)
    split(folder)
    for name, tensor in load_model(folder, torch.float32).state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_a_missing_shard(folder: Path):
    shard = split(folder)[1]
    (folder / shard).unlink()
    with pytest.raises(WeightsError, match=f"Shards are missing.*{shard}.*Fetch"):
        load_model(folder)


def test_a_shard_without_what_the_index_promises(folder: Path):
    shards = split(folder)
    (folder / shards[0]).write_bytes((folder / shards[1]).read_bytes())
    with pytest.raises(WeightsError, match=f"{shards[0]} lacks"):
        load_model(folder)


def test_a_tensor_in_two_shards(folder: Path):
    shards = split(folder)
    first, second = load_file(folder / shards[0]), load_file(folder / shards[1])
    save_file(second | dict([next(iter(first.items()))]), folder / shards[1])
    with pytest.raises(WeightsError, match=f"lies in {shards[0]} and in {shards[1]}"):
        load_model(folder)


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "a\0b.safetensors", "x.bin", 3])
def test_an_index_that_points_elsewhere(folder: Path, shard: object):
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(WeightsError, match=r"puts a into|Shards are missing"):
        load_model(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": []}', "{}"])
def test_a_malformed_index(folder: Path, text: str):
    (folder / INDEX).write_text(text)
    with pytest.raises(WeightsError, match=r"fetch it again|must be a JSON object"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NORM), f"lacks {NORM}"),
        (lambda t: t.update({"model.layers.9.mlp.up_proj.weight": torch.zeros(1)}), "does not use: model.layers.9"),
        (lambda t: t.update({NORM: torch.zeros(65)}), rf"{NORM} has the shape \[65\] .* must be \[64\]"),
        (lambda t: t.update({NORM: torch.zeros(64, dtype=torch.int8)}), f"{NORM} is of type I8"),
        (lambda t: t.update({NORM: torch.zeros(64).to(torch.float8_e5m2)}), f"{NORM} is of type F8_E5M2"),
        (lambda t: t.update({NORM: torch.zeros(64).to(torch.float8_e4m3fn)}), f"{NORM} is FP8"),
        (lambda t: t.pop("lm_head.weight"), "lacks lm_head.weight"),
    ],
    ids=["missing", "unexpected", "shape", "int8", "e5m2", "fp8", "head"],
)
def test_wrong_tensors_are_refused_by_name(folder: Path, change: Callable[[dict[str, Tensor]], object], message: str):
    rewrite(folder, change)
    with pytest.raises(WeightsError, match=message):
        load_model(folder)


def test_stored_rotary_frequencies_are_left_aside(folder: Path):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda tensors: tensors.update({name: torch.zeros(8)}))
    assert name not in load_model(folder).state_dict()


def test_a_tied_head_may_be_stored_as_a_copy_only(tmp_path: Path):
    folder = tiny_folder("llama", tmp_path, tokenizer=False)
    rewrite(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    model = load_model(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    rewrite(folder, lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(WeightsError, match="set tie_word_embeddings to false"):
        load_model(folder)


def header(entries: object, size: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"PK\x03\x04 not safetensors at all",
        header({}, size=2**63),
        header({}, size=10**9),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}}),
        header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}) + b"\0" * 4,
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}) + b"\0" * 4,
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}) + b"\0" * 4,
        header({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}) + b"\0" * 4,
        struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
        header([1, 2]),
    ],
    ids=[
        "empty", "short", "zip", "huge-header", "large-header", "offset-past-end", "overflowing-shape",
        "negative-shape", "backward-offsets", "unknown-type", "no-text", "array",
    ],
)  # fmt: skip
def test_corrupt_files(folder: Path, content: bytes):
    (folder / FILE).write_bytes(content)
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_model(folder)


@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_truncated_files(folder: Path, kept: float):
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_model(folder)


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ("pytorch_model.bin", "can carry code and is never opened.*safetensors"),
        ("model.pt", "can carry code"),
        ("consolidated.00.pth", "can carry code"),
        ("model.gguf", "`freehold pull` converts"),
        ("other.safetensors", f"neither {FILE} nor {INDEX}"),
        ("README.md", "has no weights"),
    ],
)
def test_folders_without_weights_that_can_be_read(folder: Path, present: str, message: str):
    (folder / FILE).unlink()
    (folder / present).write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match=message):
        load_model(folder)


def test_no_folder_and_a_wrong_type(folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_model(tmp_path / "absent")
    with pytest.raises(WeightsError, match=r"dtype is torch\.int8"):
        load_model(folder, torch.int8)


def test_an_unknown_architecture(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen9ForCausalLM"]}))
    with pytest.raises(ConfigError, match="Qwen9ForCausalLM"):
        load_model(folder)


def test_a_configuration_larger_than_its_weights_allocates_nothing(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 2**20, "head_dim": 2, "vocab_size": 2**22}))
    with pytest.raises(FreeholdError, match="has the shape"):
        load_model(folder)


def test_code_that_comes_with_a_model_never_runs(folder: Path, tmp_path: Path):
    """`auto_map` names a module in the folder that writes a file as soon as it is imported."""
    canary = tmp_path / "canary"
    code = f"import pathlib\npathlib.Path({str(canary)!r}).write_text('ran')\n"
    for name in ("modeling_evil.py", "configuration_evil.py", "__init__.py"):
        (folder / name).write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_evil.EvilConfig",
        "AutoModelForCausalLM": "modeling_evil.EvilForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    script = "import sys; from freehold.model import load_model; load_model(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, cwd=folder)
    assert not canary.exists()


@pytest.mark.parametrize("window", [500, 10_000])
@pytest.mark.parametrize("kind", ["deepseek_v3", "llama"])
def test_tensors_larger_than_a_window_are_read_in_bands(
    kind: str, window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tiny_folder(kind, tmp_path, tokenizer=False)
    if kind == "llama":
        rewrite(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    published = load_file(folder / FILE)
    monkeypatch.setattr(checkpoint, "_MIN_WINDOW_BYTES", window)
    monkeypatch.setattr(checkpoint, "_WINDOWS_PER_FILE", 10**9)
    loaded = load_model(folder, torch.float32).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in published.items())

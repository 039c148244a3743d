"""Peak memory on load, measured in a process of its own: all that is resident, pages of the files included."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from freehold.model.config import ModelConfig
from freehold.model.fp8 import scale_shape
from freehold.model.transformer import Transformer

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 16384,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "max_position_embeddings": 2048,
}

# VmHWM is the most that was ever resident since it was last reset: memory of our own (anonymous) and touched pages of
# memory-mapped files alike, whether or not the kernel could have dropped them. What was resident before (Python,
# torch, our modules) is subtracted; nothing else is.
MEASURE = """
import json, sys
import torch
from pathlib import Path
from freehold.model.weights import load_model

def resident(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024

before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
model = load_model(sys.argv[1], torch.bfloat16)
peak = resident("VmHWM")
weights = sum(tensor.nbytes for tensor in model.state_dict().values())
print(json.dumps({"peak": peak - before, "weights": weights}))
"""


def write(folder: Path, stored: str) -> None:
    """A model of 159 million parameters, 318 MB in bfloat16; all zeros, so that the file is made at once."""
    with torch.device("meta"):
        shapes = {name: list(t.shape) for name, t in Transformer(ModelConfig.from_dict(CONFIG)).state_dict().items()}
    config = dict(CONFIG)
    tensors: dict[str, tuple[str, list[int]]] = {}
    for name, shape in shapes.items():
        if stored == "F8_E4M3" and "_proj" in name:
            tensors[name] = (stored, shape)
            tensors[f"{name}_scale_inv"] = ("F32", list(scale_shape(tuple(shape), (128, 128))))
        else:
            tensors[name] = ("BF16" if stored == "F8_E4M3" else stored, shape)
    if stored == "F8_E4M3":
        config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * {"F32": 4, "BF16": 2, "F8_E4M3": 1}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc to measure memory")
@pytest.mark.parametrize("stored", ["BF16", "F32", "F8_E4M3"])
def test_peak_stays_under_1_3_times_the_weights(stored: str, tmp_path: Path):
    write(tmp_path, stored)
    out = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], check=True, capture_output=True, text=True)
    measured = json.loads(out.stdout)
    assert 300e6 < measured["weights"] < 330e6
    assert measured["peak"] >= 0.95 * measured["weights"], "less than the weights themselves: the measure is wrong"
    assert measured["peak"] < 1.3 * measured["weights"]

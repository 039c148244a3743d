"""The default model, as it is pulled: it answers, and its weights are those of the GGUF file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from freehold.hub.catalog import DEFAULT_MODEL, load_catalog
from freehold.hub.manifest import MANIFEST, file_sha256, read_manifest
from freehold.hub.validate import check_folder


def test_the_pulled_folder_is_whole_and_says_what_it_is(default_model_folder: Path) -> None:
    known, manifest = load_catalog().models[DEFAULT_MODEL], read_manifest(default_model_folder)
    assert manifest is not None
    assert (manifest.name, manifest.source, manifest.licence) == (known.name, known.source, "Apache-2.0")
    assert (manifest.chat_format, manifest.context_length) == ("chatml", 8192)
    names = {path.name for path in default_model_folder.iterdir()}
    assert names == set(manifest.files) | {MANIFEST}
    assert {name: file_sha256(default_model_folder / name) for name in manifest.files} == {
        name: entry.sha256 for name, entry in manifest.files.items()
    }
    assert manifest.size_bytes == pytest.approx(known.size_bytes, rel=0.001)
    config = check_folder(default_model_folder)
    assert (config.architecture, config.num_hidden_layers, config.eos_token_ids) == ("LlamaForCausalLM", 30, (2,))
    defaults = json.loads((default_model_folder / "generation_config.json").read_text())
    assert (defaults["do_sample"], defaults.get("temperature"), defaults["eos_token_id"]) == (False, None, [2])


def test_its_parameter_count_is_the_catalogs(default_model_folder: Path) -> None:
    weights = load_file(default_model_folder / "model.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) == load_catalog().models[DEFAULT_MODEL].parameters
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}, "its norms are exact in bfloat16"


@pytest.mark.slow
@torch.no_grad()
def test_it_knows_the_capital_of_france(default_model_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(default_model_folder)
    model = AutoModelForCausalLM.from_pretrained(default_model_folder, dtype=torch.bfloat16)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, do_sample=False, max_new_tokens=30)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == 2, "it ends its turn by itself"


@pytest.mark.slow
@torch.no_grad()
def test_its_logits_are_those_that_transformers_reads_from_the_file(
    default_model_folder: Path, default_model_gguf: Path
) -> None:
    ours = AutoModelForCausalLM.from_pretrained(default_model_folder, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(
        default_model_gguf.parent, gguf_file=default_model_gguf.name, dtype=torch.float32
    )
    state = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        # The file's values, rounded once to bfloat16: half a unit in the last of 8 places.
        torch.testing.assert_close(tensor, state[name], rtol=2**-8, atol=1e-30, msg=name)
    ids = torch.randint(17, 49152, (1, 64), generator=torch.Generator().manual_seed(0))
    expected, found = theirs(ids).logits[0], ours(ids).logits[0]
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.95

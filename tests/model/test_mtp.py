"""Multi-token prediction against the report's equations, and against transformers' own module."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.modeling_layers import MtpModel

from freehold.errors import WeightsError
from freehold.model.attention import DenseAttend
from freehold.model.transformer import Transformer
from freehold.model.weights import load_model
from tests.model.reference import Reference
from tests.support.plain_cache import PlainCache
from tests.support.tiny_models import tiny_folder

PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
IDS = [3, 141, 59, 26, 53, 58, 97, 9, 320, 38]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mtp")
    return tiny_folder("deepseek_v3", path, tokenizer=False, mtp_layers=2, rope_parameters=PLAIN_ROPE)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text()))


@pytest.fixture(scope="module")
def model(folder: Path) -> Transformer:
    return load_model(folder, torch.float32)


@torch.no_grad()
def run(model: Transformer, ids: list[int], depths: int) -> list[torch.Tensor]:
    """Logits of the main model, then of each depth over the positions that it can see."""
    tokens = torch.tensor(ids)
    hidden = model(tokens, torch.arange(len(ids)), DenseAttend([len(ids)]))
    outs = [model.logits(hidden)]
    for depth in range(depths):
        count = len(ids) - 1 - depth
        positions, attend = torch.arange(count), DenseAttend([count])
        hidden = model.predict_further(depth, hidden[:count], tokens[depth + 1 :], positions, attend)
        outs.append(model.mtp[depth].logits(hidden))
    return outs


def test_main_model_and_both_depths_follow_the_equations(model: Transformer, reference: Reference):
    ours = run(model, IDS, depths=2)
    states = reference.hidden(IDS)
    assert (ours[0] - reference.logits(IDS)).abs().max() < 1e-4
    for depth in range(2):
        count = len(IDS) - 1 - depth
        states = reference.mtp(states[:count], IDS[depth + 1 :], depth)
        assert (ours[1 + depth] - reference.mtp_logits(states, depth)).abs().max() < 1e-4


def test_agrees_with_transformers(model: Transformer, folder: Path):
    main = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    main._keys_to_ignore_on_load_unexpected = [r"model\.layers\.[34].*"]  # which layers transformers takes for MTP
    theirs = MtpModel.from_pretrained(main)
    theirs.config._attn_implementation = "eager"
    tokens = torch.tensor(IDS)
    with torch.no_grad():
        hidden = main.model(tokens[None]).last_hidden_state[:, :-1]
        positions = torch.arange(1, len(IDS))[None]
        mask = torch.full((len(IDS) - 1, len(IDS) - 1), float("-inf")).triu(1)[None, None]
        layer = theirs.layers[0]
        out = layer(
            theirs.embed_tokens(tokens[None, 1:]),
            hidden,
            position_embeddings=theirs.rotary_emb(hidden, position_ids=positions),
            attention_mask=mask,
            position_ids=positions,
            cache=None,
        )
        expected = theirs._project_to_logits(out)[0]
    assert (run(model, IDS, depths=1)[1] - expected).abs().max() < 1e-4


def test_step_by_step_with_a_cache(model: Transformer):
    expected = run(model, IDS, depths=1)[1]
    cache = PlainCache()
    further = []
    with torch.no_grad():
        for position, (token, following) in enumerate(itertools.pairwise(IDS)):
            cache.step([(0, 1)])
            here = torch.tensor([position])
            hidden = model(torch.tensor([token]), here, cache)
            hidden = model.predict_further(0, hidden, torch.tensor([following]), here, cache)
            further.append(model.mtp[0].logits(hidden))
    assert (torch.cat(further) - expected).abs().max() < 1e-4


def test_equal_copies_of_embedding_and_head_are_held_once(model: Transformer):
    for module in model.mtp:
        assert module.embed_tokens.weight is model.model.embed_tokens.weight
        assert module.shared_head.head.weight is model.lm_head.weight


def test_an_embedding_of_its_own_is_kept(folder: Path, tmp_path: Path):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.3.embed_tokens.weight"] += 1
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    own = load_model(tmp_path, torch.float32)
    assert torch.equal(own.mtp[0].embed_tokens.weight, tensors["model.layers.3.embed_tokens.weight"])


def test_a_module_that_is_stated_but_not_stored_is_left_out_with_a_warning(tmp_path: Path, caplog):
    folder = tiny_folder("deepseek_v3", tmp_path, tokenizer=False, mtp_layers=0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 1}))
    model = load_model(folder, torch.float32)
    assert model.mtp == []
    assert model.config.num_nextn_predict_layers == 0
    assert "multi-token prediction" in caplog.text


def test_a_module_that_is_stored_in_part_is_refused(folder: Path, tmp_path: Path):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.4.eh_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(WeightsError, match=r"lacks model\.layers\.4\.eh_proj\.weight"):
        load_model(tmp_path, torch.float32)


def test_a_module_that_is_stored_but_not_stated_is_refused(folder: Path, tmp_path: Path):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 0}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"does not use: model\.layers\.3\."):
        load_model(tmp_path, torch.float32)

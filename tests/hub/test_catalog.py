"""The catalog: honest entries, the user's own, and unknown keys refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from freehold.errors import ConfigError
from freehold.hub.catalog import DEFAULT_MODEL, CatalogModel, generation_defaults, load_catalog

pytestmark = pytest.mark.usefixtures("empty_home")

NAMED = [
    "deepseek-ai/DeepSeek-R1",
    "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3-0324",
    "deepseek-ai/DeepSeek-V3.1",
    "deepseek-ai/DeepSeek-V2-Lite",
    "deepseek-ai/DeepSeek-V2-Lite-Chat",
    *(f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{size}" for size in ("1.5B", "7B", "14B", "32B")),
    *(f"deepseek-ai/DeepSeek-R1-Distill-Llama-{size}" for size in ("8B", "70B")),
]

OWN = """
default = "mine"
[models.mine]
title = "Mine"
source = "hf:me/mine"
revision = "v1"
licence = "MIT"
architecture = "LlamaForCausalLM"
context_length = 4096
size_bytes = 1_000_000
"""


def write_own(home: Path, text: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "catalog.toml").write_text(text, encoding="utf-8")


def test_the_named_models_are_there() -> None:
    catalog = load_catalog()
    assert catalog.default == DEFAULT_MODEL
    sources = {model.source for model in catalog.models.values()}
    assert {f"hf:{name}" for name in NAMED} <= sources
    for name, model in catalog.models.items():
        assert name == model.name == name.lower()
        if model.source.startswith("hf:"):
            assert name == model.source.rpartition("/")[2].lower()


def test_what_is_not_known_is_not_made_up() -> None:
    for model in load_catalog().models.values():
        if model.source.startswith("hf:"):
            assert (model.revision, model.sha256, model.size_approximate) == ("main", None, True)


@pytest.mark.parametrize("name", [model.name for model in load_catalog().models.values() if model.parameters])
def test_approximate_sizes_follow_from_the_parameter_counts(name: str) -> None:
    model = load_catalog().models[name]
    assert model.parameters is not None
    if model.architecture == "DeepseekV3ForCausalLM":
        # One byte a value in FP8, the prediction module with its copies of embedding and head, and some BF16 and
        # scales.
        assert 684.5e9 < model.size_bytes < 1.01 * 684.5e9
    else:
        assert model.size_bytes == pytest.approx(2 * model.parameters, rel=0.02)


def test_the_parameter_count_of_v3_follows_from_its_published_configuration(shared_data: Path) -> None:
    config = json.loads((shared_data / "deepseek_configs" / "config_671B.json").read_text())
    dim, layers, dense, heads = config["dim"], config["n_layers"], config["n_dense_layers"], config["n_heads"]
    q_rank, kv_rank = config["q_lora_rank"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    attention = dim * q_rank + q_rank + q_rank * heads * (nope + rope)
    attention += dim * (kv_rank + rope) + kv_rank + kv_rank * heads * (nope + value) + heads * value * dim
    experts = (config["n_routed_experts"] + config["n_shared_experts"]) * 3 * dim * config["moe_inter_dim"]
    router = config["n_routed_experts"] * (dim + 1)
    total = layers * (attention + 2 * dim) + dense * 3 * dim * config["inter_dim"]
    total += (layers - dense) * (experts + router) + 2 * config["vocab_size"] * dim + dim
    assert load_catalog().models["deepseek-r1"].parameters == total


def test_greedy_decoding_is_written_as_transformers_takes_it(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    from freehold.engine.sampling import recommended

    for sampling in ({"temperature": 0.0}, {"temperature": 0.6, "top_p": 0.95}):
        path = tmp_path / "generation_config.json"
        path.write_text(json.dumps(generation_defaults(sampling)))
        theirs, ours = GenerationConfig.from_pretrained(tmp_path), recommended(tmp_path)
        assert theirs.do_sample is (ours.temperature > 0)
        assert ours.temperature == sampling["temperature"]
        GenerationConfig(**json.loads(path.read_text())).validate(strict=True)


def test_a_users_catalog_adds_and_replaces(empty_home: Path) -> None:
    write_own(empty_home, OWN + OWN.replace("models.mine", "models.deepseek-r1").replace('default = "mine"', ""))
    catalog = load_catalog()
    assert catalog.default == "mine"
    assert catalog.models["deepseek-r1"].source == "hf:me/mine"
    assert catalog.models["deepseek-v3"].source == "hf:deepseek-ai/DeepSeek-V3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN + "colour = 1", "models.mine has the unknown key 'colour'; known are .*context_length"),
        (OWN.replace('licence = "MIT"', ""), "models.mine lacks licence"),
        (OWN.replace("4096", '"4096"'), "context_length is '4096'; it must be of type int"),
        (OWN.replace("4096", "true"), "context_length is True; it must be of type int"),
        (OWN.replace("4096", "0"), "context_length is 0; it must be at least 1"),
        (OWN.replace("hf:me/mine", "https://me/mine"), "source is 'https://me/mine'; write hf:org/repo"),
        (OWN.replace("hf:me/mine", "hf:me/../mine"), r"source is 'hf:me/\.\./mine'"),
        (OWN.replace("hf:me/mine", "hf:../mine"), r"mine: 'hf:\.\./mine' is not a repository"),
        (OWN.replace('"v1"', '"../v1"'), r"mine: '\.\./v1' is not a revision"),
        (OWN.replace("hf:me/mine", "wheel:mine==1"), "member, member_bytes and sha256 must be given"),
        (OWN.replace("hf:me/mine", "wheel:--index-url==1"), "source is"),
        (OWN + 'sha256 = "abc"', "64 lower-case hexadecimal"),
        (OWN.replace("models.mine", 'models."../mine"'), "is not a model's name"),
        (OWN + "sampling = { heat = 1 }", "known keys are temperature"),
        (OWN + 'sampling = { temperature = "hot" }', "temperature is 'hot'; it must be a number"),
        ('colour = "red"', "unknown key 'colour'"),
        ('default = "none"', "the default model 'none' is not in it"),
        ("models = 3", "unknown key 'models'"),
        ("[models]\nmine = 3", "models.mine is 3; it must be a table"),
        ("= broken", "is not valid TOML"),
    ],
)
def test_a_catalog_that_is_wrong_is_refused_by_name(empty_home: Path, text: str, message: str) -> None:
    write_own(empty_home, text)
    with pytest.raises(ConfigError, match=message):
        load_catalog()


def test_entries_are_frozen() -> None:
    model = load_catalog().models[DEFAULT_MODEL]
    assert isinstance(model, CatalogModel)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.source = "hf:a/b"
    with pytest.raises(TypeError):
        load_catalog().models["a"] = model

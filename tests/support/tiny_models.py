"""Tiny random models of every family, written by `transformers` as it would publish them.

They are the independent side of the parity tests, and small enough for every other test that needs a model: some
hundred kilobytes, written in a fraction of a second. The weights are drawn so that each part matters (scales that keep
activations near one, biases and norms that are not trivial, router scores that are far from even), so that
a mistake anywhere shows in the logits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer

from tests.support.tiny_tokenizer import STYLES, TEMPLATES, Style, tiny_tokenizer

__all__ = ["KINDS", "mtp_tensors", "randomise", "tiny_folder"]

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

KINDS = ("deepseek_v3", "deepseek_v2", "deepseek_v2_lite", "llama", "qwen2", "qwen3")

_COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "vocab_size": 512,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
_GQA = {**_COMMON, "num_key_value_heads": 2}
_MLA = {
    **_COMMON,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "beta_fast": 32,
    "beta_slow": 1,
}
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek_v3": (
        "DeepseekV3",
        {
            **_MLA,
            "n_shared_experts": 1,
            "n_group": 4,
            "topk_group": 2,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "rope_parameters": {**_YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "deepseek_v2": (
        "DeepseekV2",
        {
            **_MLA,
            "n_shared_experts": 2,
            "n_group": 4,
            "topk_group": 2,
            "topk_method": "group_limited_greedy",
            "routed_scaling_factor": 16.0,
            "rope_parameters": {**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "deepseek_v2_lite": (
        "DeepseekV2",
        {
            **_MLA,
            "q_lora_rank": None,
            "n_shared_experts": 2,
            "n_group": 1,
            "topk_group": 1,
            "topk_method": "greedy",
            "rope_parameters": {**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "llama": ("Llama", {**_GQA, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", _GQA),
    "qwen3": ("Qwen3", {**_GQA, "head_dim": 24}),
}


_STYLES: dict[str, tuple[Style, str]] = {
    "deepseek_v3": ("deepseek", "deepseek-v3"),
    "deepseek_v2": ("deepseek", "deepseek-v3"),
    "deepseek_v2_lite": ("deepseek", "deepseek-v3"),
    "llama": ("llama3", "llama3"),
    "qwen2": ("chatml", "chatml"),
    "qwen3": ("chatml", "chatml"),
}


def tiny_folder(
    kind: str,
    path: Path,
    *,
    seed: int = 0,
    tokenizer: bool = True,
    style: Style | None = None,
    template: str | None = None,
    mtp_layers: int | None = None,
    **overrides: Any,
) -> Path:
    """Writes a tiny random model into `path` and returns it.

    Args:
        kind: One of `KINDS`.
        path: The folder, made if it does not exist.
        seed: Of the random weights.
        tokenizer: Also write a tiny tokenizer of 512 tokens with a chat template, and name its end token in the config.
        style: Of the tokenizer, where it is not to be the family's own.
        template: A key of `TEMPLATES` (`deepseek-r1` for a model that thinks), where it is not to be the family's own.
        mtp_layers: Multi-token prediction modules to write (transformers writes none): by default one for
            `deepseek_v3`, and none for the others, which have no such thing.
        **overrides: Fields of the `transformers` configuration to replace.
    """
    prefix, family = _FAMILIES[kind]
    fields = dict(family)
    path.mkdir(parents=True, exist_ok=True)
    if tokenizer:
        fields |= _write_tokenizer(path, style or _STYLES[kind][0], template or _STYLES[kind][1])
    fields |= overrides
    if kind == "deepseek_v3":
        mtp_layers = 1 if mtp_layers is None else mtp_layers
        fields["num_mtp_layers"] = mtp_layers
    config = getattr(transformers, f"{prefix}Config")(**fields)
    model = getattr(transformers, f"{prefix}ForCausalLM")(config)
    randomise(model, seed)
    model.save_pretrained(path)
    if mtp_layers:
        _add_mtp(path / "model.safetensors", fields["num_hidden_layers"], mtp_layers, seed)
    return path


def _write_tokenizer(path: Path, style: Style, template: str) -> dict[str, Any]:
    tiny_tokenizer(path, style, chat_template=TEMPLATES[template])
    written = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokens = STYLES[style]
    return {
        "vocab_size": written.get_vocab_size(),
        "bos_token_id": None if tokens.bos is None else written.token_to_id(tokens.bos),
        "eos_token_id": written.token_to_id(tokens.eos),
    }


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Draws every weight anew, so that activations and scores are near one and no bias or norm is trivial."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: torch.Size, std: float, mean: float = 0.0) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * std + mean

    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "norm" in name:
            tensor.copy_(draw(tensor.shape, 0.2, 1.0))
        elif name.endswith("embed_tokens.weight"):
            tensor.copy_(draw(tensor.shape, 0.5))
        elif name.endswith(("bias", "e_score_correction_bias")):
            tensor.copy_(draw(tensor.shape, 0.2))
        elif tensor.ndim >= 2:
            tensor.copy_(draw(tensor.shape, 1.0 / math.sqrt(tensor.shape[-1])))


def _add_mtp(file: Path, layers: int, count: int, seed: int) -> None:
    with safe_open(file, "pt") as reader:
        tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118 (not a dict)
        metadata = reader.metadata()
    tensors |= mtp_tensors(tensors, layers, count, seed)
    save_file(tensors, file, metadata)


def mtp_tensors(main: dict[str, torch.Tensor], layers: int, count: int, seed: int) -> dict[str, torch.Tensor]:
    """Tensors of `count` multi-token prediction modules in the published layout, their blocks like the last layer.

    The embedding and the head are copies of the main model's, as published.
    """
    hidden = main["model.embed_tokens.weight"].shape[1]
    head = main.get("lm_head.weight", main["model.embed_tokens.weight"])
    generator = torch.Generator().manual_seed(seed + 1)
    last = f"model.layers.{layers - 1}."
    tensors: dict[str, torch.Tensor] = {}
    for depth in range(count):
        new = f"model.layers.{layers + depth}."
        for name, tensor in main.items():
            if name.startswith(last):
                tensors[new + name.removeprefix(last)] = tensor[
                    torch.randperm(len(tensor), generator=generator)
                ].clone()
        for name in ("enorm", "hnorm", "shared_head.norm"):
            tensors[f"{new}{name}.weight"] = 1 + 0.2 * torch.randn(hidden, generator=generator)
        projection = torch.randn(hidden, 2 * hidden, generator=generator) / math.sqrt(2 * hidden)
        tensors[f"{new}eh_proj.weight"] = projection
        tensors[f"{new}embed_tokens.weight"] = main["model.embed_tokens.weight"].clone()
        tensors[f"{new}shared_head.head.weight"] = head.clone()
    return tensors

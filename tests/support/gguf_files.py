"""GGUF files for tests: hostile ones written byte by byte, and whole models written as llama.cpp's converter would.

`gguf_from_folder` is the independent side of the conversion: it follows llama.cpp's `convert_hf_to_gguf.py` with the
`gguf`
package's writer (row order of queries and keys, names, metadata), starting from a folder that `transformers` wrote.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

__all__ = ["gguf_from_folder", "raw_gguf", "raw_tensor"]

U32, STRING, ARRAY, BOOL = 4, 8, 9, 7


def text(value: str) -> bytes:
    """A GGUF string."""
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def raw_tensor(name: str, dims: Sequence[int], offset: int, kind: int = 0) -> bytes:
    """A tensor entry of a header; negative and huge numbers are written as they are."""
    body = b"".join(struct.pack("<q" if dim < 2**63 else "<Q", dim) for dim in dims)
    return text(name) + struct.pack("<I", len(dims)) + body + struct.pack("<IQ", kind, offset % 2**64)


def raw_gguf(
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    metadata: Iterable[bytes] = (),
    tensors: Iterable[bytes] = (),
    n_metadata: int | None = None,
    n_tensors: int | None = None,
    data_bytes: int = 4096,
    alignment: int = 32,
) -> bytes:
    """A GGUF file of given parts; counts may be false."""
    metadata, tensors = list(metadata), list(tensors)
    header = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(metadata) if n_metadata is None else n_metadata,
    )
    header += b"".join(metadata) + b"".join(tensors)
    return header + b"\0" * (-len(header) % alignment) + b"\0" * data_bytes


def permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp's order of the rows of a query or key projection: each head's two halves, interleaved."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}


def gguf_name(name: str) -> str:
    """llama.cpp's name of a published tensor."""
    stem, _, kind = name.rpartition(".")
    if kind == "e_score_correction_bias":
        return f"blk.{name.split('.')[2]}.exp_probs_b.bias"
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{_NAMES[part]}.{kind}"
    return f"{_NAMES[stem]}.{kind}"


def gguf_from_folder(
    folder: Path,
    path: Path,
    *,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    pre: str = "llama-bpe",
    split_kv_b: bool = True,
    without: Sequence[str] = (),
    metadata: Mapping[str, int] | None = None,
    more_tensors: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Path:
    """Writes a folder's model as a GGUF file.

    Args:
        folder: Written by `transformers`: Llama, Qwen2, Qwen3, or DeepSeek without prediction modules.
        path: The file to write.
        kind: Of every matrix whose rows fit its blocks; vectors are F32.
        pre: What to call the pre-tokenizer.
        split_kv_b: DeepSeek: by head and with the absorbed widths, as newer converters write it; else unsplit.
        without: Tensors to leave out, by llama.cpp's name.
        metadata: Whole numbers that replace or join what the folder's configuration says; a `tokenizer.` or `split.`
            key is taken as it is, others are the architecture's.
        more_tensors: Written as float32 under llama.cpp's names.
    """
    config = json.loads((folder / "config.json").read_text())
    latent = config["model_type"].startswith("deepseek")
    architecture = "deepseek2" if latent else config["model_type"]
    writer = gguf.GGUFWriter(path, architecture)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    numbers = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "rope.dimension_count": head_dim,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
    }
    if latent:
        numbers |= deepseek_numbers(writer, config, split_kv_b)
    numbers |= {key: value for key, value in (metadata or {}).items() if not key.startswith(("tokenizer.", "split."))}
    for key, value in numbers.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    rope = config.get("rope_parameters") or {}
    writer.add_float32(f"{architecture}.rope.freq_base", rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    add_tokenizer(writer, folder, pre)
    for key, value in (metadata or {}).items():
        if key.startswith(("tokenizer.", "split.")):
            writer.kv_data[0].pop(key, None)
            writer.add_uint32(key, value)
    published = load_file(folder / "model.safetensors")
    tensors = {gguf_name(name): tensor for name, tensor in published.items() if ".mlp.experts." not in name}
    if latent:
        tensors |= stacked_experts(published, config)
        if split_kv_b:
            tensors = with_split_kv_b(tensors, config)
    for target, tensor in tensors.items():
        if target in without:
            continue
        if architecture == "llama" and target.endswith(("attn_q.weight", "attn_k.weight")):
            tensor = permuted(tensor, heads if target.endswith("attn_q.weight") else kv_heads)
        values: npt.NDArray[np.float32] = tensor.float().numpy()
        block = gguf.GGML_QUANT_SIZES[kind][0]
        stored = kind if values.ndim > 1 and values.shape[-1] % block == 0 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(target, gguf.quants.quantize(values, stored), raw_dtype=stored)
    for name, values in (more_tensors or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def deepseek_numbers(writer: gguf.GGUFWriter, config: Mapping[str, Any], split_kv_b: bool) -> dict[str, int]:
    """The numbers of `DeepseekV2Model.set_gguf_parameters`; those that are not whole are written at once."""
    sigmoid = config["model_type"] == "deepseek_v3"
    rope = config["rope_parameters"]
    writer.add_float32("deepseek2.expert_weights_scale", config["routed_scaling_factor"])
    writer.add_bool("deepseek2.expert_weights_norm", config["norm_topk_prob"])
    writer.add_string("deepseek2.rope.scaling.type", "yarn")
    writer.add_float32("deepseek2.rope.scaling.factor", rope["factor"])
    writer.add_float32("deepseek2.rope.scaling.yarn_log_multiplier", 0.1 * rope["mscale_all_dim"])
    key, value = config["qk_nope_head_dim"] + config["qk_rope_head_dim"], config["v_head_dim"]
    widths = {"attention.key_length": key, "attention.value_length": value}
    if split_kv_b:
        widths = {
            "attention.head_count_kv": 1,
            "attention.key_length": config["kv_lora_rank"] + config["qk_rope_head_dim"],
            "attention.value_length": config["kv_lora_rank"],
            "attention.key_length_mla": key,
            "attention.value_length_mla": value,
        }
    if config["q_lora_rank"] is not None:
        widths["attention.q_lora_rank"] = config["q_lora_rank"]
    return widths | {
        "attention.kv_lora_rank": config["kv_lora_rank"],
        "rope.dimension_count": config["qk_rope_head_dim"],
        "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        "expert_gating_func": 2 if sigmoid else 1,
        "expert_count": config["n_routed_experts"],
        "expert_shared_count": config["n_shared_experts"],
        "expert_used_count": config["num_experts_per_tok"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_group_count": config["n_group"],
        "expert_group_used_count": config["topk_group"],
        "leading_dense_block_count": config["first_k_dense_replace"],
    }


def stacked_experts(published: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """llama.cpp's stack of a layer's experts, one tensor a projection."""
    return {
        f"blk.{layer}.ffn_{part}_exps.weight": torch.stack(
            [
                published[f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight"]
                for expert in range(config["n_routed_experts"])
            ]
        )
        for layer in range(config["first_k_dense_replace"], config["num_hidden_layers"])
        for part in ("gate", "up", "down")
    }


def with_split_kv_b(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """`kv_b_proj` split by head, its key part transposed."""
    heads, nope, value = config["num_attention_heads"], config["qk_nope_head_dim"], config["v_head_dim"]
    split = {}
    for name, tensor in tensors.items():
        if "attn_kv_b" in name:
            keys, values = tensor.view(heads, nope + value, -1).split([nope, value], dim=1)
            split[name.replace("attn_kv_b", "attn_k_b")] = keys.transpose(1, 2).contiguous()
            split[name.replace("attn_kv_b", "attn_v_b")] = values.contiguous()
        else:
            split[name] = tensor
    return split


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, pre: str) -> None:
    """Writes a folder's tokenizer into the metadata, as llama.cpp's converter does for byte-level BPE."""
    content = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    added = {entry["id"]: entry for entry in content["added_tokens"]}
    ids = {index: token for token, index in content["model"]["vocab"].items()}
    ids |= {index: entry["content"] for index, entry in added.items()}
    kinds = [
        (gguf.TokenType.CONTROL if added[index]["special"] else gguf.TokenType.USER_DEFINED)
        if index in added
        else gguf.TokenType.NORMAL
        for index in range(len(ids))
    ]
    merges = content["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([ids[index] for index in range(len(ids))])
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    numbers = {token: index for index, token in ids.items()}
    for key, add in (("bos_token", writer.add_bos_token_id), ("eos_token", writer.add_eos_token_id)):
        if settings.get(key) is not None:
            add(numbers[settings[key]])
    writer.add_add_bos_token(bool(settings.get("add_bos_token")))
    if "chat_template" in settings:
        writer.add_chat_template(settings["chat_template"])

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
}


def gguf_name(name: str) -> str:
    """llama.cpp's name of a published tensor."""
    stem, _, kind = name.rpartition(".")
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
    without: Sequence[str] = (),
    metadata: Mapping[str, int] | None = None,
    more_tensors: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Path:
    """Writes a folder's model as a GGUF file.

    Args:
        folder: Written by `transformers`: Llama, Qwen2 or Qwen3.
        path: The file to write.
        kind: Of every matrix whose rows fit its blocks; vectors are F32.
        pre: What to call the pre-tokenizer.
        without: Tensors to leave out, by llama.cpp's name.
        metadata: Whole numbers that replace or join what the folder's configuration says; a `tokenizer.` or `split.`
            key is taken as it is, others are the architecture's.
        more_tensors: Written as float32 under llama.cpp's names.
    """
    config = json.loads((folder / "config.json").read_text())
    architecture = config["model_type"]
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
    } | {key: value for key, value in (metadata or {}).items() if not key.startswith(("tokenizer.", "split."))}
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
    for name, tensor in load_file(folder / "model.safetensors").items():
        target = gguf_name(name)
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

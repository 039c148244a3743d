"""The native decoder against the plain model: every family it takes, long contexts, scattered blocks, any company."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from freehold.kernels import NativeDecoder, Rows, native_decoder, pack, refill
from freehold.kernels.native import decoder as decoder_module
from freehold.model.attention import DenseAttend
from freehold.model.transformer import Transformer
from freehold.model.weights import load_model
from tests.support.native import PYTORCH, use
from tests.support.tiny_models import tiny_folder

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2 with one group": ("qwen2", {"num_key_value_heads": 1, "num_attention_heads": 2}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "head of 64, five queries a group": (
        "llama",
        {"hidden_size": 160, "num_attention_heads": 10, "num_key_value_heads": 2, "head_dim": 64},
    ),
    "head of 128": ("qwen3", {"head_dim": 128, "num_attention_heads": 2, "num_key_value_heads": 2}),
    "head of 80": ("qwen2", {"hidden_size": 320, "num_attention_heads": 4, "num_key_value_heads": 2}),
}
BLOCK = 16
BLOCKS = 128


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: tiny_folder(kind, tmp_path_factory.mktemp("m") / "model", max_position_embeddings=1024, **fields)
        for name, (kind, fields) in MODELS.items()
    }


class Sequences:
    """Some sequences over one cache, read piece by piece."""

    def __init__(self, model: Transformer, lengths: list[int], *, block_size: int = BLOCK, seed: int = 0) -> None:
        made = native_decoder(model)
        assert made is not None
        self.model, self.decoder, self.block_size = model, made, block_size
        config = model.config
        rng = random.Random(seed)
        free = list(range(BLOCKS * BLOCK // block_size))
        rng.shuffle(free)
        self.tables = [[free.pop() for _ in range(-(-length // block_size))] for length in lengths]
        self.ids = [[rng.randrange(config.vocab_size) for _ in range(length)] for length in lengths]
        shape = (config.num_hidden_layers, BLOCKS * BLOCK, 2, config.num_key_value_heads, config.head_dim)
        self.cache = torch.zeros(shape, dtype=model.model.norm.weight.dtype)
        self.done = [0] * len(lengths)
        self.hidden: list[list[Tensor]] = [[] for _ in lengths]

    def read(self, counts: dict[int, int]) -> None:
        """One pass over the next so many tokens of each sequence."""
        positions: list[int] = []
        slots: list[int] = []
        table: list[int] = []
        starts: list[int] = []
        tokens: list[int] = []
        for index, count in counts.items():
            first = self.done[index]
            for place in range(first, first + count):
                positions.append(place)
                slots.append(self.tables[index][place // self.block_size] * self.block_size + place % self.block_size)
                starts.append(len(table))
                tokens.append(self.ids[index][place])
            table.extend(self.tables[index])
        rows = Rows(positions, slots, [place + 1 for place in positions], table, starts)
        with torch.inference_mode():
            x = self.model.model.embed_tokens(torch.tensor(tokens))
            out = self.decoder.run(x, rows, self.cache, self.block_size)
        at = 0
        for index, count in counts.items():
            self.hidden[index].extend(out[at : at + count])
            self.done[index] += count
            at += count

    def result(self, index: int) -> Tensor:
        return torch.stack(self.hidden[index])


def truth(model: Transformer, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        hidden: Tensor = model(torch.tensor(ids), torch.arange(len(ids)), DenseAttend([len(ids)]))
    return hidden


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Transformer, Transformer]:
    """The plain model in float32, and the packed one."""
    plain, packed = load_model(folder, torch.float32), load_model(folder, dtype)
    pack(packed)
    return plain, packed


@pytest.mark.parametrize("name", MODELS)
def test_it_gives_the_plain_model_s_hidden_states(level: str, name: str, folders: dict[str, Path]) -> None:
    del level
    plain, packed = loaded(folders[name])
    lengths = [1, 17, 300, 600]  # the last two go over one and two spans of 256
    run = Sequences(packed, lengths)
    run.read({0: 1, 1: 5, 2: 100, 3: 3})
    run.read({1: 1, 2: 180, 3: 510})
    while any(run.done[index] < length for index, length in enumerate(lengths)):
        run.read({index: 1 for index, length in enumerate(lengths) if run.done[index] < length})
    for index, ids in enumerate(run.ids):
        torch.testing.assert_close(run.result(index), truth(plain, ids), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_in_any_company(level: str, dtype: torch.dtype, folders: dict[str, Path]) -> None:
    del level
    _, packed = loaded(folders["head of 64, five queries a group"], dtype)
    lengths = [290, *([40] * 33)]
    alone = Sequences(packed, lengths)
    alone.read({0: 290})
    in_pieces = Sequences(packed, lengths)
    for count in (1, 31, 32, 33, 1, 100, 92):
        in_pieces.read({0: count})
    in_company = Sequences(packed, lengths)
    for index in range(1, 34):
        in_company.read({index: 7})
    in_company.read(dict.fromkeys(range(1, 32), 1))
    in_company.read({1: 1, 0: 250, **dict.fromkeys(range(2, 34), 1)})
    while in_company.done[0] < 290:
        in_company.read({**dict.fromkeys((1, 5, 9), 0), 0: 1})
    assert torch.equal(in_pieces.result(0), alone.result(0))
    assert torch.equal(in_company.result(0), alone.result(0))


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_of_any_sequences_gives_the_same(data: st.DataObject, folders: dict[str, Path], level: str) -> None:
    del level
    plain, packed = loaded(folders[data.draw(st.sampled_from(sorted(MODELS)))])
    lengths = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=5))
    run = Sequences(
        packed, lengths, block_size=data.draw(st.sampled_from([4, 16, 32])), seed=data.draw(st.integers(0, 9))
    )
    while any(done < length for done, length in zip(run.done, lengths, strict=True)):
        left = {index: length - run.done[index] for index, length in enumerate(lengths) if run.done[index] < length}
        chosen = data.draw(st.lists(st.sampled_from(sorted(left)), min_size=1, unique=True))
        run.read({index: data.draw(st.integers(1, left[index])) for index in chosen})
    for index, ids in enumerate(run.ids):
        torch.testing.assert_close(run.result(index), truth(plain, ids), rtol=2e-5, atol=2e-5)


def test_bfloat16_is_as_near_to_the_truth_as_pytorch_s(
    level: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders["head of 64, five queries a group"]
    plain, packed = loaded(folder, torch.bfloat16)
    run = Sequences(packed, [200])
    run.read({0: 150})
    for _ in range(50):
        run.read({0: 1})
    use(PYTORCH, monkeypatch)
    rival = load_model(folder, torch.bfloat16)
    expected = truth(plain, run.ids[0])
    use(level, monkeypatch)
    error = float((run.result(0).float() - expected).norm() / expected.norm())
    theirs = float((truth(rival, run.ids[0]).float() - expected).norm() / expected.norm())
    assert error < max(1.2 * theirs, 0.005)


def test_a_small_workspace_only_cuts_the_pass(
    level: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    del level
    _, packed = loaded(folders["llama"])
    whole, cut = Sequences(packed, [400]), Sequences(packed, [400])
    whole.read({0: 400})
    monkeypatch.setattr(decoder_module, "_WORKSPACE_BYTES", 1)
    cut.read({0: 400})
    assert torch.equal(whole.result(0), cut.result(0))


def test_new_weights_are_seen(level: str, folders: dict[str, Path], tmp_path: Path) -> None:
    del level
    for name in ("llama", "qwen2 with one group", "qwen3"):
        kind, fields = MODELS[name]
        other = load_model(
            tiny_folder(kind, tmp_path / name, seed=1, max_position_embeddings=1024, **fields), torch.float32
        )
        _, packed = loaded(folders[name])
        run = Sequences(packed, [20])
        refill(packed, other.state_dict())
        run.read({0: 20})
        torch.testing.assert_close(run.result(0), truth(other, run.ids[0]), rtol=2e-5, atol=2e-5)


def test_what_it_does_not_take_goes_to_pytorch(
    level: str, tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = load_model(folders["llama"], torch.float32)
    assert native_decoder(unpacked) is None
    for kind, fields in (("deepseek_v3", {}), ("qwen3", {"head_dim": 24}), ("llama", {"intermediate_size": 100})):
        model = load_model(tiny_folder(kind, tmp_path / kind, **fields), torch.float32)
        pack(model)
        assert native_decoder(model) is None
        with pytest.raises(RuntimeError, match="no native form"):
            NativeDecoder(model)
    use(PYTORCH, monkeypatch)
    _, packed = loaded(folders["llama"])
    assert native_decoder(packed) is None
    use(level, monkeypatch)

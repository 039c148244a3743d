"""Tiny models of each family, loaded once for all tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from freehold.model.transformer import Transformer
from freehold.model.weights import load_model
from freehold.text.tokenizer import Tokenizer
from tests.support.tiny_models import tiny_folder


@dataclass(frozen=True)
class Tiny:
    """A tiny model in float32, its tokenizer and the folder that both come from."""

    folder: Path
    model: Transformer
    tokenizer: Tokenizer


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """Gives the tiny model of a kind."""
    made: dict[str, Tiny] = {}

    def get(kind: str) -> Tiny:
        if kind not in made:
            folder = tiny_folder(kind, tmp_path_factory.mktemp(kind))
            model = load_model(folder, torch.float32, torch.device("cpu"))
            made[kind] = Tiny(folder, model, Tokenizer.from_folder(folder))
        return made[kind]

    return get


@pytest.fixture(scope="session")
def llama(tiny: Callable[[str], Tiny]) -> Tiny:
    """The tiny Llama."""
    return tiny("llama")


@pytest.fixture(scope="session")
def deepseek(tiny: Callable[[str], Tiny]) -> Tiny:
    """The tiny DeepSeek-V3, whose tokenizer has think tags."""
    return tiny("deepseek_v3")

"""What the published configuration of a model in the catalog says of its size, without fetching it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["published_config"]


def published_config(name: str) -> Mapping[str, Any] | None:
    """Fields of the model's `config.json` (`configs.toml`); None for a name that is not there."""
    configs = _configs()
    same = configs["same"].get(name, name)
    return None if same == "same" else configs.get(same)


@cache
def _configs() -> dict[str, Any]:
    return tomllib.loads(resources.files("freehold.hub").joinpath("configs.toml").read_text("utf-8"))

from __future__ import annotations

import subprocess
import sys

import pytest

from freehold.engine.config import EngineConfig
from freehold.errors import ConfigError


def test_a_table_makes_a_configuration() -> None:
    assert EngineConfig.from_dict({"max_batch": 4, "prefix_cache": False}) == EngineConfig(4, prefix_cache=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_batch", 0),
        ("block_size", 257),
        ("prefill_chunk", 1.5),
        ("max_context", True),
        ("threads", -1),
        ("pack", 1),
    ],
)
def test_values_out_of_bounds_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        EngineConfig.from_dict({field: value})


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="'max_batches'"):
        EngineConfig.from_dict({"max_batches": 4})


def test_batch_invariance_needs_chunks_of_a_whole_pass() -> None:
    with pytest.raises(ConfigError, match="prefill_chunk is 8"):
        EngineConfig(prefill_chunk=8, batch_invariant=True)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, freehold.engine, freehold.engine.request, freehold.engine.config, freehold.engine.stats\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

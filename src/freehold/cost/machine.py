"""The machine at hand as an accelerator: memory as the system tells it, speed as measured in a second.

Measured with numpy on all cores: reading memory (a sum over more than any cache holds) and multiplying matrices in
float32. They are what programs get, not what makers state.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from freehold.cost.hardware import Accelerator
from freehold.errors import ConfigError

__all__ = ["this_machine"]

_MEMINFO = Path("/proc/meminfo")
_READ_BYTES = 2**28
_MATRIX = 1024
_ROUNDS = 4


def this_machine() -> Accelerator:
    """Describes this machine's processor and free memory; GPUs are named by the caller.

    Raises:
        ConfigError: The system does not tell its memory.
    """
    return Accelerator(
        name="this machine",
        title=f"this machine, {os.cpu_count()} processors",
        bf16_tflops=_flops() / 1e12,
        memory_gb=_memory_bytes() / 1e9,
        memory_tb_per_s=_bytes_per_second() / 1e12,
        nvlink_gb_per_s=0.0,
        network_gb_per_s=0.0,
        watts=0.0,
        source="memory from the system; reading and float32 products measured now",
        date=datetime.now(UTC).date().isoformat(),
    )


def _memory_bytes() -> int:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError) as error:
            raise ConfigError("This system does not tell its memory; name hardware instead.") from error


def _bytes_per_second() -> float:
    """Of several threads that each sum their own part, since one alone does not fill the memory's channels."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    parts = np.array_split(np.ones(_READ_BYTES // 8), os.cpu_count() or 1)
    with ThreadPoolExecutor(len(parts)) as threads:
        return _READ_BYTES / _fastest(lambda: list(threads.map(np.sum, parts)))


def _flops() -> float:
    import numpy as np

    a = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    return 2 * _MATRIX**3 / _fastest(lambda: a @ a)


def _fastest(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)

"""How many threads a native call uses: torch's number, but no more than there are processors for.

A call's threads meet after every step of a layer. One that has no processor keeps all others waiting, so that more
threads than processors are slower than one.
"""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

import torch

__all__ = ["team_size"]

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def team_size() -> int:
    """Threads for the next call. A result does not depend on it."""
    return max(1, min(torch.get_num_threads(), len(os.sched_getaffinity(0)), _quota()))


@cache
def _quota() -> int:
    """Processors that the control group grants, as for a container; without a limit, those of the machine."""
    try:
        quota, period = _CGROUP.read_text(encoding="ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return os.cpu_count() or 1

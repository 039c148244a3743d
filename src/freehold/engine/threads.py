"""Torch's work off the caller's thread.

GNU's OpenMP keeps a pool of workers for every thread that ever ran a parallel region, until that thread ends. Once
there are more workers than processors, waiting ones go to sleep after each region, and waking them takes longer than a
small product. The engine's own thread has a pool; loading the weights on the caller's would leave a second one behind,
and a decoding step on two cores would take twice as long.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_passing_thread"]

T = TypeVar("T")


def in_passing_thread(work: Callable[[], T]) -> T:
    """Does some work in a thread that ends with it, and gives its result or raises its error."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="freehold-torch") as executor:
        return executor.submit(work).result()

"""Work in a thread that ends with it."""

from __future__ import annotations

import threading

import pytest

from freehold.engine.threads import in_passing_thread


def test_the_result_comes_from_another_thread_that_is_gone() -> None:
    worker = in_passing_thread(threading.current_thread)
    assert worker is not threading.current_thread()
    assert not worker.is_alive()


def test_an_error_is_the_callers() -> None:
    def fail() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        in_passing_thread(fail)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("freehold-torch")]

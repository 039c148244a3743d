"""What runs in the sandbox cannot outlast, outgrow or leave it."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from freehold.errors import SandboxError, SandboxTimeoutError
from freehold.sandbox import Limits, Sandbox

ROOT = Path(__file__).resolve().parent.parent


def make(**limits) -> Sandbox:
    return Sandbox("tests.support.sandbox_targets:attack", Limits(**limits), import_from=ROOT)


@pytest.fixture(scope="module")
def sandbox():
    sandbox = make(seconds=0.6, output_bytes=2**20, input_bytes=2**20)
    yield sandbox
    sandbox.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "value", [None, 7, "naïve 世界 \U0001f642 \ud800", {"a": [1, 2.5, {"b": None}]}, "x" * 900_000]
)
def test_values_go_through_unchanged(sandbox, value):
    assert sandbox.call({"do": "echo", "value": value}) == value


def test_the_worker_is_kept_and_is_another_process(sandbox):
    first = sandbox.call({"do": "pid"})
    assert first != os.getpid()
    assert sandbox.call({"do": "pid"}) == first


@pytest.mark.parametrize("do", ["sleep", "spin"])
def test_work_without_end_is_killed_and_the_next_call_works(sandbox, do):
    pid = sandbox.call({"do": "pid"})
    began = time.monotonic()
    with pytest.raises(SandboxTimeoutError, match=r"0\.6 seconds"):
        sandbox.call({"do": do})
    assert time.monotonic() - began < 5
    assert not alive(pid)
    assert sandbox.call({"do": "pid"}) != pid


@pytest.mark.parametrize("do", ["memory", "hoard"])
def test_memory_is_limited(do):
    with make(seconds=10.0, memory_bytes=128 * 2**20) as sandbox:
        with pytest.raises(SandboxTimeoutError, match="passed its limit: 134217728 bytes of memory"):
            sandbox.call({"do": do})
        assert sandbox.call({"do": "echo", "value": 1}) == 1


def test_output_and_input_are_limited(sandbox):
    assert len(sandbox.call({"do": "output", "bytes": 2**20 - 100})) == 2**20 - 100
    with pytest.raises(SandboxTimeoutError, match="bytes of output"):
        sandbox.call({"do": "output", "bytes": 2**20 + 1})
    with pytest.raises(SandboxError, match="at most 1048576"):
        sandbox.call({"do": "echo", "value": "x" * 2**20})


def test_failures_are_told(sandbox):
    with pytest.raises(SandboxError, match="ValueError: on purpose"):
        sandbox.call({"do": "raise"})
    with pytest.raises(SandboxError, match="not JSON"):
        sandbox.call({"do": "unjson"})
    with pytest.raises(SandboxError, match="exit status 3"):
        sandbox.call({"do": "die"})
    assert sandbox.call({"do": "print"}) == "printed"
    assert sandbox.call({"do": "echo", "value": "in step"}) == "in step"


def test_nothing_is_written(sandbox, tmp_path):
    target = tmp_path / "escaped"
    with pytest.raises(SandboxError, match="File too large"):
        sandbox.call({"do": "write", "path": str(target)})
    assert not target.exists() or target.read_text() == ""


def test_there_is_no_network(sandbox):
    sandbox.call({"do": "pid"})
    if not sandbox.network_isolated:
        pytest.skip("this kernel lets no ordinary user make a network namespace")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(SandboxError, match="Error"):
        sandbox.call({"do": "connect", "port": server.getsockname()[1]})


@pytest.mark.skipif(os.getuid() == 0, reason="the kernel does not limit the processes of root")
def test_no_process_is_started(sandbox):
    with pytest.raises(SandboxError, match="BlockingIOError"):
        sandbox.call({"do": "fork"})


def test_the_environment_is_not_handed_on(monkeypatch):
    monkeypatch.setenv("FREEHOLD_SECRET", "canary")
    with make(seconds=5.0) as fresh:
        environment = fresh.call({"do": "environment"})
        assert "canary" not in environment.values()
        assert set(environment) <= {"LANG", "LC_CTYPE", "OPENBLAS_NUM_THREADS"}
        assert fresh.call({"do": "descriptors"}) <= 8


def test_closing_and_forgetting_end_the_worker():
    sandbox = make()
    pid = sandbox.call({"do": "pid"})
    sandbox.close()
    assert not alive(pid)
    pid = sandbox.call({"do": "pid"})
    del sandbox
    gc.collect()
    assert not alive(pid)


def test_threads_share_one_worker(sandbox):
    results: list[int] = []

    def work(value: int) -> None:
        results.append(sandbox.call({"do": "echo", "value": value}))

    threads = [threading.Thread(target=work, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(8))


def test_a_target_that_does_not_exist_is_named():
    with pytest.raises(SandboxError, match="no_such_function"):
        Sandbox("freehold.errors:no_such_function").call(None)

"""One way to run what is not trusted: a separate process that can be killed, without network, within limits.

    sandbox = Sandbox("freehold.text.rendering:render", Limits(seconds=2))
    sandbox.call({"template": "{{ 1 + 1 }}", "variables": {}})     # {"text": "2"}
    sandbox.close()

The worker runs one function of ours over input of others. It is kept from call to call, because starting it takes a
tenth of a second; a call that passes a limit ends it, and the next starts a new one. Requests and replies are JSON.

What holds it, from the outside in: the caller's deadline and SIGKILL; a network namespace with no interface (where the
kernel lets an ordinary user make one: `Sandbox.network_isolated` says so); limits on address space and CPU time; no
file may be written, no process started (root excepted, whom the kernel does not count), no privilege gained; an empty
environment, and no descriptor but its pipes. It may read what its user may read: run no code of others in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from freehold.errors import SandboxError, SandboxTimeoutError

__all__ = ["Limits", "Sandbox"]

_START_SECONDS = 30.0
_BOOTSTRAP = """
import json, sys
sys.path += json.loads(sys.argv[1])
from freehold.sandbox import _work
_work(*sys.argv[2:])
"""
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take.

    Args:
        seconds: Wall-clock time; CPU time is held to one second more.
        memory_bytes: Address space of the worker, the interpreter included.
        input_bytes: Length of the request as JSON.
        output_bytes: Length of the reply as JSON.
    """

    seconds: float = 5.0
    memory_bytes: int = 512 * 2**20
    input_bytes: int = 64 * 2**20
    output_bytes: int = 64 * 2**20


class Sandbox:
    """A worker process for one function, `module:function`, that takes and gives JSON values.

    Safe to share between threads: calls wait for each other. Nothing is started before the first call.

    Args:
        target: The function; its module is imported in the worker, before the limits are set.
        limits: What one call may take.
        import_from: A further folder of modules, for targets outside this package.
    """

    def __init__(self, target: str, limits: Limits | None = None, *, import_from: Path | None = None) -> None:
        self._target = target
        self._folders = [Path(__file__).resolve().parent.parent, *([import_from] if import_from else [])]
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._network_isolated: bool | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    @property
    def network_isolated(self) -> bool | None:
        """Whether the worker has no network; None before it has been started."""
        return self._network_isolated

    def call(self, request: Any) -> Any:
        """Gives the function's result for `request`.

        Raises:
            SandboxTimeoutError: It passed its limit of time, memory or output.
            SandboxError: The request is too long, the function raised, or the worker died.
        """
        data = json.dumps(request).encode()
        if len(data) > self._limits.input_bytes:
            raise SandboxError(f"The input has {len(data)} bytes; at most {self._limits.input_bytes} are allowed.")
        with self._lock:
            process = self._started()
            try:
                reply = self._exchange(process, data, self._limits.seconds)
            except BaseException:
                self._kill()
                raise
            if reply.get("spent"):
                self._kill()
                raise SandboxTimeoutError(f"The work passed its limit: {reply['error']}.")
        if "error" in reply:
            raise SandboxError(str(reply["error"]))
        return reply["result"]

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker. A later call starts a new one."""
        with self._lock:
            self._kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()
        folders = json.dumps([str(folder) for folder in self._folders])
        command = [
            sys.executable,
            "-I",
            "-B",
            "-c",
            _BOOTSTRAP,
            folders,
            self._target,
            json.dumps(asdict(self._limits)),
        ]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self._process = process
        self._finalizer = weakref.finalize(self, _end, process)
        try:
            ready = self._exchange(process, None, _START_SECONDS)
        except BaseException:
            self._kill()
            raise
        if "error" in ready:
            self._kill()
            raise SandboxError(f"The sandbox for {self._target} could not start: {ready['error']}")
        self._network_isolated = bool(ready["network_isolated"])
        return process

    def _exchange(self, process: subprocess.Popen[bytes], data: bytes | None, seconds: float) -> dict[str, Any]:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        deadline = time.monotonic() + seconds
        if data is not None:
            with contextlib.suppress(BrokenPipeError):  # a dead worker shows when its reply is read
                process.stdin.write(struct.pack(">Q", len(data)) + data)
                process.stdin.flush()
        (size,) = struct.unpack(">Q", self._read(process, process.stdout, 8, deadline))
        if size > self._limits.output_bytes:
            raise SandboxTimeoutError(f"The result has {size} bytes; at most {self._limits.output_bytes} are allowed.")
        reply = json.loads(self._read(process, process.stdout, size, deadline))
        if not isinstance(reply, dict):
            raise SandboxError("The worker gave no proper reply.")
        return reply

    def _read(self, process: subprocess.Popen[bytes], stream: BinaryIO | Any, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while size > 0:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise SandboxTimeoutError(
                        f"The work did not end within {self._limits.seconds:g} seconds and was stopped."
                    )
                part = os.read(stream.fileno(), min(size, 1 << 20))
                if not part:
                    raise _death(process)
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def _kill(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None


def _death(process: subprocess.Popen[bytes]) -> SandboxError:
    code = process.wait()
    if code in (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGSEGV):
        return SandboxTimeoutError(f"The worker was ended by {signal.Signals(-code).name}: it passed its limits.")
    return SandboxError(f"The worker ended with exit status {code} before it gave a result.")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _work(target: str, limits_json: str) -> None:
    """The worker's main loop: confine, load, then answer requests until the input ends."""
    limits = Limits(**json.loads(limits_json))
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    try:
        network_isolated = _leave_network()
        module, _, name = target.partition(":")
        function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
        _confine(limits)
    except BaseException as error:
        _reply(replies, {"error": f"{type(error).__name__}: {error}"}, limits)
        return
    _reply(replies, {"network_isolated": network_isolated}, limits)
    while header := requests.read(8):
        request = json.loads(requests.read(struct.unpack(">Q", header)[0]))
        _limit_cpu(limits)
        try:
            reply: dict[str, Any] = {"result": function(request)}
        except MemoryError:
            reply = {"error": f"{limits.memory_bytes} bytes of memory", "spent": True}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:2000]}
        _reply(replies, reply, limits)


def _reply(stream: BinaryIO | Any, reply: dict[str, Any], limits: Limits) -> None:
    try:
        data = json.dumps(reply).encode()
    except MemoryError:
        data = b'{"error": "its limit of memory", "spent": true}'
    except (TypeError, ValueError, RecursionError) as error:
        data = json.dumps({"error": f"The result is not JSON: {error}"}).encode()
    if len(data) > limits.output_bytes:
        data = json.dumps({"error": f"{len(data)} of {limits.output_bytes} bytes of output", "spent": True}).encode()
    stream.write(struct.pack(">Q", len(data)) + data)
    stream.flush()


def _leave_network() -> bool:
    """Moves this process to a network namespace of its own, with no way out; False where the kernel refuses."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWNET) == 0)
    except (OSError, AttributeError):
        return False


def _confine(limits: Limits) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))


def _limit_cpu(limits: Limits) -> None:
    """Gives this call its CPU time and a second more; then the kernel ends the worker, even if its caller is gone."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + limits.seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))

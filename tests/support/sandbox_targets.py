"""Functions that the tests of the sandbox run inside it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any


def attack(request: dict[str, Any]) -> Any:
    """Does what `request["do"]` names."""
    match request["do"]:
        case "echo":
            return request["value"]
        case "pid":
            return os.getpid()
        case "sleep":
            time.sleep(60)
        case "spin":
            while True:
                pass
        case "memory":
            return len(bytearray(4 * 2**30))
        case "hoard":
            hoard = []
            while True:
                hoard.append("x" * 2**20)
        case "output":
            return "x" * request["bytes"]
        case "die":
            os._exit(3)
        case "print":
            print("this must not reach the caller")
            return "printed"
        case "raise":
            raise ValueError("on purpose")
        case "unjson":
            return {1, 2}
        case "write":
            Path(request["path"]).write_text("escaped")
        case "fork":
            return os.fork()
        case "connect":
            with socket.create_connection(("127.0.0.1", request["port"]), timeout=2):
                return "connected"
        case "environment":
            return dict(os.environ)
        case "descriptors":
            return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return None

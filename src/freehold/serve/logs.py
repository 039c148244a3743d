"""The server's log: one JSON object a line, without prompts, keys, query strings or control codes.

Whatever an exception says may quote a request, so only its type and the places it passed are logged.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from freehold.serve.problems import clean

__all__ = ["JsonFormatter", "log_event", "log_failure", "set_up_logging"]

_LOG = logging.getLogger("freehold.serve")


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line, control codes replaced."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": clean(record.getMessage()),
        }
        for name, value in getattr(record, "freehold", {}).items():
            entry[name] = clean(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[1] is not None:
            entry.update(_failure(record.exc_info[1]))
        return json.dumps(entry, default=str)


def set_up_logging(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Sends the log of the server and of uvicorn to a stream, standard error by default.

    Libraries' own logging is not shown: it may quote requests.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("freehold", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


def log_event(event: str, **facts: Any) -> None:
    """Logs that something happened; `facts` must hold nothing that a user wrote."""
    _LOG.info(event, extra={"freehold": facts})


def log_failure(error: BaseException, during: str, **facts: Any) -> None:
    """Logs an error by its type and place."""
    _LOG.error("failure", extra={"freehold": {"during": during, **facts, **_failure(error)}})


def _failure(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "error": type(error).__name__,
        "at": [f"{frame.filename.rsplit('/site-packages/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames],
    }

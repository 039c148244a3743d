"""Reads typed, bounded fields out of a parsed JSON object; every refusal names the field, its value and the bound."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.errors import ConfigError

__all__ = ["Fields", "read_json_object"]

_MAX_JSON_BYTES = 64 * 2**20


class Fields:
    """A JSON object seen through typed accessors. `null` and an absent key are the same.

    Args:
        values: The object.
        prefix: Stands before the field's name in messages.
    """

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def states(self, name: str) -> bool:
        """Whether the key is there at all, even as `null`."""
        return name in self._values

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An integer from `low` to `high`; without a default the field is required."""
        value = self._values.get(name)
        if value is None:
            return self._required(name) if default is None else default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, value, f"an integer from {low} to {high}")
        return value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """An integer from `low` to `high`, or None."""
        return None if self._values.get(name) is None else self.integer(name, low, high)

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number from `low` to `high`; without a default the field is required."""
        value = self._values.get(name)
        if value is None:
            return self._required(name) if default is None else default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or not math.isfinite(value):
            raise self._wrong(name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def optional_number(self, name: str, low: float, high: float) -> float | None:
        """A finite number from `low` to `high`, or None."""
        return None if self._values.get(name) is None else self.number(name, low, high)

    def boolean(self, name: str, default: bool) -> bool:
        """`true` or `false`."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        """One of the strings known."""
        value = self._values.get(name)
        if value is None:
            return default
        if value not in known:
            raise self._wrong(name, value, f"one of {', '.join(known)}")
        return str(value)

    def _required(self, name: str) -> Any:
        raise ConfigError(f"{self._prefix}{name} is missing; the configuration must state it.")

    def _wrong(self, name: str, value: Any, bound: str) -> ConfigError:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return ConfigError(f"{self._prefix}{name} is {shown}; it must be {bound}.")


def read_json_object(path: Path) -> dict[str, Any]:
    """Parses a JSON file whose top level is an object.

    Raises:
        ConfigError: The file is missing, unreadable, too large, not JSON, or not an object.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise ConfigError(
                f"{path} has {size} bytes; at most {_MAX_JSON_BYTES} are read. It is not a configuration."
            )
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; a model folder as published has one.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON ({error}); fetch it again.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds a {type(value).__name__}; it must be a JSON object.")
    return value

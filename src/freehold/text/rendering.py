"""Renders published chat templates. It runs inside the sandbox (`freehold.sandbox`), never in the server's own process.

The environment is that of transformers: an immutable sandbox, blocks trimmed, `break` and `continue`, the `generation`
tag, and the functions `raise_exception`, `strftime_now` and `tojson`.

Source: transformers, `utils/chat_template_utils.py`, `_compile_jinja_template`.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["MAX_OUTPUT_CHARS", "MAX_TEMPLATE_CHARS", "render"]

MAX_TEMPLATE_CHARS = 2**20
MAX_OUTPUT_CHARS = 16 * 2**20


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks, for training, what the assistant wrote; here only that counts."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class _RaisedError(Exception):
    """The template called `raise_exception`."""


def _raise_exception(message: str) -> NoReturn:
    raise _RaisedError(str(message))


def _strftime_now(format: str) -> str:
    return time.strftime(format)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=4)
def _compiled(text: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals = {
        "range": environment.globals["range"],
        "dict": environment.globals["dict"],
        "namespace": environment.globals["namespace"],
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
    }
    return environment.from_string(text)


def render(request: dict[str, Any]) -> dict[str, str]:
    """Renders `request["template"]` with each of `request["variables"]`, a list of mappings.

    Returns:
        `{"texts": […]}`, or `{"error": …}` where the template is malformed, forbidden or refuses.
    """
    try:
        if len(request["template"]) > MAX_TEMPLATE_CHARS:
            return {"error": f"it has more than {MAX_TEMPLATE_CHARS} characters"}
        template = _compiled(request["template"])
        return {"texts": [_limited(template, variables) for variables in request["variables"]]}  # type: ignore[dict-item]
    except _RaisedError as error:
        return {"error": str(error)[:1000]}
    except SecurityError as error:
        return {"error": f"it does what templates may not do: {error}"[:1000]}
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def _limited(template: Template, variables: dict[str, Any]) -> str:
    parts: list[str] = []
    length = 0
    for part in template.generate(**variables):
        length += len(part)
        if length > MAX_OUTPUT_CHARS:
            raise ValueError(f"its output has more than {MAX_OUTPUT_CHARS} characters")
        parts.append(part)
    return "".join(parts)

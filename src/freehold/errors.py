"""Every error that Freehold raises on purpose, in one hierarchy.

A message names the value that was wrong, the bound it broke and the remedy. The HTTP layer maps
`InvalidRequestError` and its kin to status codes; the command line prints the message and exits 1.
"""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "ConfigError",
    "ContextLengthError",
    "EngineError",
    "FreeholdError",
    "InvalidRequestError",
    "ModelNotFoundError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "PullError",
    "SandboxError",
    "SandboxTimeoutError",
    "StoreError",
    "TemplateError",
    "TokenizerError",
    "UnsupportedError",
    "WeightsError",
]


class FreeholdError(Exception):
    """Base of every deliberate error; its text is meant for the user."""


class ConfigError(FreeholdError):
    """A configuration (`config.json`, a TOML file, a command-line value) cannot be used."""


class WeightsError(FreeholdError):
    """A weights file is malformed, or its tensors do not fit the configuration."""


class TokenizerError(FreeholdError):
    """A tokenizer is missing, malformed, or does not fit the model."""


class TemplateError(FreeholdError):
    """A chat template is refused by the sandbox, or cannot render these messages."""


class ModelNotFoundError(FreeholdError):
    """No model of that name or path is known here."""


class PullError(FreeholdError):
    """A model could not be fetched whole; nothing half-finished is left looking finished."""


class StoreError(FreeholdError):
    """The database or the data folder cannot be used (locked, read-only, full, newer than this version)."""


class SandboxError(FreeholdError):
    """Code that runs in the sandbox failed; the message carries its last words."""


class SandboxTimeoutError(SandboxError):
    """Code that runs in the sandbox passed its limit of time or memory and was killed."""


class EngineError(FreeholdError):
    """The engine failed on its own account, not through the request's fault."""


class OverloadedError(EngineError):
    """The engine's queue is full or it is draining; the same request may succeed later."""


class InvalidRequestError(FreeholdError):
    """A request cannot be honoured as written.

    Args:
        message: What is wrong, the bound, and the remedy.
        param: The field at fault, in the request's own spelling.
        code: A machine-readable reason.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class UnsupportedError(InvalidRequestError):
    """A field or value that is known but not offered; refused by name, never ignored."""


class ContextLengthError(InvalidRequestError):
    """The prompt and the room asked for do not fit the model's context; nothing is truncated silently."""


class AuthenticationError(FreeholdError):
    """No key or cookie, or one that is not known."""


class PermissionDeniedError(FreeholdError):
    """Known, but not allowed to do this."""


class NotFoundError(FreeholdError):
    """No such object for this user (also where it exists for another)."""

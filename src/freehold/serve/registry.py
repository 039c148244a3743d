"""Which models are served, under which names, and what each can do."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from freehold.engine.request import Request, Update
from freehold.engine.stats import EngineStats
from freehold.errors import ConfigError, ModelNotFoundError
from freehold.types import Message, SamplingParams

__all__ = ["DEEPSEEK_ALIASES", "ModelRegistry", "Runner", "Served", "ServedModel", "UpdateStream"]

DEEPSEEK_ALIASES: Mapping[str, bool] = {"deepseek-chat": False, "deepseek-reasoner": True}
"""DeepSeek's ids of old, each with whether it thinks; they mean the default model unless an alias says otherwise."""

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}")


class UpdateStream(Protocol):
    """One request's updates as they come."""

    def __aiter__(self) -> AsyncIterator[Update]: ...
    async def aclose(self) -> None:
        """Aborts what is not finished."""
        ...


class Runner(Protocol):
    """Runs requests on an engine of its own thread."""

    @property
    def alive(self) -> bool:
        """Whether requests are taken in."""
        ...

    @property
    def stats(self) -> EngineStats:
        """The engine's counters and gauges."""
        ...

    def stream(self, request: Request) -> UpdateStream:
        """Starts a request, within the event loop, and gives its updates."""
        ...


class ServedModel(Protocol):
    """What the server needs of a `LanguageModel`."""

    @property
    def name(self) -> str: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def chat_format(self) -> Any: ...
    @property
    def runner(self) -> Runner: ...
    @property
    def defaults(self) -> SamplingParams: ...
    @property
    def context_length(self) -> int: ...
    def request(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        thinking: bool | None,
        tools: Sequence[Mapping[str, Any]] | None,
        budget: int | None,
        user: str,
        request_id: str,
    ) -> Request: ...


@dataclass(frozen=True, slots=True)
class Served:
    """A model as one id names it.

    Args:
        id: The id that was asked for.
        model: The model that answers.
        thinking: Whether the id itself asks for thinking (True), for none (False), or leaves it to the model (None).
    """

    id: str
    model: ServedModel
    thinking: bool | None = None

    @property
    def usable(self) -> bool:
        """Whether the model can do what the id asks; one that always thinks can have its thinking closed at once."""
        return self.thinking is not True or self.can_think

    @property
    def can_think(self) -> bool:
        """Whether the model thinks at all."""
        return bool(self.model.chat_format.thinking != "never")


class ModelRegistry:
    """The models of one server.

    Args:
        models: Loaded models; the first is the default, which DeepSeek's ids and the app mean.
        aliases: Further ids, each with the name of a model among `models`.

    Raises:
        ConfigError: No model, a name given twice, an alias to a model that is not served, or an id of wrong form.
    """

    def __init__(self, models: Sequence[ServedModel], aliases: Mapping[str, str] | None = None) -> None:
        if not models:
            raise ConfigError("no model to serve; give at least one.")
        self._models: dict[str, ServedModel] = {}
        for model in models:
            self._check_id(model.name)
            if model.name in self._models:
                raise ConfigError(f"model {model.name!r} is given twice; serve it once, with aliases.")
            self._models[model.name] = model
        self._aliases: dict[str, tuple[str, bool | None]] = {}
        for alias, thinks in DEEPSEEK_ALIASES.items():
            if alias not in self._models:
                self._aliases[alias] = (models[0].name, thinks)
        for alias, target in (aliases or {}).items():
            self._check_id(alias)
            if target not in self._models:
                known = ", ".join(self._models)
                raise ConfigError(f"alias {alias!r} names {target!r}, which is not served; served are: {known}.")
            if alias in self._models:
                raise ConfigError(f"alias {alias!r} is a served model's own name; choose another.")
            self._aliases[alias] = (target, DEEPSEEK_ALIASES.get(alias))
        self.started = int(time.time())

    @staticmethod
    def _check_id(name: str) -> None:
        if not _MODEL_ID.fullmatch(name):
            raise ConfigError(f"model id {name!r} is refused; use at most 200 letters, digits and ._:@/+-.")

    @property
    def default(self) -> ServedModel:
        """The model that is meant where none is named."""
        return next(iter(self._models.values()))

    @property
    def models(self) -> Iterable[ServedModel]:
        """Every served model once."""
        return self._models.values()

    def resolve(self, model_id: str) -> Served:
        """Finds the model behind an id.

        Raises:
            ModelNotFoundError: No such id; the message names those there are.
        """
        if model_id in self._models:
            return Served(model_id, self._models[model_id])
        if model_id in self._aliases:
            target, thinking = self._aliases[model_id]
            return Served(model_id, self._models[target], thinking)
        shown = model_id if _MODEL_ID.fullmatch(model_id) else "of that name"
        raise ModelNotFoundError(f"No model {shown} is served here; served are: {', '.join(self._ids())}.")

    def _ids(self) -> list[str]:
        return [*self._models, *self._aliases]

    def listing(self) -> list[dict[str, Any]]:
        """Every id as an OpenAI model object, the default model's first, with what it can do under `freehold`.

        Ids that ask for a way of thinking that their model does not have are left out: nothing could answer to them.
        """
        return [self.describe(served.id) for served in map(self.resolve, self._ids()) if served.usable]

    def describe(self, model_id: str) -> dict[str, Any]:
        """One id as an OpenAI model object.

        Raises:
            ModelNotFoundError: No such id.
        """
        served = self.resolve(model_id)
        chat_format = served.model.chat_format
        facts: dict[str, Any] = {
            "thinking": chat_format.thinking,
            "context_length": served.model.context_length,
            "tools": bool(chat_format.supports_tools),
        }
        if served.id != served.model.name:
            facts["alias_of"] = served.model.name
        return {"id": served.id, "object": "model", "created": self.started, "owned_by": "freehold", "freehold": facts}

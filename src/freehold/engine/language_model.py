"""A model ready to talk: weights, tokenizer, chat format and an engine behind one object.

with LanguageModel.from_folder(folder) as model:
    print(model.chat("What is the capital of France?").text)
    for update in model.stream("Tell me more."):
        print(update.text, end="", flush=True)
    model.generate("Once upon a time", max_tokens=20, temperature=0).text
    model.logits(model.tokenizer.encode("Hello"))       # (T, V), float32
"""

from __future__ import annotations

import json
import operator
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from freehold.engine.collect import Collector, with_tool_calls
from freehold.engine.config import EngineConfig
from freehold.engine.conversation import answer_reserve, conversation_request, new_request_id
from freehold.engine.engine import Engine
from freehold.engine.placement import choose_device, choose_dtype
from freehold.engine.request import Request
from freehold.engine.runner import EngineRunner
from freehold.engine.sampling import recommended, with_changes
from freehold.engine.streams import SyncStream
from freehold.engine.threads import in_passing_thread
from freehold.errors import ConfigError, ContextLengthError, InvalidRequestError
from freehold.model.attention import DenseAttend
from freehold.model.config import ModelConfig
from freehold.model.transformer import Transformer
from freehold.model.weights import load_model
from freehold.text.chat import ChatFormat, chat_format
from freehold.text.tokenizer import Tokenizer
from freehold.types import Completion, Message, SamplingParams

__all__ = ["LanguageModel"]

_LOGIT_ROWS = 512


class LanguageModel:
    """One model in memory, with an engine that runs in a thread of its own. Safe for threads.

    Args:
        model: The weights.
        tokenizer: Its tokenizer.
        chat: Its chat format.
        name: By which errors and answers call it.
        defaults: Recommended sampling, used where a call names nothing else.
        engine: Sizes and switches of the engine.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        chat: ChatFormat,
        *,
        name: str,
        defaults: SamplingParams | None = None,
        engine: EngineConfig | None = None,
    ) -> None:
        self.name = name
        self.tokenizer = tokenizer
        self.chat_format = chat
        self.defaults = defaults or SamplingParams()
        self._model = model
        self._device = model.model.embed_tokens.weight.device
        self.engine = Engine(model, tokenizer, engine)
        self.runner = EngineRunner(self.engine)
        self._finalizer = weakref.finalize(self, self.runner.stop, drain=False)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        dtype: str = "bfloat16",
        device: str | None = None,
        engine: EngineConfig | None = None,
        *,
        name: str | None = None,
    ) -> Self:
        """Loads a Hugging Face folder, pulled by Freehold or not.

        Args:
            path: The folder.
            dtype: `bfloat16`, `float32` (exact, and the same in every batch; slower), on a GPU `float16`, or `auto`:
                float32 for small models on a CPU, else bfloat16.
            device: `cpu`, `cuda` or `cuda:N`; None takes the GPU where there is one.
            engine: Sizes and switches of the engine.
            name: By which to call it; None takes the name in `freehold.json`, else the folder's.

        Raises:
            ConfigError: A setting is unknown, or the model's configuration is malformed.
            WeightsError: The weights are malformed or do not fit the configuration.
            TokenizerError: The tokenizer is missing, malformed or of another model.
        """
        folder = Path(path)
        where = choose_device(device)
        kind = choose_dtype(dtype, where, folder)
        meta = _metadata(folder)
        tokenizer = Tokenizer.from_folder(folder)
        config = ModelConfig.from_folder(folder)
        tokenizer.check_fits(config.vocab_size)
        format_name = meta.get("chat_format")
        chat = chat_format(tokenizer, format_name if isinstance(format_name, str) else None, meta)
        called = name or str(meta.get("name") or folder.name)
        defaults = recommended(folder)
        return in_passing_thread(
            lambda: cls(load_model(folder, kind, where), tokenizer, chat, name=called, defaults=defaults, engine=engine)
        )

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self._model.config

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together, as the engine is set up."""
        return self.engine.context_length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._device

    def logits(self, token_ids: Iterable[int]) -> Tensor:
        """Gives the scores of every next token after each of `token_ids`: (T, V), float32. Leaves the cache alone.

        Raises:
            InvalidRequestError: No token, one that the model does not have, or what is no token id.
            ContextLengthError: More tokens than the context holds.
        """
        ids = _token_ids(token_ids)
        self.engine.check_tokens(ids)
        if len(ids) > self.config.context_length:
            raise ContextLengthError(
                f"There are {len(ids):,} tokens; the model's context holds {self.config.context_length:,}.",
                param="prompt",
            )
        return in_passing_thread(lambda: self._logits(ids))

    @torch.no_grad()
    def _logits(self, ids: tuple[int, ...]) -> Tensor:
        tokens_T = torch.tensor(ids, device=self._device)
        positions_T = torch.arange(len(ids), device=self._device)
        hidden_TD = self._model(tokens_T, positions_T, DenseAttend([len(ids)]))
        return torch.cat([self._model.logits(rows) for rows in hidden_TD.split(_LOGIT_ROWS)])

    def generate(self, prompt: str | Sequence[int], **sampling: Any) -> Completion:
        """Continues a text as it stands, without a chat format.

        Args:
            prompt: Text (the model's first token is put before it where it has one), or token ids taken as they are.
            **sampling: Fields of `SamplingParams`; others keep the model's recommended values.

        Raises:
            InvalidRequestError: A value out of bounds, what is no token id, or `n` other than 1 (use `collect`).
            ContextLengthError: The prompt is too long.
        """
        ids = [*self.tokenizer.start_ids, *self.tokenizer.encode(prompt)] if isinstance(prompt, str) else prompt
        request = Request(new_request_id(), _token_ids(ids), with_changes(self.defaults, sampling))
        return self._single(request)

    def chat(
        self,
        messages: str | Sequence[Message],
        thinking: bool | None = None,
        *,
        budget: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Any,
    ) -> Completion:
        """Answers a question or goes on with a conversation.

        Args:
            messages: A question, or the messages so far.
            thinking: Switch thinking on or off; None leaves the model's habit.
            budget: Most tokens of thinking, fewer than `max_tokens`; then it is closed and the answer follows.
            tools: Functions the model may ask to have called, as OpenAI's API describes them.
            **sampling: Fields of `SamplingParams`; others keep the model's recommended values.

        Raises:
            InvalidRequestError: The model cannot do what is asked, or a value is out of bounds.
            ContextLengthError: The conversation is too long.
        """
        params = with_changes(self.defaults, sampling)
        reserve = answer_reserve(budget, params)
        answer = self._single(
            self.request(messages, params, thinking=thinking, tools=tools, budget=budget, answer_reserve=reserve)
        )
        syntax = self.chat_format.tool_syntax
        return answer if not tools or syntax is None else with_tool_calls(answer, syntax, tools)

    def stream(
        self,
        messages: str | Sequence[Message],
        thinking: bool | None = None,
        *,
        budget: int | None = None,
        **sampling: Any,
    ) -> SyncStream:
        """As `chat`, in updates as they come. Close the stream, or leave its `with` block, to stop early.

        The stream keeps the model in memory until it has been read or closed and is dropped.
        """
        params = with_changes(self.defaults, sampling)
        reserve = answer_reserve(budget, params)
        request = self.request(messages, params, thinking=thinking, budget=budget, answer_reserve=reserve)
        return self.runner.stream_sync(request, keep=self)

    def request(
        self,
        messages: str | Sequence[Message],
        params: SamplingParams | None = None,
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        budget: int | None = None,
        answer_reserve: int = 0,
        user: str = "",
        request_id: str | None = None,
    ) -> Request:
        """Makes an engine request of a conversation.

        Args:
            messages: A question, or the messages so far.
            params: How to sample; None takes the model's recommended values.
            thinking: As in `chat`.
            tools: As in `chat`.
            budget: Most tokens of thinking, 0 or more.
            answer_reserve: Tokens of `max_tokens` kept back for the answer, where the model thinks.
            user: Whose prefix cache to use.
            request_id: None makes one up.

        Raises:
            InvalidRequestError: `thinking` or `budget` asks for what the model cannot do (the message names it), or a
                value is out of bounds.
        """
        return conversation_request(
            self.chat_format,
            messages,
            params or self.defaults,
            model=self.name,
            thinking=thinking,
            tools=tools,
            budget=budget,
            answer_reserve=answer_reserve,
            user=user,
            request_id=request_id,
        )

    def collect(self, request: Request) -> list[Completion]:
        """Runs a request to its end and gives its `n` answers."""
        collector = Collector(request)
        with self.runner.stream_sync(request) as updates:
            for update in updates:
                collector.add(update)
        return collector.completions()

    def close(self) -> None:
        """Aborts what runs and ends the engine's thread. The object cannot be used after."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _single(self, request: Request) -> Completion:
        if request.params.n != 1:
            raise InvalidRequestError(
                f"n is {request.params.n}; chat and generate give one answer. Use collect(request) for more.", param="n"
            )
        return self.collect(request)[0]


def _token_ids(values: Iterable[Any]) -> tuple[int, ...]:
    """Plain integers of whatever counts as integers: numpy's and torch's too."""
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError as error:
        raise InvalidRequestError(
            f"Token ids must be whole numbers, in one flat sequence ({error}).", param="prompt"
        ) from error


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "freehold.json"
    if not path.is_file():
        return {}
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Fetch the model again.") from error
    if not isinstance(meta, dict):
        raise ConfigError(f"{path} is not a JSON object. Fetch the model again.")
    return meta

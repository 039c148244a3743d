"""What a fleet can serve at most, by the roofline: whichever of arithmetic, memory and room runs out first.

These are bounds that no implementation exceeds, not forecasts; `efficiency` says how much of the bound to count on.

Shapes: B sequences at once on one replica, S tokens of context.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.cost.hardware import Accelerator
from freehold.cost.model import FORMATS, cache_numbers, model_cost
from freehold.cost.shape import Shape
from freehold.cost.walk import Part, attentions, walk
from freehold.errors import ConfigError

__all__ = ["Serving", "serving"]

_GIGA = 1e9
_TERA = 1e12
_RESERVED = 0.1
"""Of each accelerator's memory, what activations, buffers and the runtime take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One replica: `gpus` accelerators that hold a model together.

    Args:
        fits: Whether weights and caches of the batch fit in the replica's memory.
        weight_bytes: In the format asked for.
        cache_bytes: Of the whole batch at its context, in bfloat16.
        largest_batch: Sequences of this context that fit.
        prefill_tokens_per_second: Prompt tokens read, at most.
        decode_tokens_per_second: Tokens written over the whole batch, at most; 0 where it does not fit.
        decode_tokens_per_second_each: Likewise, of each sequence.
        bound: What decoding runs out of: `memory` or `arithmetic`.
        usd_per_mtok_input, usd_per_mtok_output: At the price of a GPU hour, if each did nothing else; None without one.
    """

    fits: bool
    weight_bytes: int
    cache_bytes: int
    largest_batch: int
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    decode_tokens_per_second_each: float
    bound: str
    usd_per_mtok_input: float | None
    usd_per_mtok_output: float | None


def serving(
    shape: Shape,
    chip: Accelerator,
    *,
    gpus: int,
    batch: int,
    context: int,
    weights: str = "bfloat16",
    efficiency: float = 1.0,
    usd_per_gpu_hour: float | None = None,
) -> Serving:
    """Bounds what one replica can do.

    Args:
        shape: Of the model.
        chip: The accelerator.
        gpus: How many hold the model together.
        batch: Sequences written at the same time.
        context: Tokens that each of them has in the cache.
        weights: Their format, one of `FORMATS`. 8-bit and smaller ones are multiplied in FP8 where the chip has it.
        efficiency: Share of the bound to count on, over 0 and up to 1.
        usd_per_gpu_hour: Price, for dollars per million tokens.

    Raises:
        ConfigError: A number is out of its bounds, or the format is unknown.
    """
    for name, value in (("gpus", gpus), ("batch", batch), ("context", context)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
    if not 0 < efficiency <= 1:
        raise ConfigError(f"efficiency is {efficiency:g}; it must be over 0 and at most 1.")
    if usd_per_gpu_hour is not None and not usd_per_gpu_hour > 0:
        raise ConfigError(f"usd_per_gpu_hour is {usd_per_gpu_hour:g}; it must be positive.")
    if weights not in FORMATS:
        raise ConfigError(f"The format {weights!r} is not known; known are {', '.join(FORMATS)}.")
    size = FORMATS[weights]
    parts = [part for part in walk(shape) if not part.mtp]
    weight_bytes = round(sum(part.params for part in parts) * size)
    cache_each = cache_numbers(shape) * 2 * context
    room = gpus * chip.memory_gb * _GIGA * (1 - _RESERVED) - weight_bytes
    largest = max(0, int(room // cache_each))
    narrow = size < FORMATS["bfloat16"] and chip.fp8_tflops is not None
    flops = gpus * ((chip.fp8_tflops or 0.0) if narrow else chip.bf16_tflops) * _TERA * efficiency
    bandwidth = gpus * chip.memory_tb_per_s * _TERA * efficiency
    prefill = flops / model_cost(shape, context).forward_flops_per_token
    matrices = sum(part.flops for part in parts)
    attention = sum(a.flops(context) for a in attentions(shape) if not a.mtp)
    computing = batch * (matrices + attention) / flops
    reading = (sum(_read(part, batch) for part in parts) * size + batch * _cache_read(shape, context)) / bandwidth
    fits = batch <= largest
    decode = batch / max(computing, reading) if fits else 0.0
    price = None if usd_per_gpu_hour is None else usd_per_gpu_hour * gpus / 3600
    return Serving(
        fits=fits,
        weight_bytes=weight_bytes,
        cache_bytes=cache_each * batch,
        largest_batch=largest,
        prefill_tokens_per_second=prefill,
        decode_tokens_per_second=decode,
        decode_tokens_per_second_each=decode / batch,
        bound="arithmetic" if computing > reading else "memory",
        usd_per_mtok_input=None if price is None else price / prefill * 1e6,
        usd_per_mtok_output=None if price is None or not decode else price / decode * 1e6,
    )


def _read(part: Part, batch: int) -> float:
    """Numbers of a part that a step of `batch` tokens reads: of experts, as many as are expected to be chosen by any.

    Each token chooses `used` of `copies` evenly, so that one is left out by all with (1 - used / copies) ^ batch.
    """
    if part.kind == "embedding":
        return float(part.columns * batch)
    each = part.rows * part.columns
    if part.copies == 1:
        return float(each)
    return each * part.copies * (1 - (1 - part.used / part.copies) ** batch)


def _cache_read(shape: Shape, context: int) -> float:
    """Bytes of cache that one token reads: all, or what sparse attention chooses and all of the indexer's keys."""
    seen = min(context, shape.index_top_k) if shape.index_top_k else context
    width = shape.kv_lora_rank + shape.qk_rope_head_dim if shape.latent else 2 * shape.kv_heads * shape.head_size
    index = shape.index_head_size * context if shape.index_heads else 0
    return 2.0 * shape.layers * (width * seen + index)

"""How positions are turned into rotations, as `config.json` states it; without torch.

Both spellings are read: `rope_theta` beside `rope_scaling` (transformers 4 and every published model), and the one
`rope_parameters` of transformers 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from freehold.errors import ConfigError
from freehold.model.fields import Fields

__all__ = ["RopeConfig", "RopeType", "rope_config"]

RopeType = Literal["default", "linear", "dynamic", "yarn", "llama3"]

_THETA_DEFAULT = 10000.0
_KEYS: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor", "original_max_position_embeddings"}),
    "yarn": frozenset(
        {
            "factor",
            "original_max_position_embeddings",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "attention_factor",
            "attn_factor",
            "truncate",
            "finetuned",
        }
    ),
    "llama3": frozenset({"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"}),
}
_COMMON_KEYS = frozenset({"type", "rope_type", "rope_theta", "partial_rotary_factor"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeConfig:
    """Rotary embedding and its scaling to long contexts; field names are the published ones.

    Args:
        rope_type: `default`; `linear` (positions divided by `factor`); `dynamic` (stretches only beyond
            `max_position_embeddings`, which are refused anyway: within them it is `default`); `yarn`; `llama3`.
        rope_theta: Base of the geometric series of wavelengths.
        factor: How many times longer the context became.
        original_max_position_embeddings: Length before the extension, in tokens (yarn, llama3).
        beta_fast: Rotations over the original length above which a dimension is left as it is (yarn).
        beta_slow: Rotations below which a dimension is interpolated whole (yarn).
        mscale: Numerator's weight in the correction of cos and sin (yarn); None where not given.
        mscale_all_dim: Its denominator's weight, and the one that corrects MLA's softmax scale; None where not given.
        attention_factor: The correction of cos and sin itself, where it is not to be inferred.
        attn_factor: Multiplies the inferred one (yarn), as in DeepSeek-R1-0528-Qwen3-8B, where the product is 1.
        truncate: Round the ramp's ends to whole dimensions (yarn).
        low_freq_factor: Original length over the wavelength from which on dimensions are interpolated whole (llama3).
        high_freq_factor: The same, up to which dimensions are left as they are (llama3).
    """

    rope_type: RopeType = "default"
    rope_theta: float = _THETA_DEFAULT
    factor: float = 1.0
    original_max_position_embeddings: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    attention_factor: float | None = None
    attn_factor: float = 1.0
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    @property
    def cos_sin_scale(self) -> float:
        """What cos and sin are multiplied with.

        Source: YaRN (arXiv 2309.00071), section 3.4, and the code published with it (`attn_factor`); with `mscale` and
        `mscale_all_dim` as in that of DeepSeek-V2 and V3 (`_mscale` of `DeepseekV3YarnRotaryEmbedding`).
        """
        if self.rope_type != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            inferred = yarn_mscale(self.factor, self.mscale) / yarn_mscale(self.factor, self.mscale_all_dim)
        else:
            inferred = yarn_mscale(self.factor, 1.0)
        return self.attn_factor * inferred

    @property
    def softmax_scale_factor(self) -> float:
        """What MLA's softmax scale is multiplied with: (0.1 mscale_all_dim ln(factor) + 1)^2; 1.874 for DeepSeek-V3.

        Source: DeepSeek-V3, `inference/model.py` (`MLA.softmax_scale`); report section 4.3.
        """
        if self.rope_type != "yarn" or not self.mscale_all_dim:
            return 1.0
        return yarn_mscale(self.factor, self.mscale_all_dim) ** 2


def yarn_mscale(factor: float, mscale: float) -> float:
    """0.1 mscale ln(factor) + 1, and 1 where nothing is stretched (`yarn_get_mscale`)."""
    return 1.0 if factor <= 1.0 else 0.1 * mscale * math.log(factor) + 1.0


def rope_config(config: Mapping[str, Any], max_position_embeddings: int) -> RopeConfig:
    """Reads the rotary settings of a whole `config.json`.

    Args:
        config: The parsed file.
        max_position_embeddings: The model's length, for scalings that do not state the original one.

    Raises:
        ConfigError: An unknown type or key, a number out of bounds, or two spellings that contradict each other.
    """
    new, old = config.get("rope_parameters"), config.get("rope_scaling")
    if new is not None and old is not None and new != old:
        raise ConfigError("config.json has both rope_parameters and rope_scaling, and they differ; remove one of them.")
    stated = new if new is not None else old if old is not None else {}
    if not isinstance(stated, Mapping):
        raise ConfigError(f"rope_parameters is {stated!r}; it must be an object or null.")
    rope_type = stated.get("rope_type", stated.get("type", "default"))
    if rope_type not in get_args(RopeType):
        if any(isinstance(value, Mapping) for value in stated.values()):
            raise ConfigError("rope_parameters differ by type of layer, which no family offered here has.")
        known = ", ".join(get_args(RopeType))
        raise ConfigError(f"rope_scaling has the type {rope_type!r}, which is not implemented; known are {known}.")
    unknown = sorted(set(stated) - _KEYS[rope_type] - _COMMON_KEYS)
    if unknown:
        raise ConfigError(
            f"rope_scaling of type {rope_type} has unknown keys {unknown}; known: {sorted(_KEYS[rope_type])}."
        )
    fields = Fields({"rope_theta": config.get("rope_theta"), **stated}, "rope_parameters.")
    partial = stated.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if partial not in (None, 1, 1.0):
        raise ConfigError(f"partial_rotary_factor is {partial!r}; only 1 (the whole head rotates) is implemented.")
    theta = fields.number("rope_theta", 1.0, 1e12, _THETA_DEFAULT)
    if rope_type == "default":
        return RopeConfig(rope_theta=theta)
    factor = fields.number("factor", 1.0, 1e4)
    if rope_type in ("linear", "dynamic"):
        return RopeConfig(rope_type=rope_type, rope_theta=theta, factor=factor)
    original = fields.integer("original_max_position_embeddings", 1, 2**21, max_position_embeddings)
    if rope_type == "llama3":
        low = fields.number("low_freq_factor", 1e-3, 1e3)
        high = fields.number("high_freq_factor", 1e-3, 1e3)
        if high <= low:
            raise ConfigError(f"high_freq_factor is {high:g}; it must be over low_freq_factor, {low:g}.")
        return RopeConfig(
            rope_type="llama3",
            rope_theta=theta,
            factor=factor,
            original_max_position_embeddings=original,
            low_freq_factor=low,
            high_freq_factor=high,
        )
    if theta <= 1.0:
        raise ConfigError(f"rope_theta is {theta:g}; yarn needs a base over 1.")
    if None not in (stated.get("attention_factor"), stated.get("attn_factor")):
        raise ConfigError("rope_scaling has both attention_factor and attn_factor; remove one of them.")
    return RopeConfig(
        rope_type="yarn",
        rope_theta=theta,
        factor=factor,
        original_max_position_embeddings=original,
        beta_fast=fields.number("beta_fast", 1e-3, 1e6, 32.0),
        beta_slow=fields.number("beta_slow", 1e-3, 1e6, 1.0),
        mscale=fields.optional_number("mscale", 0.0, 100.0),
        mscale_all_dim=fields.optional_number("mscale_all_dim", 0.0, 100.0),
        attention_factor=fields.optional_number("attention_factor", 1e-6, 100.0),
        attn_factor=fields.number("attn_factor", 1e-6, 100.0, 1.0),
        truncate=fields.boolean("truncate", True),
    )

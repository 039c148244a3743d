"""The models that Freehold knows by name: `catalog.toml` of the package, and the user's own beside the data.

catalog = load_catalog()
catalog.models["deepseek-r1"].source     # "hf:deepseek-ai/DeepSeek-R1"
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any, get_type_hints

from freehold.errors import ConfigError, PullError
from freehold.hub.home import home
from freehold.hub.names import check_name, check_repository, check_revision

__all__ = ["DEFAULT_MODEL", "Catalog", "CatalogModel", "WheelMember", "generation_defaults", "load_catalog"]

DEFAULT_MODEL = "smollm2-135m-instruct"

_SOURCE = re.compile(r"hf:[^/@\s]+/[^/@\s]+|wheel:[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9._+!-]*")
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_POSITIVE = ("context_length", "size_bytes", "download_bytes", "member_bytes", "parameters")


@dataclass(frozen=True, slots=True)
class WheelMember:
    """Which file of a wheel holds a model: its exact name in the wheel, its hash and its size."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model that can be pulled by its name.

    Args:
        name: The key of its table.
        title: Its makers' name for it.
        source: `hf:org/repo`, or `wheel:PROJECT==VERSION` with `member`.
        revision: Of the source; `main` on the hub means that no commit is pinned.
        licence: Of the weights.
        architecture: `architectures[0]` of its configuration.
        context_length: Tokens that its makers state.
        size_bytes: Of the folder once pulled.
        size_approximate: Whether `size_bytes` is computed from the parameter count.
        chat_format: A native chat format; None leaves it to the model's own template.
        parameters: How many values, without multi-token prediction modules.
        sha256: Of the member of a wheel; None for the hub, which tells the hashes of its files itself.
        member: Which file of a wheel holds the model.
        member_bytes: Its size.
        download_bytes: What is fetched, where that differs from `size_bytes`.
        sampling: The makers' recommendation for `generation_config.json`.
    """

    name: str
    title: str
    source: str
    revision: str
    licence: str
    architecture: str
    context_length: int
    size_bytes: int
    size_approximate: bool = False
    chat_format: str | None = None
    parameters: int | None = None
    sha256: str | None = None
    member: str | None = None
    member_bytes: int | None = None
    download_bytes: int | None = None
    sampling: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for key in _POSITIVE:
            value = getattr(self, key)
            if value is not None and not 1 <= value < 2**63:
                raise ConfigError(f"catalog: {self.name}.{key} is {value}; it must be at least 1.")
        if not _SOURCE.fullmatch(self.source):
            raise ConfigError(
                f"catalog: {self.name}.source is {self.source!r}; write hf:org/repo or wheel:PROJECT==VERSION."
            )
        try:
            check_revision(self.revision)
            if self.source.startswith("hf:"):
                check_repository(self.source.removeprefix("hf:"))
        except PullError as error:
            raise ConfigError(f"catalog: {self.name}: {error}") from error
        if self.source.startswith("wheel:") and self.wheel_member is None:
            raise ConfigError(
                f"catalog: {self.name} comes from a wheel; member, member_bytes and sha256 must be given."
            )
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ConfigError(
                f"catalog: {self.name}.sha256 is {self.sha256!r}; it must be 64 lower-case hexadecimal digits."
            )

    @property
    def wheel_member(self) -> WheelMember | None:
        """Which file of a wheel holds it; None for a model of the hub."""
        if self.member is None or self.sha256 is None or self.member_bytes is None:
            return None
        return WheelMember(self.member, self.sha256, self.member_bytes)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All known models by name, and which one is taken where none is named."""

    default: str
    models: Mapping[str, CatalogModel]


def load_catalog() -> Catalog:
    """Reads the package's catalog, then the user's `$FREEHOLD_HOME/catalog.toml` where there is one.

    Raises:
        ConfigError: A file is no TOML, a key is unknown or missing, or a value has the wrong type or is out of bounds.
    """
    texts = [("catalog.toml of freehold", resources.files("freehold.hub").joinpath("catalog.toml").read_text("utf-8"))]
    own = home() / "catalog.toml"
    if own.is_file():
        texts.append((str(own), own.read_text("utf-8")))
    default, models = DEFAULT_MODEL, dict[str, CatalogModel]()
    for where, text in texts:
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{where} is not valid TOML: {error}.") from error
        tables = content.pop("models", {})
        default = content.pop("default", default)
        if content or not isinstance(tables, dict):
            raise ConfigError(
                f"{where}: unknown key {next(iter(content), 'models')!r}; 'default' and [models.NAME] tables exist."
            )
        models |= {name: _model(where, name, table) for name, table in tables.items()}
    if default not in models:
        raise ConfigError(
            f"catalog: the default model {default!r} is not in it; known are {', '.join(sorted(models))}."
        )
    return Catalog(default, MappingProxyType(models))


def generation_defaults(sampling: Mapping[str, float]) -> dict[str, Any]:
    """Gives recommended sampling as entries of `generation_config.json`, where a temperature of 0 has no place."""
    if sampling.get("temperature") == 0:
        return {"do_sample": False, **{name: value for name, value in sampling.items() if name != "temperature"}}
    return {"do_sample": True, **sampling}


def _model(where: str, name: str, table: Any) -> CatalogModel:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: models.{name} is {table!r}; it must be a table.")
    try:
        check_name(name)
    except PullError as error:
        raise ConfigError(f"{where}: {error}") from error
    hints = {key: hint for key, hint in get_type_hints(CatalogModel).items() if key not in ("name", "sampling")}
    required = {
        spec.name
        for spec in dataclasses.fields(CatalogModel)
        if spec.default is spec.default_factory is dataclasses.MISSING
    }
    unknown = set(table) - set(hints) - {"sampling"}
    missing = required - set(table) - {"name"}
    if unknown or missing:
        raise ConfigError(
            f"{where}: models.{name} has the unknown key {min(unknown)!r}; "
            f"known are {', '.join(sorted(hints))}, sampling."
            if unknown
            else f"{where}: models.{name} lacks {', '.join(sorted(missing))}."
        )
    for key, value in table.items():
        if key != "sampling" and type(value) is not _plain_type(hints[key]):
            raise ConfigError(
                f"{where}: models.{name}.{key} is {value!r}; it must be of type {_plain_type(hints[key]).__name__}."
            )
    return CatalogModel(name=name, **{**table, "sampling": _sampling(where, name, table.get("sampling", {}))})


def _plain_type(hint: Any) -> type:
    plain: type = next((part for part in getattr(hint, "__args__", ()) if part is not type(None)), hint)
    return plain


def _sampling(where: str, name: str, table: Any) -> Mapping[str, float]:
    if not isinstance(table, dict) or set(table) - set(_SAMPLING):
        raise ConfigError(f"{where}: models.{name}.sampling is {table!r}; known keys are {', '.join(_SAMPLING)}.")
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where}: models.{name}.sampling.{key} is {value!r}; it must be a number.")
    return MappingProxyType(dict(table))

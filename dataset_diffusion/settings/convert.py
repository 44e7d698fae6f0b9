"""Turn a composed DictConfig into settings: the only place where a config becomes dataclasses."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.settings.fields import NO_DEFAULT, did_you_mean, setting_names

Settings = TypeVar("Settings")

REMEDIES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "list": "must be a list, e.g. '{name}=[one,two]'",
    "tuple": "must be a list, e.g. '{name}=[one,two]'",
    "dict": "must be names with values, e.g. '{name}={{one: 1, two: 2}}'",
    "dataclass": "is a group of settings, not a setting",
}
"""Keyed by the first part of pydantic's error types: "int_type", "int_parsing", "int_from_float"."""


def to_settings(settings_class: type[Settings], cfg: DictConfig) -> Settings:
    """Check `cfg` against a dataclass (nested ones included) and make an instance of it.

    Raises InputError that names the setting if a key is unknown or missing, or if its value has the wrong type. Errors
    from a dataclass's own `__post_init__` pass through. Text that spells a number is accepted as that number (an
    environment variable is always text), and a number as text. 1.5 is not a whole number, and true is not a number.
    """
    try:
        values = _without_missing(OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {first_line(error)}") from error
    # Pydantic takes the configuration of a standard-library dataclass from the type that contains it: hence the tuple.
    adapter = TypeAdapter(tuple[settings_class], config=ConfigDict(extra="forbid", coerce_numbers_to_str=True))  # type: ignore[valid-type]
    try:
        (settings,) = adapter.validate_python((values,))
    except ValidationError as error:
        raise InputError(_explain(error, settings_class)) from error
    for name, value, kind in _truth_values_as_numbers(values, settings):
        raise InputError(f"{name}={as_typed(value)}: {REMEDIES[kind]}")
    return cast(Settings, settings)


def as_typed(value: Any) -> str:
    """A value as one would type it on the command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{','.join(map(as_typed, value))}]"
        case dict():
            return "{" + ",".join(f"{key}: {as_typed(item)}" for key, item in value.items()) + "}"
        case _:
            return str(value)


def _without_missing(values: Any) -> Any:
    if isinstance(values, dict):
        return {str(key): _without_missing(value) for key, value in values.items() if value != NO_DEFAULT}
    return values


def _explain(error: ValidationError, settings_class: type) -> str:
    fault = error.errors(include_url=False)[0]
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"][1:]).lstrip(".")
    kind, value = fault["type"], fault["input"]
    if kind == "unexpected_keyword_argument":
        return f"{name}: no such setting{did_you_mean(name, list(setting_names(settings_class)))}"
    if kind.startswith("missing"):
        return f"{name}: is missing; give it as {name}=VALUE"
    if value is None:
        return f"{name}=null: must have a value"
    if kind == "literal_error":
        return f"{name}={as_typed(value)}: must be {fault['ctx']['expected']}"
    remedy = REMEDIES.get(kind.partition("_")[0], fault["msg"]).format(name=name)
    return f"{name}={as_typed(value)}: {remedy}"


def _truth_values_as_numbers(given: Any, made: Any, name: str = "") -> Iterator[tuple[str, bool, str]]:
    # Pydantic takes true for 1, as Python does. Its strict mode would also refuse dictionaries for dataclasses.
    if isinstance(given, bool) and not isinstance(made, bool):
        yield name, given, type(made).__name__
    elif isinstance(given, dict):
        for key, value in given.items():
            inner = getattr(made, key) if is_dataclass(made) else made[key]
            yield from _truth_values_as_numbers(value, inner, f"{name}.{key}".lstrip("."))
    elif isinstance(given, list):
        for index, (value, inner) in enumerate(zip(given, made, strict=True)):
            yield from _truth_values_as_numbers(value, inner, f"{name}[{index}]")

"""From a composed DictConfig to settings: the one place where OmegaConf's types are turned into dataclasses."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from dataset_diffusion.errors import InputError

Settings = TypeVar("Settings")

KINDS = {
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "bool": "true or false",
    "string": "text",
}


def to_settings(settings_class: type[Settings], cfg: DictConfig) -> Settings:
    """Check `cfg` against a dataclass (nested ones included) and make an instance of it.

    Fields may have the types that OmegaConf knows: bool, int, float, str, those with `| None`, lists, dicts and
    dataclasses of them. Raises InputError that names the setting when a key is unknown, missing or of another type;
    what a dataclass' own `__post_init__` raises passes through.
    """
    schema = OmegaConf.structured(settings_class)
    _unlock(schema)
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(schema, cfg))
    except OmegaConfBaseException as error:
        raise InputError(_explain(error, settings_class, cfg)) from error
    return cast(Settings, settings)


def setting_names(settings_class: Any, prefix: str = "") -> Iterator[str]:
    """All settings of a dataclass, "num_images" and "mask.threshold", in the order of its fields."""
    hints = get_type_hints(settings_class)
    for entry in fields(settings_class):
        if is_dataclass(hints[entry.name]):
            yield from setting_names(hints[entry.name], f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}"


def did_you_mean(key: str, known: Sequence[str]) -> str:
    """The phrase "; did you mean NAME?" for the known setting nearest to `key`, or nothing where none is near."""
    # The usual slip is a forgotten or wrong group ("guidance_scale"): last parts are compared before whole paths.
    last_parts = [name.rpartition(".")[2] for name in known]
    near = difflib.get_close_matches(key.rpartition(".")[2], last_parts, n=1, cutoff=0.75)
    candidates = [name for name, last in zip(known, last_parts, strict=True) if last in near]
    name = next(iter(difflib.get_close_matches(key, candidates or known, n=1, cutoff=0 if candidates else 0.6)), None)
    return f"; did you mean {name}?" if name else ""


def _unlock(schema: DictConfig) -> None:
    # OmegaConf marks what comes from a frozen dataclass as read-only, each level by itself, and then refuses to merge.
    OmegaConf.set_readonly(schema, False)
    for key in schema:
        if not OmegaConf.is_missing(schema, key) and isinstance(schema[key], DictConfig):
            _unlock(schema[key])


def _explain(error: OmegaConfBaseException, settings_class: type, cfg: DictConfig) -> str:
    key, message = str(error.full_key or ""), str(error).split("\n")[0]
    if isinstance(error, ConfigKeyError):
        return f"{key}: no such setting{did_you_mean(key, list(setting_names(settings_class)))}"
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: is missing; give it as {key}=VALUE"
    if not key:  # A value stands where a group of settings belongs; OmegaConf does not say which.
        groups = [name for name, kind in get_type_hints(settings_class).items() if is_dataclass(kind)]
        wrong = [name for name in groups if name in cfg and not OmegaConf.is_dict(cfg[name])]
        return f"{wrong[0]}={cfg[wrong[0]]}: is a group of settings, not a setting" if wrong else message
    value: Any = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
    if "Incompatible value 'None'" in message or "is not Optional" in message:
        return f"{key}=null: must have a value"
    if "is not a ListConfig" in message:
        return f"{key}={value}: must be a list, as '{key}=[one,two]'"
    if kind := re.search(r"(?:could not be converted to|Cannot convert .* to|is not a valid) (\w+)", message):
        return f"{key}={value}: must be {KINDS.get(kind[1], kind[1])}"
    return f"{key}: {message}"

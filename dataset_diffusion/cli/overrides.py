"""The overrides of a command line, key=value, checked before Hydra composes anything."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.fields import did_you_mean, find_setting, setting_names


def check_overrides(
    overrides: Sequence[str], settings_class: type, config_dirs: Sequence[Path], sweep: bool
) -> list[str]:
    """Check the overrides against the settings and the config groups; return them in the form that Hydra expects.

    `config_dirs` hold the groups as folders: `experiment/voc.yaml` makes "experiment=voc" a choice. `sweep` allows a
    setting several values ("seed=1,2"). Raises InputError that names the first invalid override.
    """
    parser = OverridesParser.create()
    return [_check(text, parser, settings_class, config_dirs, sweep) for text in overrides]


def choices_of(group: str, config_dirs: Sequence[Path]) -> list[str]:
    """The names of a group's configs, without .yaml; empty if there is no such group."""
    return sorted({file.stem for folder in config_dirs for file in (folder / group).glob("*.yaml")})


def groups(config_dirs: Sequence[Path]) -> list[str]:
    """All config groups: the folders that hold .yaml files."""
    return sorted({file.parent.name for folder in config_dirs for file in folder.glob("*/*.yaml")})


def _check(text: str, parser: OverridesParser, settings_class: type, config_dirs: Sequence[Path], sweep: bool) -> str:
    override = _parse(text, parser)
    key = override.key_or_group
    if override.is_sweep_override() and not sweep:
        raise InputError(f"{text}: has several values; add -m to run once with each, or quote the whole value")
    if _is_hydras(key):
        return text
    if choices := choices_of(key, config_dirs):
        if not override.is_delete():
            _check_choices(override, key, choices)
        return text
    place = find_setting(settings_class, key)
    if not place:
        known = [*setting_names(settings_class), *groups(config_dirs)]
        raise InputError(f"{key}: no such setting{did_you_mean(key, known)}; --help lists the settings")
    if override.is_delete():
        return text
    # Hydra adds a key that the configs lack, such as an entry of a mapping, only if asked to: "++".
    is_new = place == "entry" or override.is_add()
    return f"++{text.lstrip('+')}" if is_new else text


def _parse(text: str, parser: OverridesParser) -> Override:
    try:
        override = parser.parse_override(text)
    except HydraException:
        override = None
    if not override or not override.key_or_group:
        # Hydra's own message says what its grammar expected, but not always in which argument.
        raise InputError(f"{text}: must be key=value; quote unusual values, as in 'output_dir=\"a dir (1)\"'")
    return override


def _is_hydras(key: str) -> bool:
    if key.startswith("hydra/"):
        return True
    return key.startswith("hydra.") and key.split(".")[1] in {field.name for field in fields(HydraConf)}


def _check_choices(override: Override, group: str, choices: Sequence[str]) -> None:
    for choice in _values(override):
        if choice not in choices:
            is_file = group == "vocabulary" and str(choice).endswith((".yaml", ".yml"))
            remedy = f"; for a file of your own, set vocabulary.name={choice}" if is_file else ""
            shown = "null" if choice is None else choice
            raise InputError(f"{group}={shown}: must be one of {', '.join(choices)}{remedy}")


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_choice_sweep() else []
    value = override.value()
    return list(value) if isinstance(value, list) else [value]

"""The text of `--help`: what a command does, and its settings with the values that this command line gives them."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dataset_diffusion.cli.overrides import choices_of, groups
from dataset_diffusion.settings.convert import as_typed
from dataset_diffusion.settings.fields import NO_DEFAULT, default_of, describe_settings, setting_names

WIDTH = 118
COLUMN = 36
LONGEST_VALUE = 60

CHOICES = {
    "experiment": "a set of settings that go together",
}
"""Descriptions of the config groups that have no group of settings of the same name to describe them."""

FLAGS = """\
Flags
  --cfg job          print the settings of this command line as YAML and stop
  --config-dir DIR   look for configs in DIR, too: DIR/experiment/mine.yaml makes experiment=mine work
  -m, --multirun     a sweep: run once for each of the values of seed=0,1,2; name a folder for each with ${seed}
                     (on SLURM: pip install hydra-submitit-launcher, and add hydra/launcher=submitit_slurm)
  --version"""


def help_text(about: str, settings_class: type, cfg: DictConfig, config_dirs: Sequence[Path]) -> str:
    """The whole text: `about`, the choices among configs, a line or two for each setting, and the flags."""
    descriptions = describe_settings(settings_class)
    choices = "\n".join(
        _entry(f"{group}={'|'.join(choices_of(group, config_dirs))}", descriptions.get(group) or CHOICES.get(group, ""))
        for group in groups(config_dirs)
    )
    settings = "\n".join(
        _entry(f"{name}={_shown(_value(settings_class, cfg, name))}", descriptions[name])
        for name in setting_names(settings_class)
    )
    sets = f" Some come in sets:\n\n{choices}\n\n" if choices else " "
    return (
        f"{about.strip()}\n\nSettings are written key=value.{sets}With this command line their values are:\n\n"
        f"{settings}\n\n{FLAGS}"
    )


def _entry(setting: str, description: str) -> str:
    first, indent = f"  {setting}".ljust(COLUMN), " " * COLUMN
    if len(first) > COLUMN or not first.endswith(" "):
        return f"{first}\n{textwrap.fill(description, WIDTH, initial_indent=indent, subsequent_indent=indent)}"
    return textwrap.fill(description, WIDTH, initial_indent=first, subsequent_indent=indent)


def _shown(value: Any) -> str:
    text = as_typed(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _value(settings_class: type, cfg: DictConfig, name: str) -> Any:
    """A setting's value in the config, or else the default in its dataclass."""
    value = OmegaConf.select(cfg, name, default=NO_DEFAULT)
    if value is NO_DEFAULT:
        value = default_of(settings_class, name)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

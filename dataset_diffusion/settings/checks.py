"""Helpers that the settings classes use to check their values."""

import os
from typing import Any

from dataset_diffusion.errors import InputError


def require(condition: bool, setting: str, value: object, remedy: str) -> None:
    """Raise the InputError "setting=value: remedy" unless the condition holds."""
    if not condition:
        raise InputError(f"{setting}={'null' if value is None else value}: {remedy}")


def expand_home(settings: Any, *names: str) -> None:
    """Replace a leading "~/" with the home folder in the named paths of (frozen) settings.

    No shell expands it in a file, inside quotes or after a dotted key.
    """
    for name in names:
        if value := getattr(settings, name):
            object.__setattr__(settings, name, os.path.expanduser(value) if value.startswith("~/") else value)


def one_of(choices: tuple[str, ...]) -> str:
    """The remedy for a value that is not one of `choices`."""
    return f"must be {choices[0]}" if len(choices) == 1 else f"must be one of {', '.join(choices)}"

"""Names, types and descriptions of settings, read from their dataclasses."""

import ast
import difflib
import inspect
import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from textwrap import dedent
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NO_DEFAULT = "???"
"""Stands for the value of a required setting, in configs and in `--help`."""


def setting_names(settings_class: Any, prefix: str = "") -> Iterator[str]:
    """All settings of a dataclass, such as "num_images" and "mask.threshold", in the order of its fields."""
    for name, kind in _field_types(settings_class).items():
        if is_dataclass(kind):
            yield from setting_names(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def find_setting(settings_class: Any, name: str) -> Literal["setting", "group", "entry"] | None:
    """What `name` is: a setting, a group of them ("mask"), an entry of a mapping ("vocabulary.words.sofa"), or None.

    The user chooses the names of a mapping's entries; below an entry, the type of the mapping's values decides.
    """
    kind, inside_mapping = settings_class, False
    for part in name.split("."):
        if is_dataclass(kind):
            kind = _field_types(kind).get(part)
        elif get_origin(kind) is dict:
            kind, inside_mapping = _without_none(get_args(kind)[1]), True
        else:
            kind = None
        if kind is None:
            return None
    return "entry" if inside_mapping else "group" if is_dataclass(kind) else "setting"


def describe_settings(settings_class: Any, prefix: str = "") -> dict[str, str]:
    """The docstring below each field, on one line, by the setting's name; groups of settings included."""
    found: dict[str, str] = {}
    texts = _field_docstrings(settings_class)
    for name, kind in _field_types(settings_class).items():
        found[f"{prefix}{name}"] = texts.get(name, "")
        if is_dataclass(kind):
            found |= describe_settings(kind, f"{prefix}{name}.")
    return found


def default_of(settings_class: Any, name: str) -> Any:
    """The default of a setting such as "mask.threshold" in its dataclass; NO_DEFAULT if it must be given."""
    *groups, last = name.split(".")
    for group in groups:
        settings_class = _field_types(settings_class)[group]
    (field,) = (field for field in fields(settings_class) if field.name == last)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return NO_DEFAULT if field.default is MISSING else field.default


def did_you_mean(key: str, known: Sequence[str]) -> str:
    """The phrase "; did you mean NAME?" for the known setting closest to `key`, or "" if none is close."""
    # The usual slip is a missing or wrong group ("guidance_scale"): last parts are compared before whole paths.
    last_parts = [name.rpartition(".")[2] for name in known]
    near = difflib.get_close_matches(key.rpartition(".")[2], last_parts, n=1, cutoff=0.75)
    candidates = [name for name, last in zip(known, last_parts, strict=True) if last in near]
    name = next(iter(difflib.get_close_matches(key, candidates or known, n=1, cutoff=0 if candidates else 0.6)), None)
    return f"; did you mean {name}?" if name else ""


def _field_types(settings_class: Any) -> dict[str, Any]:
    hints = get_type_hints(settings_class)
    return {entry.name: _without_none(hints[entry.name]) for entry in fields(settings_class)}


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    others = [choice for choice in get_args(kind) if choice is not type(None)]
    return others[0] if len(others) == 1 else kind


def _field_docstrings(settings_class: Any) -> dict[str, str]:
    (definition,) = ast.parse(dedent(inspect.getsource(settings_class))).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            texts[field.target.id] = " ".join(below.value.value.split())
    return texts

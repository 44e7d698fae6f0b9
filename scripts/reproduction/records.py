"""Figures in files, stored with what they were made by; if that differs, they are measured again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_diffusion.files import write_atomically


def write_record(path: Path, made_by: Mapping[str, Any], figures: Any) -> None:
    """Write one JSON file atomically."""
    write_atomically(path, json.dumps({"made_by": made_by, "figures": figures}, indent=1).encode())


def read_record(path: Path, made_by: Mapping[str, Any]) -> Any:
    """The figures in a file, or None if the file is missing or its figures were made by something else."""
    if not path.exists():
        return None
    record = json.loads(path.read_bytes())
    return record["figures"] if record["made_by"] == json.loads(json.dumps(made_by)) else None

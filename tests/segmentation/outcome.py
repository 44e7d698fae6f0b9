"""Reading and comparing a training's results."""

from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def require_equal(left: Any, right: Any, where: str = "") -> None:
    """Assert that all entries are bit-identical."""
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            require_equal(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for position, (one, other) in enumerate(zip(left, right, strict=True)):
            require_equal(one, other, f"{where}[{position}]")
    else:
        assert left == right, where


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """TensorBoard scalars by tag and step."""
    events = EventAccumulator(str(folder / "vis_data"))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}

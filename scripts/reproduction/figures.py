"""What was measured."""

from dataclasses import dataclass, field

from scripts.reproduction.masks import MaskFigures
from scripts.reproduction.mechanism import SizeGroup


@dataclass
class Figures:
    """What was measured, by the names of the variants: of each group of scenes, and the mIoU of each training."""

    masks: dict[str, list[MaskFigures]] = field(default_factory=dict)
    judged: dict[str, list[MaskFigures]] = field(default_factory=dict)
    """Of each group of generated images, against the judge's labels."""
    judge_miou: float | None = None
    """Of the judge's labels of rendered scenes, their classes being known."""
    segmentor: dict[str, list[float]] = field(default_factory=dict)
    """Of the seeds 0, 1, 2, ..., of some rows more than of others."""
    thresholds: dict[str, float] = field(default_factory=dict)
    power_by_size: list[SizeGroup] = field(default_factory=list)
    """What powers of the self-attention do to small objects, and to large ones."""
    class_word_gain: list[float] = field(default_factory=list)
    """Of each group of scenes; see toy_model.quality.class_word_gain."""

"""The measurements."""

from dataclasses import dataclass, field

from scripts.reproduction.masks import MaskFigures
from scripts.reproduction.mechanism import SizeGroup


@dataclass
class Figures:
    """The measurements by variant name: figures for each group of scenes, and the mIoU of each training."""

    masks: dict[str, list[MaskFigures]] = field(default_factory=dict)
    judged: dict[str, list[MaskFigures]] = field(default_factory=dict)
    """For each group of generated images, against the judge's labels."""
    judge_miou: float | None = None
    """mIoU of the judge's labels on rendered scenes, given their classes."""
    segmentor: dict[str, list[float]] = field(default_factory=dict)
    """mIoU for the seeds 0, 1, 2, ...; some rows have more seeds than others."""
    thresholds: dict[str, float] = field(default_factory=dict)
    power_by_size: list[SizeGroup] = field(default_factory=list)
    """The effect of powers of the self-attention on small and on large objects."""
    class_word_gain: list[float] = field(default_factory=list)
    """For each group of scenes; see toy_model.quality.class_word_gain."""

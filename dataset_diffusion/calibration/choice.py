"""The settings that give the best masks on images whose masks are known."""

from collections.abc import Sequence
from dataclasses import dataclass

from dataset_diffusion.calibration.quality import LabelledScores, MaskQuality, mask_quality, score
from dataset_diffusion.calibration.recording import RecordedImage
from dataset_diffusion.settings.generate import MaskSettings

POWERS = (0, 1, 2, 3, 4, 6, 8)
THRESHOLDS = tuple(step / 40 for step in range(6, 33))
"""0.15 ... 0.8."""
BANDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Distances between the two thresholds."""


@dataclass(frozen=True)
class Choice:
    """Mask settings and the quality that they gave."""

    power: int
    mask: MaskSettings
    quality: MaskQuality


def best_threshold(labelled: Sequence[LabelledScores], num_labels: int) -> float:
    """The threshold that gives the highest mIoU without an ignored band; the lowest of equal ones."""
    masks = [MaskSettings(threshold, threshold) for threshold in THRESHOLDS]
    qualities = mask_quality(labelled, masks, num_labels)
    return max(zip(qualities, THRESHOLDS, strict=True), key=lambda pair: (pair[0].metrics.miou, -pair[1]))[1]


def band_around(threshold: float, width: float) -> MaskSettings:
    """The two thresholds of an ignored band of this width, with `threshold` in its middle."""
    return MaskSettings(
        threshold=round(min(1.0, threshold + width / 2), 4),
        uncertainty_threshold=round(max(0.0, threshold - width / 2), 4),
    )


def best_of_each_power(recorded: Sequence[RecordedImage], num_labels: int) -> list[Choice]:
    """For each of POWERS, the best threshold without an ignored band."""
    choices = []
    for power in POWERS:
        labelled = score(recorded, power)
        threshold = best_threshold(labelled, num_labels)
        mask = MaskSettings(threshold, threshold)
        choices.append(Choice(power, mask, mask_quality(labelled, [mask], num_labels)[0]))
    return choices


def bands(recorded: Sequence[RecordedImage], choice: Choice, num_labels: int) -> list[Choice]:
    """Ignored bands of different widths around the threshold of a choice, from none to the widest."""
    masks = [band_around(choice.mask.threshold, width) for width in BANDS]
    qualities = mask_quality(score(recorded, choice.power), masks, num_labels)
    return [Choice(choice.power, mask, quality) for mask, quality in zip(masks, qualities, strict=True)]


def best_band(choices: Sequence[Choice], most_ignored: float) -> Choice:
    """The choice with the best masks among those that ignore at most a share `most_ignored` of the pixels.

    Without a limit there would be no best one: the more doubtful pixels are ignored, the better the others are. One of
    the choices has no band.
    """
    allowed = [choice for choice in choices if choice.quality.share_ignored <= most_ignored]
    return max(allowed, key=lambda choice: choice.quality.metrics.miou)

"""The first metric: masks of rendered scenes against exact masks, and the thresholds chosen by it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dataset_diffusion.calibration.choice import THRESHOLDS, band_around
from dataset_diffusion.calibration.quality import LabelledScores, label_quality, mask_quality
from dataset_diffusion.settings.generate import MaskSettings
from dataset_diffusion.types import ClassScores
from scripts.reproduction.recipe import ArchivedImage, Recipe, asked_alone, make_mask, make_scores, shift_scores
from scripts.toy_model.quality import NUM_LABELS


@dataclass(frozen=True)
class Thresholds:
    """A recipe's best `common` threshold and, if the recipe asks for it, one for each label [C]."""

    common: float
    by_label: tuple[float, ...] | None = None

    def apply(self, scores: ClassScores) -> ClassScores:
        """The scores, shifted where needed so that `common` is the threshold for every class."""
        return scores if self.by_label is None else shift_scores(scores, np.array(self.by_label), self.common)


@dataclass(frozen=True)
class MaskFigures:
    """Figures for a group of scenes: `miou` without an ignored band; with the band, mIoU and accuracy of the kept
    pixels, and the share of ignored ones.
    """

    miou: float
    kept_miou: float
    kept_accuracy: float
    share_ignored: float


def choose_thresholds(scenes: Sequence[ArchivedImage], recipe: Recipe) -> Thresholds:
    """The thresholds, without an ignored band, that give the highest mIoU and, for each class, the highest IoU."""
    masks = [MaskSettings(threshold, threshold) for threshold in THRESHOLDS]
    # Only the requested classes: pixels won by others are ignored, and a low threshold could hide its mistakes there.
    labelled = ((labels, asked_alone(scores)) for labels, scores in _labelled(scenes, recipe))
    qualities = mask_quality(labelled, masks, NUM_LABELS)
    miou = [quality.metrics.miou for quality in qualities]
    common = THRESHOLDS[int(np.argmax(miou))]
    if not recipe.class_thresholds:
        return Thresholds(common)
    iou = np.nan_to_num(np.stack([quality.metrics.iou for quality in qualities]))  # [thresholds, labels]
    best = [THRESHOLDS[index] if iou[:, label].any() else common for label, index in enumerate(iou.argmax(axis=0))]
    return Thresholds(common, tuple(best))


def measure_masks(scenes: Sequence[ArchivedImage], recipe: Recipe, thresholds: Thresholds, band: float) -> MaskFigures:
    """The figures for a recipe's masks on a group of scenes."""
    masks = [band_around(thresholds.common, width) for width in (0.0, band)]
    made = (
        (labels, [make_mask(thresholds.apply(scores), recipe, settings).labels for settings in masks])
        for labels, scores in _labelled(scenes, recipe)
    )
    without, with_band = label_quality(made, len(masks), NUM_LABELS)
    return MaskFigures(
        miou=without.metrics.miou,
        kept_miou=with_band.metrics.miou,
        kept_accuracy=with_band.metrics.pixel_accuracy,
        share_ignored=with_band.share_ignored,
    )


def _labelled(scenes: Sequence[ArchivedImage], recipe: Recipe) -> Iterator[LabelledScores]:
    for item in scenes:
        assert item.labels is not None  # a rendered scene has them
        yield item.labels, make_scores(item, recipe)

"""The default recipe turns attention into masks as dd-generate does; each change to it changes the scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dataset_diffusion.attention.aggregate import class_evidence
from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.settings.generate import MaskSettings
from dataset_diffusion.types import AttentionMaps, ClassScores
from scripts.reproduction.archive import CLASS_PROMPT, FULL_PROMPT, MORE_WORDS, ArchivedAttention
from scripts.reproduction.guided_filter import refine_scores
from scripts.reproduction.masks import Thresholds, choose_thresholds, measure_masks
from scripts.reproduction.recipe import (
    ArchivedImage,
    Recipe,
    asked_alone,
    ignore_small_regions,
    make_mask,
    make_scores,
    shift_scores,
)

QUARTER_STEPS = [1, 2, 2, 2]


def row_stochastic(generator: np.random.Generator, *shape: int) -> np.ndarray:
    values = generator.random(shape, dtype=np.float32) ** 8
    return values / values.sum(axis=-1, keepdims=True)


def archived_image(seed: int = 0) -> ArchivedImage:
    generator = np.random.default_rng(seed)
    cross = {
        (text, side): generator.random((2, 4, num_words, side, side), dtype=np.float32)
        for text, side, num_words in (
            (CLASS_PROMPT, 16, 2),
            (CLASS_PROMPT, 8, 2),
            (FULL_PROMPT, 16, 2),
            (MORE_WORDS, 16, 5),
        )
    }
    self_attention = {side: row_stochastic(generator, 2, 4, side * side, side * side) for side in (16, 8)}
    image = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    labels = generator.choice(np.array([0, 3, 5], np.uint8), (64, 64))
    return ArchivedImage(image, (3, 5), ArchivedAttention(cross, self_attention, QUARTER_STEPS), labels)


def test_a_mean_over_quarters_and_layers_weights_steps_equally() -> None:
    values = np.arange(8, dtype=np.float32).reshape(2, 4, 1)
    attention = ArchivedAttention({}, {}, QUARTER_STEPS)
    assert attention.mean(values).tolist() == [pytest.approx((0 + 2 * (1 + 2 + 3)) / 7 + 2)]
    assert attention.mean(values, quarters=(0, 3)).tolist() == [pytest.approx((0 + 2 * 3) / 3 + 2)]
    assert attention.mean(values, layers=(1,), quarters=(0, 3)).tolist() == [pytest.approx((4 + 2 * 7) / 3)]


def test_the_default_recipe_equals_dd_generate() -> None:
    item = archived_image()
    maps = AttentionMaps(
        torch.from_numpy(item.attention.mean(item.attention.cross[CLASS_PROMPT, 16])),
        torch.from_numpy(item.attention.mean(item.attention.self_attention[16])),
    )
    expected = class_scores(class_evidence(maps, ((0,), (1,)), 1), (3, 5), (64, 64))
    scores = make_scores(item, Recipe())
    assert torch.equal(scores.scores, expected.scores)
    assert scores.class_ids == (3, 5)
    refined = make_scores(item, Recipe(refined=True))
    assert torch.equal(refined.scores, refine_scores(item.image, expected, 16).scores)


def test_every_change_of_the_recipe_changes_the_scores() -> None:
    item = archived_image()
    changes = (
        {"text": FULL_PROMPT},
        {"text": MORE_WORDS},
        {"cross_resolution": 8},
        {"self_resolutions": (8,)},
        {"self_resolutions": (16, 8)},
        {"power": 0},
        {"layers": (1,)},
        {"quarters": (2, 3)},
        {"refined": True},
    )
    recipes = [Recipe(), *(replace(Recipe(), **change) for change in changes)]
    all_scores = [asked_alone(make_scores(item, recipe)) for recipe in recipes]
    for index, one in enumerate(all_scores):
        assert one.scores.shape == (2, 64, 64)
        for other in all_scores[index + 1 :]:
            assert not torch.allclose(one.scores, other.scores, atol=1e-4)


def test_shifted_scores_at_a_common_threshold_equal_scores_at_their_own() -> None:
    values = torch.rand(2, 20, 20) * torch.tensor([1.0, 0.0])[:, None, None]  # class 5 is nowhere
    scores = ClassScores(values, (3, 5))
    own = np.full(21, 0.9)
    own[3] = 0.7
    shifted = shift_scores(scores, own, common=0.5)
    assert np.array_equal(label_mask(shifted, 0.5, 0.5).labels, label_mask(scores, 0.7, 0.7).labels)


def test_pixels_won_by_a_class_not_asked_for_are_ignored() -> None:
    item = archived_image()
    scores = make_scores(item, Recipe(text=MORE_WORDS))
    assert scores.class_ids == (3, 5, 255, 255, 255)
    best = scores.scores.numpy().max(axis=0)
    winner = scores.scores.numpy().argmax(axis=0)
    labels = make_mask(scores, Recipe(text=MORE_WORDS), MaskSettings(0.5, 0.4)).labels
    assert (labels[(best >= 0.5) & (winner >= 2)] == 255).all()
    assert (labels[(best >= 0.5) & (winner == 1)] == 5).all()
    assert (labels[best < 0.4] == 0).all()  # no clear class means background
    assert asked_alone(scores).class_ids == (3, 5)
    assert torch.equal(asked_alone(scores).scores, scores.scores[:2])


def test_thresholds_are_chosen_from_the_requested_classes_only() -> None:
    item = archived_image()
    asked_rows = {(CLASS_PROMPT, 16): item.attention.cross[MORE_WORDS, 16][:, :, :2]}
    without = replace(item, attention=replace(item.attention, cross=asked_rows))
    assert choose_thresholds([item], Recipe(text=MORE_WORDS)) == choose_thresholds([without], Recipe())


def test_small_connected_regions_of_a_class_are_ignored() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[0, :3] = 3  # three pixels of 1,600
    labels[1, 3] = 3  # touches them only at a corner
    labels[10:12, 10:12] = 3
    labels[10:12, 12:14] = 5  # next to them, but of another class
    labels[20:30, 20:30] = 3
    labels[24, 24] = 0  # background has no minimum size
    labels[39, 39] = 255
    expected = labels.copy()
    expected[0, :3] = expected[1, 3] = 255
    assert np.array_equal(ignore_small_regions(labels, 4 / 1600), expected)
    assert np.array_equal(ignore_small_regions(labels, 0), labels)


def test_every_mask_metric_ignores_small_regions() -> None:
    item = archived_image()
    labels = label_mask(make_scores(item, Recipe()), 0.5, 0.5).labels
    recipe = Recipe(least_region=0.002)
    assert (ignore_small_regions(labels, 0.002) == 255).any()
    figures = measure_masks([item], recipe, Thresholds(0.5), band=0.0)
    assert figures.share_ignored == (ignore_small_regions(labels, 0.002) == 255).mean()
    assert measure_masks([item], Recipe(), Thresholds(0.5), band=0.0).share_ignored == 0
    assert choose_thresholds([item], recipe) == choose_thresholds([item], Recipe())


def test_thresholds_give_the_best_masks_and_are_measured_on_other_scenes() -> None:
    def scene(level: float) -> ArchivedImage:
        """A class that fills the left half, where its scores fall from 1 to `level`; they are lower elsewhere."""
        left = np.linspace(1, level, 8, dtype=np.float32)
        right = np.linspace(level / 2, 0, 8, dtype=np.float32)
        cross = np.broadcast_to(np.concatenate([left, right]), (1, 1, 1, 16, 16)).copy()
        labels = np.zeros((16, 16), np.uint8)
        labels[:, :8] = 3
        attention = ArchivedAttention({(CLASS_PROMPT, 16): cross}, {16: np.eye(256, dtype=np.float32)[None, None]}, [1])
        return ArchivedImage(np.zeros((16, 16, 3), np.uint8), (3,), attention, labels)

    recipe = Recipe(class_thresholds=True)
    thresholds = choose_thresholds([scene(0.6)], recipe)
    assert 0.3 < thresholds.common <= 0.6
    assert thresholds.by_label is not None
    assert 0.3 < thresholds.by_label[3] <= 0.6
    assert thresholds.by_label[4] == thresholds.common  # a class that did not occur
    figures = measure_masks([scene(0.6)], recipe, thresholds, band=0.0)
    assert (figures.miou, figures.kept_accuracy, figures.share_ignored) == (1.0, 1.0, 0.0)
    wrong = measure_masks([scene(0.6)], recipe, Thresholds(0.8), band=0.4)
    assert wrong.miou < 1
    assert wrong.share_ignored > 0
    assert wrong.kept_miou > wrong.miou

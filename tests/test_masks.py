import numpy as np
import pytest
import torch

from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.types import ClassScores


def scores_of(*rows: list[float]) -> ClassScores:
    """Scores [K, 1, W] of the classes 3, 5, ... in the given order."""
    return ClassScores(torch.tensor(rows).unsqueeze(1), class_ids=tuple(range(3, 3 + 2 * len(rows), 2)))


def test_scores_span_zero_to_one_for_each_class():
    evidence = torch.tensor([[[2.0, 4.0], [3.0, 6.0]], [[-1.0, 0.0], [1.0, 3.0]]])
    scores = class_scores(evidence, [7, 2], image_size=(2, 2))
    assert scores.class_ids == (7, 2)
    assert scores.scores.dtype == torch.float32
    expected = torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.25], [0.5, 1.0]]])
    assert torch.allclose(scores.scores, expected)


def test_scores_do_not_depend_on_the_scale_of_the_evidence():
    evidence = torch.rand(2, 8, 8)
    scores = class_scores(evidence, [1, 2], (32, 32)).scores
    assert torch.allclose(class_scores(1e-6 * evidence + 2e-3, [1, 2], (32, 32)).scores, scores, atol=1e-3)


def test_normalisation_comes_before_resizing():
    # One bright cell: bicubic resizing overshoots 0 and 1 around it; 0 is clamped but 1 is not.
    evidence = torch.zeros(1, 8, 8)
    evidence[0, 2:6, 2:6] = 1
    scores = class_scores(evidence, [1], (64, 64)).scores
    assert scores.min() == 0
    assert 1 < scores.max() < 1.25


def test_scores_follow_a_non_square_image():
    evidence = torch.zeros(1, 4, 6)
    evidence[0, 3, 0] = 1
    scores = class_scores(evidence, [1], (40, 90)).scores
    assert scores.shape == (1, 40, 90)
    assert scores[0, 36, 4] > 0.9
    assert scores[0, 4, 80] == 0


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0, 1e-12, 1e6])
def test_a_flat_map_scores_zero_everywhere(value: float):
    scores = class_scores(torch.full((1, 8, 8), value), [1], (16, 16)).scores
    assert torch.equal(scores, torch.zeros(1, 16, 16))


def test_rounding_noise_of_a_flat_map_is_not_amplified():
    evidence = torch.full((1, 8, 8), 0.01) * (1 + 1e-7 * torch.randn(1, 8, 8))
    assert class_scores(evidence, [1], (16, 16)).scores.max() == 0


def test_a_flat_map_does_not_affect_other_classes():
    evidence = torch.rand(2, 8, 8)
    alone = class_scores(evidence[1:], [2], (16, 16)).scores
    evidence[0] = 0.3
    assert torch.equal(class_scores(evidence, [1, 2], (16, 16)).scores[1:], alone)


def test_rows_and_classes_must_agree():
    with pytest.raises(ValueError, match="2 rows of evidence for 1 classes"):
        class_scores(torch.rand(2, 4, 4), [1], (8, 8))


def test_the_best_class_wins_and_the_band_is_ignored():
    mask = label_mask(scores_of([0.9, 0.2, 0.55, 0.1, 0.6], [0.3, 0.7, 0.5, 0.49, 0.1]), 0.6, 0.5)
    assert mask.labels.dtype == np.uint8
    assert mask.labels.tolist() == [[3, 5, 255, 0, 3]]
    assert mask.class_ids == (3, 5)
    assert mask.confidence == pytest.approx((0.75, 0.7))


def test_both_thresholds_are_inclusive():
    assert label_mask(scores_of([0.6, 0.5]), 0.6, 0.5).labels.tolist() == [[3, 255]]


def test_equal_thresholds_ignore_nothing():
    scores = ClassScores(torch.rand(3, 64, 64), (1, 2, 3))
    labels = label_mask(scores, 0.7, 0.7).labels
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert ((labels != 0) == (scores.scores.amax(0).numpy() >= 0.7)).all()


def test_the_earlier_class_wins_if_scores_are_equal():
    rows = torch.full((4, 50, 50), 0.8)
    assert set(np.unique(label_mask(ClassScores(rows, (9, 4, 1, 7)), 0.6, 0.5).labels)) == {9}


def test_a_class_without_pixels_has_no_confidence():
    assert label_mask(scores_of([0.9, 0.8], [0.1, 0.2]), 0.6, 0.5).confidence == pytest.approx((0.85, 0.0))


def test_threshold_zero_makes_everything_a_class():
    assert label_mask(scores_of([0.0, 0.0]), 0.0, 0.0).labels.tolist() == [[3, 3]]


def test_overshooting_scores_are_compared_before_clamping():
    evidence = torch.zeros(2, 8, 8)
    evidence[0] = 0.2  # Both overshoot in the middle; the first one less, because it rises only from 0.2 to 1.
    evidence[0, 0, 0] = 0
    evidence[:, 2:6, 2:6] = 1
    scores = class_scores(evidence, [1, 2], (64, 64))
    middle = scores.scores[:, 24:40, 24:40]
    assert (middle[1] >= middle[0]).all()
    assert (middle[0] > 1).any()
    mask = label_mask(scores, 0.6, 0.5)
    overshooting = (scores.scores > 1).all(dim=0) & (scores.scores[1] > scores.scores[0])
    assert overshooting.any()
    assert (mask.labels[overshooting.numpy()] == 2).all()
    assert max(mask.confidence) <= 1


def test_without_classes_everything_is_background():
    scores = class_scores(torch.zeros(0, 4, 4), [], (8, 12))
    assert scores.scores.shape == (0, 8, 12)
    mask = label_mask(scores, 0.6, 0.5)
    assert mask.labels.shape == (8, 12)
    assert not mask.labels.any()
    assert (mask.class_ids, mask.confidence) == ((), ())


def test_labels_match_a_pixel_by_pixel_reading_of_the_rule():
    scores = ClassScores(torch.rand(3, 9, 7), (4, 250, 1))
    labels = label_mask(scores, 0.8, 0.6).labels
    for row in range(9):
        for column in range(7):
            pixel = scores.scores[:, row, column].tolist()
            best = max(pixel)
            expected = 0 if best < 0.6 else 255 if best < 0.8 else scores.class_ids[pixel.index(best)]
            assert labels[row, column] == expected

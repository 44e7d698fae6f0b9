import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.dataset.quality import (
    count_components,
    edge_correlation,
    find_duplicates,
    flatness,
    measure_quality,
    perceptual_hash,
)
from dataset_diffusion.types import ClassScores, LabelMask


def disc(side: int, centre: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return np.hypot(rows - centre * side, columns - centre * side) < radius * side


def test_scores_equal_a_closed_form() -> None:
    labels = np.zeros((32, 32), np.uint8)
    labels[:8], labels[8:16], labels[16:20] = 3, 5, 255
    values = torch.zeros(2, 32, 32)
    values[0, :8], values[1, :8] = 0.9, 0.5
    values[0, 8:16], values[1, 8:16] = 0.2, 0.6
    values[0, 16:] = 0.55  # Neither ignored pixels nor the background count.
    image = np.full((32, 32, 3), 90, np.uint8)
    image[:16] = np.random.default_rng(0).integers(0, 256, (16, 32, 3))
    quality = measure_quality(image, LabelMask(labels, (3, 5), (0.9, 0.6)), ClassScores(values, (3, 5)))
    assert quality.confidence == pytest.approx(0.75)
    assert quality.margin == pytest.approx(0.4)
    assert quality.components == 2
    assert quality.flatness == pytest.approx(0.5)


def test_the_margin_of_a_single_class_is_its_score_and_zero_without_classes() -> None:
    labels, image = np.full((16, 16), 7, np.uint8), np.zeros((16, 16, 3), np.uint8)
    alone = measure_quality(image, LabelMask(labels, (7,), (0.8,)), ClassScores(torch.full((1, 16, 16), 0.8), (7,)))
    assert (alone.confidence, alone.margin, alone.flatness) == (0.8, 0.8, 1.0)
    overshooting = ClassScores(torch.full((1, 16, 16), 1.2), (7,))
    assert measure_quality(image, LabelMask(labels, (7,), (1.0,)), overshooting).confidence == 1
    nothing = measure_quality(image, LabelMask(0 * labels, (), ()), ClassScores(torch.zeros(0, 16, 16), ()))
    assert (nothing.confidence, nothing.margin, nothing.components, nothing.edges) == (0, 0, 0, 0)


def test_components_are_counted_class_by_class_and_corners_touch() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[0, 0] = labels[1, 1] = labels[5, 5] = 2
    labels[1, 0] = 4
    labels[7] = 255
    assert count_components(labels) == 3


def test_masks_that_follow_an_objects_edge_score_higher() -> None:
    grey = np.where(disc(200, 0.5, 0.25), 200, 60).astype(np.uint8)
    right = edge_correlation(disc(200, 0.5, 0.25).astype(np.float32), grey)
    beside = edge_correlation(disc(200, 0.2, 0.15).astype(np.float32), grey)
    assert right == pytest.approx(1, abs=0.01)
    assert beside < 0.2
    assert edge_correlation(np.ones((200, 200)), grey) == 0


def test_flatness_is_the_share_of_blocks_without_structure() -> None:
    grey = np.full((33, 32), 128, np.uint8)  # The last row fills no block.
    assert flatness(grey) == 1
    grey[:8, :16:2] = 0
    assert flatness(grey) == 1 - 2 / 16


def test_a_hash_hardly_changes_with_noise_and_size() -> None:
    generator = np.random.default_rng(0)

    def bits(grey: np.ndarray) -> int:
        return int(perceptual_hash(grey), 16)

    pictures = [
        np.asarray(
            Image.fromarray(generator.integers(0, 256, (12, 12), np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
        )
        for _ in range(20)
    ]
    for picture in pictures:
        noisy = (picture + generator.normal(0, 2, picture.shape)).clip(0, 255).astype(np.uint8)
        smaller = np.asarray(Image.fromarray(picture).resize((64, 64)))
        assert (bits(picture) ^ bits(noisy)).bit_count() <= 3
        assert (bits(picture) ^ bits(smaller)).bit_count() <= 3
    between = [(bits(a) ^ bits(b)).bit_count() for a in pictures for b in pictures if a is not b]
    assert min(between) > 10


def test_duplicates_equal_those_found_by_comparing_all_pairs() -> None:
    generator = np.random.default_rng(1)
    bases = generator.integers(0, 2**63, 30, dtype=np.uint64)
    codes = [int(base) for base in bases]
    for base in bases[:15]:
        for _ in range(3):
            flipped = generator.choice(64, generator.integers(0, 6), replace=False)
            codes.append(int(base) ^ sum(1 << int(bit) for bit in flipped))
    order = generator.permutation(len(codes))
    codes = [codes[index] for index in order]
    found = find_duplicates(codes)
    # Connected components of the graph of all pairs.
    reach = np.array([[(a ^ b).bit_count() <= 3 for b in codes] for a in codes])
    for _ in range(6):
        reach = reach @ reach
    expected = sorted({tuple(np.flatnonzero(row).tolist()) for row in reach if row.sum() > 1})
    assert [tuple(group) for group in found] == expected
    assert find_duplicates([]) == []

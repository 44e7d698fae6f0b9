"""How much self-attention stays on an object: closed forms, and the consequences for its masks."""

import numpy as np
import pytest

from scripts.reproduction.archive import CLASS_PROMPT, ArchivedAttention
from scripts.reproduction.mechanism import ObjectFigures, group_by_size, object_figures, staying_shares
from scripts.reproduction.recipe import ArchivedImage

OBJECT = np.zeros((8, 8), np.float32)
OBJECT[2:5, 3:7] = [[1, 1, 0.5, 0.4]] * 3  # nine positions; the object covers less than half of three others


def test_attention_within_an_object_stays_and_uniform_attention_keeps_the_objects_share() -> None:
    on_object = OBJECT.ravel() >= 0.5
    within = (on_object[:, None] == on_object[None]).astype(np.float32)
    assert staying_shares(within, OBJECT, (1, 2, 8)) == pytest.approx([1, 1, 1])
    assert staying_shares(np.ones((64, 64), np.float32), OBJECT, (1, 2, 8)) == pytest.approx([9 / 64] * 3)


def test_attention_that_never_returns_decays_with_the_power() -> None:
    on_object = OBJECT.ravel() >= 0.5
    leaving = np.eye(64, dtype=np.float32)
    leaving[on_object] *= 0.6
    leaving[on_object, 0] = 0.4
    assert staying_shares(leaving, OBJECT, (1, 2, 4)) == pytest.approx([0.6, 0.6**2, 0.6**4])


def test_an_object_smaller_than_a_position_has_no_share() -> None:
    assert staying_shares(np.ones((64, 64), np.float32), OBJECT / 3, (1, 2)) == []


def test_object_figures_include_the_size_and_the_iou_at_each_power() -> None:
    """Each position attends to its left neighbour: walks go one column left per step, and masks move right."""
    labels = np.zeros((32, 32), np.uint8)
    labels[:16, :16] = 3
    labels[31, 31] = 5
    cross = np.zeros((1, 1, 2, 16, 16), np.float32)
    cross[0, 0, 0, :8, :8] = 1
    cross[0, 0, 1, 15, 15] = 1
    left = np.eye(256, k=-1, dtype=np.float32)
    left[0, 0] = 1
    attention = {16: left[None, None], 8: np.eye(64, dtype=np.float32)[None, None]}
    scene = ArchivedImage(
        np.zeros((32, 32, 3), np.uint8), (3, 5), ArchivedAttention({(CLASS_PROMPT, 16): cross}, attention, [1]), labels
    )
    large, tiny = object_figures(scene, {1: 0.5, 2: 0.5, 4: 0.5, 8: 0.0})
    assert (large.size, tiny.size) == (64, 0.25)
    # Walks from the image's first position stay there; in other rows they continue at the end of the row above.
    assert large.fine == pytest.approx([(8 + 7 * (8 - power)) / 64 for power in (1, 2, 4, 8)])
    assert large.coarse == [1, 1, 1, 1]
    assert tiny.fine == tiny.coarse == []
    # A mask that moved by n of its 8 columns has an IoU of (8 - n) / (8 + n) with the object.
    assert large.iou[:3] == pytest.approx([7 / 9, 6 / 10, 4 / 12], abs=0.1)
    assert large.iou[3] == pytest.approx(64 / 256, abs=0.01)  # a threshold of 0: the whole image


def test_groups_by_size_have_equal_numbers_of_objects() -> None:
    sizes = [64.0, 1, 32, 2, 4, 16, 8, 128]
    objects = [ObjectFigures(size, [size / 128] * 4, [] if size < 4 else [0.5] * 4, [0.25] * 4) for size in sizes]
    groups = group_by_size(objects)
    assert [(group.smallest, group.largest) for group in groups] == [(1, 2), (4, 8), (16, 32), (64, 128)]
    assert [(group.num_objects, group.num_coarse) for group in groups] == [(2, 0), (2, 2), (2, 2), (2, 2)]
    assert groups[3].chance == pytest.approx(96 / 256)
    assert [value.mean for value in groups[1].fine] == pytest.approx([6 / 128] * 4)
    assert groups[0].coarse == []
    assert groups[1].coarse[0].half_width == 0

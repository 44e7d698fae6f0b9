import warnings

import numpy as np
import pytest
import torch

from dataset_diffusion.metrics import Confusion, confusion_matrix, segmentation_metrics, worst_confusions

NUM_LABELS = 21


@pytest.fixture
def image_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """True labels and predictions for 12 images of different sizes; only the true labels contain 255.

    Label 7 does not occur, 8 is never predicted, 9 is only predicted, 10 occurs only in ignored regions.
    """
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(12):
        shape = tuple(rng.integers(5, 90, 2))
        labels = rng.integers(0, NUM_LABELS, shape).astype(np.uint8)
        prediction = np.where(rng.random(shape) < 0.6, labels, rng.integers(0, NUM_LABELS, shape)).astype(np.uint8)
        labels[np.isin(labels, (7, 9, 10))] = 0
        labels[rng.random(shape) < 0.2] = 255
        prediction[np.isin(prediction, (7, 8))] = 0
        prediction[(prediction == 10) & (labels != 255)] = 1
        pairs.append((labels, prediction))
    return pairs


def total(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return sum(
        (confusion_matrix(*pair, NUM_LABELS) for pair in pairs), np.zeros((NUM_LABELS, NUM_LABELS), dtype=np.int64)
    )


def test_metrics_equal_mmsegs_iou_metric(image_pairs):
    from dataset_diffusion.segmentation.mmseg_modules import import_mmseg

    import_mmseg()
    from mmseg.evaluation import IoUMetric

    areas = [
        IoUMetric.intersect_and_union(
            torch.from_numpy(prediction).long(), torch.from_numpy(labels).long(), NUM_LABELS, 255
        )
        for labels, prediction in image_pairs
    ]
    # mmseg's own counts are float32; summing and dividing in float64 loses nothing.
    totals = [sum(area.double() for area in column) for column in zip(*areas, strict=True)]
    theirs = IoUMetric.total_area_to_metrics(*totals, ["mIoU"])

    ours = segmentation_metrics(total(image_pairs))

    np.testing.assert_allclose(ours.iou, theirs["IoU"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.accuracy, theirs["Acc"], rtol=0, atol=1e-9)
    assert abs(ours.pixel_accuracy - theirs["aAcc"]) < 1e-9
    assert abs(ours.miou - np.nanmean(theirs["IoU"])) < 1e-9
    assert abs(ours.mean_accuracy - np.nanmean(theirs["Acc"])) < 1e-9
    assert np.isnan(ours.iou).nonzero()[0].tolist() == [7, 10], "7 does not occur, 10 only under 255"
    assert np.isnan(ours.accuracy).nonzero()[0].tolist() == [7, 9, 10]
    assert ours.iou[8] == 0
    assert ours.iou[9] == 0


def test_counts_are_pixel_counts():
    labels = np.array([[0, 0, 1], [1, 255, 2]], dtype=np.uint8)
    prediction = np.array([[0, 1, 1], [0, 2, 2]], dtype=np.uint8)

    confusion = confusion_matrix(labels, prediction, 4)

    assert confusion.dtype == np.int64
    assert confusion.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    metrics = segmentation_metrics(confusion)
    assert metrics.iou[:3].tolist() == [1 / 3, 1 / 3, 1]
    assert np.isnan(metrics.iou[3])
    assert metrics.miou == pytest.approx(5 / 9)
    assert metrics.pixel_accuracy == 3 / 5


def test_sums_do_not_depend_on_image_order_or_distribution(image_pairs):
    expected = total(image_pairs)
    rng = np.random.default_rng(1)
    shuffled = [image_pairs[i] for i in rng.permutation(len(image_pairs))]
    for count in (1, 2, 3, 5):
        parts = [total(shuffled[rank::count]) for rank in range(count)]
        assert np.array_equal(sum(parts), expected)


def test_large_counts_are_exact():
    # Above 2 ** 53, a float would lose the last pixel.
    confusion = np.array([[2**54, 1], [0, 2**54 + 1]], dtype=np.int64)
    assert (confusion + confusion)[1, 1] == 2**55 + 2
    assert segmentation_metrics(confusion).iou == pytest.approx([1, 1])


def test_without_a_pixel_to_count_all_metrics_are_nan():
    ignored = np.full((3, 3), 255, dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = segmentation_metrics(confusion_matrix(ignored, np.zeros_like(ignored), 3))
    assert np.isnan([metrics.miou, metrics.mean_accuracy, metrics.pixel_accuracy, *metrics.iou]).all()


def test_worst_confusions_are_shares_of_the_true_label():
    confusion = np.array([[90, 10, 0, 0], [1, 1, 2, 0], [0, 0, 0, 0], [0, 5, 0, 5]])
    assert worst_confusions(confusion, 3) == [
        Confusion(1, 2, 0.5),
        Confusion(3, 1, 0.5),
        Confusion(1, 0, 0.25),
    ]
    assert len(worst_confusions(confusion, 100)) == 4, "a pair that never occurs is not a confusion"
    assert worst_confusions(np.diag([3, 4]), 5) == []
    ties = worst_confusions(np.ones((NUM_LABELS, NUM_LABELS), np.int64), 20)
    assert [(entry.true_label, entry.predicted_label) for entry in ties] == [(0, label) for label in range(1, 21)]


@pytest.mark.parametrize(
    ("labels", "prediction", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "shape"),
        (np.full((2, 2), 4), np.zeros((2, 2)), "true label lies outside 0 ... 3"),
        (np.zeros((2, 2)), np.full((2, 2), 255), "predicted label lies outside 0 ... 3"),
    ],
)
def test_labels_out_of_range_are_refused(labels, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels.astype(np.uint8), prediction.astype(np.uint8), 4)

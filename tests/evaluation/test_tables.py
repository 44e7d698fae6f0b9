import json

import numpy as np
import pytest

from dataset_diffusion.evaluation.tables import format_table, format_worst_confusions, metrics_record

NAMES = ("background", "cat", "hair drier", "dog")
CONFUSION = np.array([[90, 5, 0, 5], [30, 20, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_the_table_is_aligned_and_marks_absent_labels():
    assert format_table(CONFUSION, NAMES).splitlines() == [
        "class          IoU  accuracy  of all pixels",
        "-------------------------------------------",
        "background    69.2      90.0           66.7",
        "cat           36.4      40.0           33.3",
        "hair drier  absent    absent            0.0",
        "dog            0.0    absent            0.0",
        "-------------------------------------------",
        "mean          35.2      65.0",
        "",
        "mIoU 35.2 over 3 of 4 labels, pixel accuracy 73.3, mean accuracy 65.0",
    ]


def test_the_worst_confusions_name_both_labels():
    assert format_worst_confusions(CONFUSION, NAMES).splitlines() == [
        "worst confusions:",
        "  cat          60.0 % of its pixels taken for background",
        "  background    5.0 % of its pixels taken for cat",
        "  background    5.0 % of its pixels taken for dog",
    ]
    assert format_worst_confusions(np.diag([1, 2]), NAMES[:2]) == "no pixel was misclassified"


def test_the_record_is_strict_json():
    record = json.loads(json.dumps(metrics_record(CONFUSION, NAMES), allow_nan=False))
    assert record["iou"] == {
        "background": 90 / 130,
        "cat": 20 / 55,
        "hair drier": None,
        "dog": 0.0,
    }
    assert record["accuracy"]["dog"] is None
    assert record["miou"] == pytest.approx((90 / 130 + 20 / 55) / 3)
    assert record["pixel_accuracy"] == 110 / 150
    assert record["confusion_matrix"] == CONFUSION.tolist()


def test_an_empty_count_gives_a_table_of_absent_labels():
    empty = np.zeros((4, 4), dtype=np.int64)
    assert "mIoU absent over 0 of 4 labels" in format_table(empty, NAMES)
    assert metrics_record(empty, NAMES)["miou"] is None

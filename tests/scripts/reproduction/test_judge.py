"""The judge chooses among the classes that an image was asked to show; its labels replace exact masks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.reproduction.judge import Judge


class Certain:
    """Gives every pixel the same scores: label 3 is highest, then 7, then 2, then background."""

    def predict_probabilities(self, image: np.ndarray) -> torch.Tensor:
        scores = torch.zeros(21, *image.shape[:2])
        for label, score in ((3, 0.4), (7, 0.3), (2, 0.2), (0, 0.1)):
            scores[label] = score
        return scores


@pytest.mark.parametrize(("class_ids", "label"), [((7, 2), 7), ((2, 7, 3), 3), ((5,), 0)])
def test_the_most_likely_requested_class_wins(class_ids: tuple[int, ...], label: int) -> None:
    judge = Judge(Path("unused"))
    judge.__dict__["_segmentor"] = Certain()
    labels = judge.labels(np.zeros((4, 6, 3), np.uint8), class_ids)
    assert labels.dtype == np.uint8
    assert (labels == np.full((4, 6), label)).all()

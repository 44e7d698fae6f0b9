"""The judge decides between the classes that an image was asked for, and its labels take the place of exact masks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.reproduction.judge import Judge


class Certain:
    """Says the same of every pixel: most of all label 3, then 7, then 2, then the background."""

    def predict_probabilities(self, image: np.ndarray) -> torch.Tensor:
        scores = torch.zeros(21, *image.shape[:2])
        for label, score in ((3, 0.4), (7, 0.3), (2, 0.2), (0, 0.1)):
            scores[label] = score
        return scores


@pytest.mark.parametrize(("class_ids", "label"), [((7, 2), 7), ((2, 7, 3), 3), ((5,), 0)])
def test_the_likeliest_of_the_classes_asked_for_wins(class_ids: tuple[int, ...], label: int) -> None:
    judge = Judge(Path("unused"))
    judge.__dict__["_segmentor"] = Certain()
    labels = judge.labels(np.zeros((4, 6, 3), np.uint8), class_ids)
    assert labels.dtype == np.uint8
    assert (labels == np.full((4, 6), label)).all()

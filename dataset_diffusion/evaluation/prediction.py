"""Running a segmentor over a dataset."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dataset_diffusion.labelled.opening import EvaluationDataset

LOADING_THREADS = 4
IMAGES_AHEAD = 16
"""Images that are read while the segmentor is busy."""


class Segmentor(Protocol):
    """What `dataset_diffusion.segmentation.segmentor.load_segmentor` returns, as far as an evaluation needs it."""

    label_names: tuple[str, ...]

    def predict(self, images: Sequence[np.ndarray], tta: bool = False) -> list[np.ndarray]:
        """The labels [H, W] uint8 of each image [H, W, 3] uint8 RGB; `tta` averages over scales and flips."""


@dataclass(frozen=True)
class PredictedImage:
    """`ids[index]` of a dataset: `image` [H, W, 3] uint8 RGB, its true `labels` and the `prediction` [H, W] uint8."""

    index: int
    image: np.ndarray
    labels: np.ndarray
    prediction: np.ndarray


def predict_dataset(
    segmentor: Segmentor, dataset: EvaluationDataset, indices: Sequence[int], tta: bool
) -> Iterator[PredictedImage]:
    """Predict the images of a dataset at `indices`, in that order, with a progress bar on stderr.

    One image at a time, so that a prediction depends on its image alone: in batches, rounding would depend on the
    neighbours, and a pixel at the border of two labels with it.
    """
    loaded = _load_ahead(dataset, indices)
    progress = tqdm(loaded, desc=f"evaluating on {dataset.name}", total=len(indices), unit="image", dynamic_ncols=True)
    for index, (image, labels) in zip(indices, progress, strict=True):
        (prediction,) = segmentor.predict([image], tta=tta)
        yield PredictedImage(index, image, labels, prediction)


def _load_ahead(dataset: EvaluationDataset, indices: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Load the images and labels at `indices`, in that order, a few ahead of the one that is asked for."""
    with ThreadPoolExecutor(LOADING_THREADS) as pool:
        ahead: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        for index in indices:
            ahead.append(pool.submit(dataset.load, index))
            if len(ahead) == IMAGES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

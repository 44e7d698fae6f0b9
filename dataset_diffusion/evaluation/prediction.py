"""Running a segmentor over a dataset."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from dataset_diffusion.labelled.opening import EvaluationDataset

LOADING_THREADS = 4
IMAGES_AHEAD = 32
"""Images that are loaded ahead while the segmentor is busy."""
BATCHES_AT_ONCE = 4


class Predictor(Protocol):
    """The part of what `dataset_diffusion.segmentation.segmentor.load_segmentor` returns that an evaluation needs."""

    label_names: tuple[str, ...]
    batch_size: int

    def protocol(self, tta: bool = False) -> dict[str, Any]:
        """The test protocol, as plain values."""

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
    segmentor: Predictor, dataset: EvaluationDataset, indices: Sequence[int], tta: bool
) -> Iterator[PredictedImage]:
    """Predict the images of a dataset at `indices`, in that order, with a progress bar on stderr.

    The segmentor gets up to BATCHES_AT_ONCE batches at a time, and groups the images of the same size.
    """
    loaded = _load_ahead(dataset, indices)
    progress = tqdm(loaded, desc=f"evaluating on {dataset.name}", total=len(indices), unit="image", dynamic_ncols=True)
    numbered = zip(indices, progress, strict=True)
    # VOC and COCO mix images of a few sizes: the images of several batches can be regrouped into full ones.
    count = 1 if segmentor.batch_size == 1 else BATCHES_AT_ONCE * segmentor.batch_size
    while items := list(islice(numbered, count)):
        predictions = segmentor.predict([image for _, (image, _) in items], tta=tta)
        for (index, (image, labels)), prediction in zip(items, predictions, strict=True):
            yield PredictedImage(index, image, labels, prediction)


def _load_ahead(dataset: EvaluationDataset, indices: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Load the images and labels at `indices`, in that order, a few ahead of the current one."""
    with ThreadPoolExecutor(LOADING_THREADS) as pool:
        ahead: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        for index in indices:
            ahead.append(pool.submit(dataset.load, index))
            if len(ahead) == IMAGES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

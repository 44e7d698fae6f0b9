"""Folders in COCO's layout with semantic masks, as `dd-export format=coco` writes them."""

import numpy as np

from dataset_diffusion.images import read_image, read_label_mask
from dataset_diffusion.labelled.images_with_masks import ImagesWithMasks


class CocoStyleDataset:
    """`images/<id>.jpg` with `annotations/semantic_<split>/<id>.png`, as an EvaluationDataset.

    The constructor reads all masks once. It raises InputError, with the faults on stderr, if a mask or an image is
    missing or malformed.
    """

    def __init__(self, name: str, samples: ImagesWithMasks) -> None:
        samples.require_valid()
        self.name = name
        self.label_names = samples.labels.names
        self.ids = samples.ids
        self._samples = samples

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See EvaluationDataset."""
        image = read_image(self._samples.images[index])
        return image, read_label_mask(self._samples.masks[index], len(self.label_names))

"""The datasets that a segmentor can be evaluated on: the toy world's, PASCAL VOC, COCO or any VOC-style folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from dataset_diffusion.archives import find_voc
from dataset_diffusion.errors import InputError
from dataset_diffusion.images import LABEL_COLOURS
from dataset_diffusion.labelled.coco import CocoDataset
from dataset_diffusion.labelled.coco_style import CocoStyleDataset
from dataset_diffusion.labelled.images_with_masks import open_images_with_masks
from dataset_diffusion.labelled.label_names import Labels, read_labels
from dataset_diffusion.labelled.toy_scenes import toy_class_ids, toy_validation_set
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.settings.evaluate import EvaluateSettings
from dataset_diffusion.vocabulary import load_vocabulary


class EvaluationDataset(Protocol):
    """Images with their true labels.

    `label_names` are the names by label, "background" first; `ids` are distinct and valid as file names.
    """

    name: str
    label_names: tuple[str, ...]
    ids: tuple[str, ...]

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The image [H, W, 3] uint8 RGB and the labels [H, W] uint8 (255: not counted) of `ids[index]`.

        Raises InputError that names the file if one of them cannot be used.
        """


def open_dataset(settings: EvaluateSettings, label_names_of_segmentor: Sequence[str]) -> EvaluationDataset:
    """Open the dataset that the settings name; the toy one, with the segmentor's classes, is made if it is missing.

    A folder without a dataset.json says nothing about its labels: they are then taken to be the segmentor's. Raises
    InputError naming the file or folder that does not fit the dataset's layout.
    """
    name, split, cache_dir = settings.dataset.name, settings.dataset.split, Path(settings.cache_dir)
    if name == "toy":
        class_ids = toy_class_ids(f"dataset={name}", label_names_of_segmentor)
        return VocDataset(name, toy_validation_set(cache_dir, class_ids), split, label_names_of_segmentor)
    data_root = Path(str(settings.data_root))
    if not data_root.is_dir():
        raise InputError(f"data_root={data_root}: no such folder")
    if name == "voc":
        return VocDataset(name, find_voc(data_root), split, load_vocabulary("voc").label_names)
    if name == "coco":
        return CocoDataset(data_root, split, cache_dir)
    if (data_root / "annotations" / f"semantic_{split}").is_dir() and not (data_root / "ImageSets").exists():
        labels = Labels(tuple(label_names_of_segmentor), LABEL_COLOURS[: len(label_names_of_segmentor)])
        data = open_images_with_masks("data_root", data_root, split, cache_dir, otherwise=labels)
        return CocoStyleDataset(name, data)
    described = (data_root / "dataset.json").exists()
    return VocDataset(name, data_root, split, read_labels(data_root).names if described else label_names_of_segmentor)

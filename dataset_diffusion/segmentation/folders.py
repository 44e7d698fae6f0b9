"""The folders that the training settings name, for training and for validation."""

from pathlib import Path

import numpy as np

from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.images_with_masks import ImagesWithMasks, open_images_with_masks
from dataset_diffusion.labelled.label_names import Labels, label_difference
from dataset_diffusion.labelled.toy_scenes import toy_class_ids, toy_validation_set
from dataset_diffusion.segmentation.data import Source, shares
from dataset_diffusion.settings.train import TOY_VALIDATION, USUAL_FOLDERS, TrainSettings
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS

NUM_TOY_VALIDATION_SCENES = 100


def open_sources(settings: TrainSettings) -> list[Source]:
    """All training folders, with their shares of the batches.

    Raises InputError if a folder or its split is missing, or if their labels differ.
    """
    folders = settings.folders()
    opened = {}
    for name, folder in folders.items():
        setting = settings.root_setting(name)
        data = open_images_with_masks(
            setting,
            Path(str(folder.root)),
            folder.split,
            Path(settings.cache_dir),
            folder.vocabulary,
            vocabulary_setting=f"data.train.{name}.vocabulary",
        )
        if folder.num_samples is not None:
            if folder.num_samples > len(data.ids):
                raise InputError(
                    f"data.train.{name}.num_samples={folder.num_samples}: {data.root} has only {len(data.ids)} images "
                    f"in its {folder.split} split"
                )
            # A larger number keeps these images and adds others, for curves over the number of images.
            chosen = np.random.default_rng(settings.seed).permutation(len(data.ids))[: folder.num_samples]
            data = data.take(sorted(chosen.tolist()))
        opened[name] = data
    first_name, first = next(iter(opened.items()))
    for name, data in opened.items():
        if difference := label_difference(data.labels.names, first.labels.names):
            raise InputError(
                f"{settings.root_setting(name)}={folders[name].root}: {difference} in "
                f"{settings.root_setting(first_name)}={folders[first_name].root}; train on folders of the same labels"
            )
    sizes = [len(data.ids) for data in opened.values()]
    parts = shares(sizes, [folder.weight for folder in folders.values()])
    return [Source(data, part) for data, part in zip(opened.values(), parts, strict=True)]


def open_validation(settings: TrainSettings, labels: Labels) -> ImagesWithMasks | None:
    """The validation data, if any. A folder that does not name its labels is taken to have the trained ones."""
    if settings.val is None:
        return None
    setting, root, split = (
        f"val={settings.val}",
        Path(USUAL_FOLDERS.get(settings.val, settings.val)),
        settings.val_split,
    )
    if settings.val == TOY_VALIDATION:
        class_ids = toy_class_ids(setting, labels.names)
        # Neither drawn in training nor among the scenes that dd-eval measures on: choosing by those would be biased.
        seeds = HELD_OUT_SEEDS[:NUM_TOY_VALIDATION_SCENES]
        root, split = toy_validation_set(Path(settings.work_dir) / "validation", class_ids, seeds), "val"
    known = settings.val if settings.val in USUAL_FOLDERS else None
    data = open_images_with_masks("val", root, split, Path(settings.cache_dir), vocabulary=known, otherwise=labels)
    if difference := label_difference(data.labels.names, labels.names):
        raise InputError(f"{setting}: {difference} in the training data; validate on the training classes")
    return data

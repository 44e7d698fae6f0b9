"""Labelled images of a VOC-style folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataset_diffusion.calibration.recording import LabelledImage
from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.label_names import DESCRIPTION_FILE, label_difference, read_labels
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.prompts.tokens import full_text, prompt_text
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX
from dataset_diffusion.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def labelled_images(folder: Path, split: str, vocabulary: Vocabulary, most: int) -> list[LabelledImage]:
    """The first images of a split that have a class in their mask, at most `most`; their prompts are the class words.

    Raises InputError if the folder does not have that layout, its dataset.json names other labels than the vocabulary,
    a mask has a label that is not in the vocabulary, or no mask has a class.
    """
    ids = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not ids.exists():
        raise InputError(f"{ids}: no such file; it lists the ids of the labelled images, one per line")
    if (folder / DESCRIPTION_FILE).exists():
        _require_same_labels(folder, vocabulary)
    dataset = VocDataset("folder", folder, split, vocabulary.label_names)
    images: list[LabelledImage] = []
    for index in range(len(dataset.ids)):
        image, labels = dataset.load(index)
        class_ids = tuple(int(label) for label in np.unique(labels) if label not in {BACKGROUND, IGNORE_INDEX})
        if class_ids:
            words = tuple(vocabulary[class_id].word for class_id in class_ids)
            images.append(LabelledImage(image, labels, class_ids, words, prompt=" ".join(words)))
        if len(images) == most:
            break
    if not images:
        raise InputError(f"{folder}: no mask of split {split} has a class; label some images, twenty will do")
    return images


def _require_same_labels(folder: Path, vocabulary: Vocabulary) -> None:
    """Raise InputError if the folder's dataset.json numbers its classes otherwise than the vocabulary."""
    if difference := label_difference(read_labels(folder).names, vocabulary.label_names):
        raise InputError(
            f"{folder / DESCRIPTION_FILE}: {difference} in the vocabulary; choose the folder's classes with "
            "vocabulary.name or vocabulary.classes"
        )


def with_captions(images: Sequence[LabelledImage], tokenizer: "CLIPTokenizer") -> list[LabelledImage]:
    """The images with a short caption before their class words, which need other words to be compared with.

    The caption is cut to what the tokenizer's text encoder reads. Raises InputError if even the class words are too
    long.
    """
    return [
        replace(item, prompt=prompt_text(tokenizer, full_text("", item.words, "simple"), item.words)) for item in images
    ]

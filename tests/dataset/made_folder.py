"""Finished dataset folders of made-up samples, for tests of everything built on such folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from dataset_diffusion.dataset.description import DESCRIPTION_FILE, PlanFacts, describe_dataset
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.layout import write_layout
from dataset_diffusion.dataset.manifest import Manifest, SampleRecord, record_sample
from dataset_diffusion.dataset.quality import measure_quality
from dataset_diffusion.files import encode_json
from dataset_diffusion.settings.generate import GenerateSettings, VocabularySettings
from dataset_diffusion.types import ClassScores, LabelMask, Prompt
from dataset_diffusion.vocabulary import choose_vocabulary

SIZE = (48, 40)


def make_folder(
    path: Path,
    count: int = 6,
    *,
    vocabulary: str = "voc",
    splits: Mapping[str, float] | None = None,
    writer: str = "voc",
    sample_ids: Sequence[str] | None = None,
) -> list[SampleRecord]:
    """A folder of `count` samples with two classes each (one can hide the other), ignored pixels and odd captions."""
    chosen = choose_vocabulary(VocabularySettings(vocabulary))
    settings = GenerateSettings(
        str(path),
        count,
        0,
        1,
        vocabulary=VocabularySettings(vocabulary),
        splits=dict(splits or {}) or None,
        writer=writer,
    )
    folder = VocFolder(path, chosen.palette)
    folder.prepare()
    generator = np.random.default_rng(0)
    records = []
    for index in range(count):
        sample_id = sample_ids[index] if sample_ids else f"{index:06d}"
        classes = tuple(int(label) for label in generator.choice(chosen.class_ids, 2, replace=False))
        labels = made_labels(generator, classes)
        scores = np.stack([0.5 + 0.4 * (labels == label) for label in classes]).astype(np.float32)
        mask = LabelMask(labels, classes, tuple(0.9 * float(np.any(labels == label)) for label in classes))
        image = generator.integers(0, 256, (*SIZE, 3), np.uint8)
        prompt = Prompt(sample_id, f'caption {index}, a café | "quoted"', classes, seed=index)
        quality = measure_quality(image, mask, ClassScores(torch.from_numpy(scores), classes))
        records.append(record_sample(prompt, mask, folder.write(sample_id, image, labels), chosen, quality))
    Manifest(path).write(records)
    description = describe_dataset(
        settings, chosen, {"id": "toy", "revision": "sha256:00"}, PlanFacts(count, 0, 0, {}), records
    )
    (path / DESCRIPTION_FILE).write_bytes(encode_json(description))
    write_layout(folder, settings)
    return records


def rewrite_manifest(path: Path, records: Sequence[SampleRecord]) -> None:
    """Replace a folder's records."""
    Manifest(path).write(records)


def made_labels(generator: np.random.Generator, classes: Sequence[int]) -> np.ndarray:
    """Rectangles of two classes on background, the first in several pieces, and a band of ignored pixels."""
    labels = np.zeros(SIZE, np.uint8)
    for _ in range(3):
        top, left = generator.integers(0, SIZE[0] - 8), generator.integers(0, SIZE[1] - 8)
        labels[top : top + 6, left : left + 7] = classes[0]
    if generator.random() < 0.7:
        labels[5:20, 8:25] = classes[1]
    labels[:, -3:] = 255
    return labels

"""Check whether the files of a dataset folder are those that its manifest describes."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.ledger import Ledger
from dataset_diffusion.dataset.manifest import SampleRecord
from dataset_diffusion.images import IMAGE_ERRORS
from dataset_diffusion.types import IGNORE_INDEX

AT_ONCE = 1024
"""Samples handed to the threads at a time: a pool keeps everything that it is given in memory."""


@dataclass(frozen=True)
class Verification:
    """What is wrong in a folder: ids of samples that lack a file, and damaged files, each with its fault.

    Foreign files belong to no sample of the plan.
    """

    num_samples: int
    missing: list[str]
    damaged: dict[Path, str]
    foreign: list[Path]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is missing or damaged; foreign files do no harm."""
        return not self.missing and not self.damaged

    def __str__(self) -> str:
        lines = [f"missing: {sample_id}" for sample_id in self.missing]
        lines += [f"damaged: {path}: {fault}" for path, fault in self.damaged.items()]
        lines += [f"foreign: {path}" for path in self.foreign]
        lines.append(
            f"{self.num_samples} samples: {len(self.missing)} missing, {len(self.damaged)} damaged files, "
            f"{len(self.foreign)} foreign files"
        )
        return "\n".join(lines)


def verify_folder(folder: VocFolder, ledger: Ledger, num_labels: int, progress: bool = True) -> Verification:
    """Check every file of a folder: its SHA-256 against the manifest, a mask's labels, and its size against the image.

    Valid labels are 0 ... num_labels - 1, and 255.
    """
    plan = ledger.plan
    missing = [plan.sample_id(position) for position, finished in enumerate(ledger.finished) if not finished]
    records = ledger.records()
    damaged: dict[Path, str] = {}
    check = partial(_faults, folder, num_labels)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(records), unit="sample", desc="verifying", disable=not progress) as bar,
    ):
        for start in range(0, len(records), AT_ONCE):
            for faults in pool.map(check, records[start : start + AT_ONCE]):
                damaged.update(faults)
                bar.update()
    known = {plan.sample_id(position) for position in range(len(plan))}
    foreign = [path for path in folder.sample_files() if path.stem not in known]
    return Verification(len(plan), missing, damaged, foreign)


def _faults(folder: VocFolder, num_labels: int, record: SampleRecord) -> list[tuple[Path, str]]:
    return [*_image_faults(folder, record), *_mask_faults(folder, num_labels, record)]


def _image_faults(folder: VocFolder, record: SampleRecord) -> Iterator[tuple[Path, str]]:
    path = folder.image_path(record.id)
    if fault := _content_fault(path, record.image_sha256):
        yield path, fault


def _mask_faults(folder: VocFolder, num_labels: int, record: SampleRecord) -> Iterator[tuple[Path, str]]:
    path = folder.mask_path(record.id)
    if fault := _content_fault(path, record.mask_sha256):
        yield path, fault
        return
    try:
        with Image.open(path) as mask, Image.open(folder.image_path(record.id)) as image:
            labels, mask_size, image_size = np.unique(np.asarray(mask)), mask.size, image.size
    except IMAGE_ERRORS:
        return  # The image is damaged, which is reported already.
    if mask_size != image_size:
        yield path, f"has {mask_size[0]}x{mask_size[1]} pixels, but its image {image_size[0]}x{image_size[1]}"
    if wrong := [int(label) for label in labels if label >= num_labels and label != IGNORE_INDEX]:
        yield path, f"has labels that are not in the vocabulary: {wrong}"


def _content_fault(path: Path, digest: str) -> str | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if sha256(content).hexdigest() == digest else "is not the file that was written"

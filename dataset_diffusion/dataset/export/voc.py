"""A folder like dd-generate's, from any export that can be read back, or from some splits of another folder."""

from functools import partial

from dataset_diffusion.dataset.export.job import ExportJob
from dataset_diffusion.dataset.export.reading import each_once
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import Manifest
from dataset_diffusion.dataset.source import StoredSample
from dataset_diffusion.dataset.splits import TRAIN
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically, write_new


def write_voc(job: ExportJob) -> None:
    """Write JPEGImages/, SegmentationClass/, ImageSets/Segmentation/<split>.txt and manifest.jsonl.

    The manifest is in the source's order, not split after split: splits can share samples, and each split is later read
    side by side with the manifest, which requires one order for all.
    """
    if TRAIN not in job.splits:
        raise InputError(f"splits: format=voc needs a split train, e.g. '{{train:{next(iter(job.splits.values()))}}}'")
    folder = VocFolder(job.output_dir, job.labels.palette)
    folder.prepare()
    for split in job.splits:
        lines = (f"{sample_id}\n".encode() for sample_id in job.converted(split, partial(_write, folder)))
        write_atomically(folder.split_file.with_name(f"{split}.txt"), lines)
    Manifest(job.output_dir).write(record for record, _ in each_once(job.source, job.splits))


def _write(folder: VocFolder, sample: StoredSample) -> str:
    """Write a sample's files and return its id."""
    image, mask = sample.read()
    sample_id = sample.record.id
    write_new(folder.image_path(sample_id), image)
    write_new(folder.mask_path(sample_id), mask)
    return sample_id

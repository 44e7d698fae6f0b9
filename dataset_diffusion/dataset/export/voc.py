"""A folder as dd-generate makes it, from any export that can be read back, or from some splits of another folder."""

from functools import partial

from dataset_diffusion.dataset.export.job import ExportJob
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import MANIFEST_FILE, SampleRecord, encode_records
from dataset_diffusion.dataset.source import StoredSample
from dataset_diffusion.dataset.splits import TRAIN
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import explaining_write_errors, write_new


def write_voc(job: ExportJob) -> None:
    """JPEGImages/, SegmentationClass/, ImageSets/Segmentation/<split>.txt and manifest.jsonl."""
    if TRAIN not in job.splits:
        raise InputError(f"splits: format=voc needs a split train, e.g. '{{train:{next(iter(job.splits.values()))}}}'")
    folder = VocFolder(job.output_dir, job.labels.palette)
    folder.prepare()
    manifest_file = job.output_dir / MANIFEST_FILE
    with explaining_write_errors(manifest_file), manifest_file.open("wb") as manifest:
        for split in job.splits:
            with folder.split_file.with_name(f"{split}.txt").open("w", encoding="utf-8") as lines:
                for record, is_new in job.converted(split, partial(_write, folder)):
                    lines.write(f"{record.id}\n")
                    if is_new:
                        manifest.write(encode_records([record]))


def _write(folder: VocFolder, sample: StoredSample) -> tuple[SampleRecord, bool]:
    """Write a sample's files; the second value says that no other split had it before."""
    image, mask = sample.read()
    sample_id = sample.record.id
    is_new = not folder.has(sample_id)
    write_new(folder.image_path(sample_id), image)
    write_new(folder.mask_path(sample_id), mask)
    return sample.record, is_new

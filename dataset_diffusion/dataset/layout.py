"""The last files to be written in a dataset folder: its splits and, for `writer=coco`, COCO's files."""

from dataset_diffusion.dataset.coco import write_coco
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import Manifest
from dataset_diffusion.dataset.source import GrowingFolder
from dataset_diffusion.dataset.splits import TRAIN, split_of
from dataset_diffusion.settings.generate import GenerateSettings


def write_layout(folder: VocFolder, settings: GenerateSettings) -> None:
    """Finish a folder whose samples, manifest.jsonl and dataset.json are written; train.txt comes last of all."""
    shares = settings.splits or {TRAIN: 1.0}
    if settings.writer == "coco":
        splits = {split: split for split in shares}
        # One process: others would have to be started from a program that may hold a GPU.
        source = GrowingFolder(folder.path)
        write_coco(source, folder.path, splits=splits, components=settings.coco_components, num_workers=1)
    for split in sorted(shares, key=lambda name: name == TRAIN):
        records = Manifest(folder.path).stream()
        folder.write_split((record.id for record in records if split_of(record.caption, shares) == split), split)

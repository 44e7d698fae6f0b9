"""Make PASCAL VOC 2012 or COCO 2017 ready for `dd-eval`.

    python -m scripts.prepare_data voc data/voc       then: dd-eval checkpoint=... dataset=voc data_root=data/voc
    python -m scripts.prepare_data coco data/coco     then: dd-eval checkpoint=... dataset=coco data_root=data/coco

Says which archives to download into the folder, verifies their checksums, unpacks them, and checks that all validation
images and masks are there. Archives that are already unpacked are not unpacked again.
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dataset_diffusion.archives import find_voc
from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.coco import CocoDataset
from dataset_diffusion.labelled.opening import EvaluationDataset
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.vocabulary import load_vocabulary


@dataclass(frozen=True)
class Archive:
    """An archive to download. `member` is a path that exists once the archive is unpacked."""

    url: str
    size: str
    md5: str
    member: str

    @property
    def file_name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """A dataset: its archives, how many images `dd-eval` measures on, and how to open it."""

    archives: tuple[Archive, ...]
    num_images: int
    open: Callable[[Path], EvaluationDataset]


SOURCES = {
    "voc": Source(
        archives=(
            Archive(
                url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                size="1.9 GB",
                md5="6cd6e144f989b92b3379bac3b3de84fd",
                member="VOCdevkit/VOC2012/SegmentationClass",
            ),
        ),
        num_images=1449,
        open=lambda folder: VocDataset("voc", find_voc(folder), "val", load_vocabulary("voc").label_names),
    ),
    "coco": Source(
        archives=(
            Archive(
                url="http://images.cocodataset.org/zips/val2017.zip",
                size="0.8 GB",
                md5="442b8da7639aecaf257c1dceb8ba8c80",
                member="val2017",
            ),
            Archive(
                url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
                size="0.25 GB",
                md5="f4bbac642086de4f52a3fdda2de5fa2c",
                member="annotations/instances_val2017.json",
            ),
        ),
        num_images=5000,
        # Opening the dataset makes no masks, so nothing is written to the cache.
        open=lambda folder: CocoDataset(folder, "val", cache_dir=folder),
    ),
}


def prepare(source: Source, folder: Path) -> EvaluationDataset:
    """Unpack the archives if necessary, and open the dataset. Raises InputError if anything is missing or wrong."""
    to_unpack = [archive for archive in source.archives if not (folder / archive.member).exists()]
    if missing := [archive for archive in to_unpack if not (folder / archive.file_name).is_file()]:
        needed = ", ".join(f"{archive.url} ({archive.size})" for archive in missing)
        raise InputError(f"{folder}: download {needed} into this folder, then run this again")
    for archive in to_unpack:
        unpack(archive, folder)
    dataset = source.open(folder)
    if len(dataset.ids) != source.num_images:
        raise InputError(
            f"{folder}: {len(dataset.ids)} validation images, expected {source.num_images}; unpack it again"
        )
    return dataset


def unpack(archive: Archive, folder: Path) -> None:
    """Unpack an archive next to itself. Raises InputError if its checksum is wrong or part of it already exists."""
    path, top = folder / archive.file_name, Path(archive.member).parts[0]
    if (folder / top).exists():
        raise InputError(f"{folder / top}: exists, but {archive.member} does not; move it away, then run this again")
    print(f"reading {path}")
    with path.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    if md5 != archive.md5:
        raise InputError(f"{path}: has MD5 {md5}, expected {archive.md5}; download {archive.url} again")
    print(f"unpacking {path}")
    # Unpacked elsewhere and moved when done, so that an interrupted unpacking is not taken for a finished one.
    unfinished = folder / f".{archive.file_name}.unpacked"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.unpack_archive(path, unfinished)
    (unfinished / top).rename(folder / top)
    shutil.rmtree(unfinished)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(SOURCES))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        dataset = prepare(SOURCES[arguments.dataset], arguments.folder)
    except InputError as error:
        print(f"prepare_data.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    name = arguments.dataset
    command = f"dd-eval checkpoint=runs/{name}/segmentor.pth dataset={name} data_root={arguments.folder}"
    print(f"{len(dataset.ids)} images are ready: {command}")


if __name__ == "__main__":
    main()

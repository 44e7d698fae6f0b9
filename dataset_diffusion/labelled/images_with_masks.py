"""Any folder of images with masks that a segmentor can be trained and validated on, recognised by its layout.

PASCAL VOC      VOCdevkit/VOC2012, or its contents; the split trainaug takes its masks from SegmentationClassAug
COCO 2017       annotations/instances_<split>2017.json and <split>2017/; semantic masks are drawn once, into a cache
VOC-style       JPEGImages/, SegmentationClass/, ImageSets/Segmentation/<split>.txt; as dd-generate writes it
COCO-style      images/ and annotations/semantic_<split>/<id>.png; as dd-generate writes it with writer=coco

find_image says which file extensions images can have.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.coco import CocoDataset
from dataset_diffusion.labelled.faults import read_split, require_valid_pairs
from dataset_diffusion.labelled.image_files import find_image
from dataset_diffusion.labelled.label_names import DESCRIPTION_FILE, Labels, read_labels
from dataset_diffusion.vocabulary import load_vocabulary

AUGMENTED_SPLIT = "trainaug"
"""VOC's training images plus those of SBD (Hariharan et al., 2011): 10,582 in all."""
SPLITS = Path("ImageSets", "Segmentation")


@dataclass(frozen=True)
class ImagesWithMasks:
    """A split of a folder; `images` and `masks` are the files of `ids`, in the same order.

    `described` says whether the folder has a dataset.json, as folders made by dd-generate do.
    """

    root: Path
    labels: Labels
    ids: tuple[str, ...] = field(repr=False)
    images: tuple[Path, ...] = field(repr=False)
    masks: tuple[Path, ...] = field(repr=False)
    described: bool = False

    def require_valid(self) -> None:
        """Raise InputError, with the faults on stderr, unless all files exist and fit together."""
        require_valid_pairs(str(self.root), list(zip(self.images, self.masks, strict=True)), len(self.labels.names))

    def fingerprint(self) -> str:
        """A SHA-256 of the ids and of the sizes of their files in this folder. Moving the folder does not change it.

        Masks in a cache are left out: they are made from the folder.
        """
        digest = hashlib.sha256()
        for sample_id, *files in zip(self.ids, self.images, self.masks, strict=True):
            sizes = [file.stat().st_size for file in files if file.is_relative_to(self.root)]
            digest.update(f"{sample_id} {sizes}\n".encode())
        return digest.hexdigest()

    def take(self, indices: Sequence[int]) -> "ImagesWithMasks":
        """The samples at `indices`."""
        return replace(
            self,
            ids=tuple(self.ids[index] for index in indices),
            images=tuple(self.images[index] for index in indices),
            masks=tuple(self.masks[index] for index in indices),
        )


def open_images_with_masks(
    setting: str,
    root: Path,
    split: str,
    cache_dir: Path,
    vocabulary: str | None = None,
    otherwise: Labels | None = None,
    vocabulary_setting: str = "vocabulary",
) -> ImagesWithMasks:
    """Open a split of a folder; COCO's masks are drawn if they do not exist yet.

    The labels come from the folder's dataset.json, from the dataset that it is recognised as, or from `vocabulary` (a
    name or a file), else they are `otherwise`. Raises InputError that names `setting` or the missing file.
    """
    if not root.is_dir():
        raise InputError(f"{setting}={root}: no such folder; make it with dd-generate, or name another")
    # The splits of an export can have COCO's names, too; but it has a description, and its masks are already drawn.
    if any((root / "annotations").glob("instances_*2017.json")) and not (root / DESCRIPTION_FILE).exists():
        return _open_coco(root, split, cache_dir)
    nested = [folder for folder in (root / "VOCdevkit" / "VOC2012", root / "VOC2012") if (folder / SPLITS).is_dir()]
    root = nested[0] if nested else root
    labels = _labels(root, vocabulary, otherwise, vocabulary_setting)
    described = (root / DESCRIPTION_FILE).exists()
    semantic = root / "annotations" / f"semantic_{split}"
    if semantic.is_dir() and not (root / SPLITS / f"{split}.txt").exists():
        masks = tuple(sorted(semantic.glob("*.png")))
        ids = tuple(mask.stem for mask in masks)
        images = tuple(find_image(root / "images", sample_id) for sample_id in ids)
        return ImagesWithMasks(root, labels, ids, images, masks, described)
    ids = _read_ids(root, split)
    images = tuple(find_image(root / "JPEGImages", sample_id) for sample_id in ids)
    masks = tuple(_mask_path(root, split, sample_id) for sample_id in ids)
    return ImagesWithMasks(root, labels, ids, images, masks, described)


def _open_coco(root: Path, split: str, cache_dir: Path) -> ImagesWithMasks:
    dataset = CocoDataset(root, split, cache_dir)
    dataset.draw_masks()
    palette = load_vocabulary("coco").palette
    indices = range(len(dataset.ids))
    images = tuple(map(dataset.image_path, indices))
    return ImagesWithMasks(
        root, Labels(dataset.label_names, palette), dataset.ids, images, tuple(map(dataset.mask_path, indices))
    )


def _labels(root: Path, vocabulary: str | None, otherwise: Labels | None, setting: str) -> Labels:
    if (root / DESCRIPTION_FILE).exists():
        return read_labels(root)
    if vocabulary is None and root.name == "VOC2012":
        vocabulary = "voc"
    if vocabulary is not None:
        known = load_vocabulary(vocabulary)
        return Labels(known.label_names, known.palette)
    if otherwise is not None:
        return otherwise
    raise InputError(
        f"{root / DESCRIPTION_FILE}: no such file; say what its labels are with {setting}=voc, coco or a .yaml file"
    )


def _read_ids(root: Path, split: str) -> tuple[str, ...]:
    split_file = root / SPLITS / f"{split}.txt"
    if not split_file.exists() and (found := sorted(file.stem for file in split_file.parent.glob("*.txt"))):
        raise InputError(f"{split_file}: no such file; the splits of the folder are {', '.join(found)}")
    ids, faults = read_split(split_file)
    if faults:
        raise InputError(faults[0])
    return tuple(ids)


def _mask_path(root: Path, split: str, sample_id: str) -> Path:
    augmented = root / "SegmentationClassAug" / f"{sample_id}.png"
    if split == AUGMENTED_SPLIT and augmented.exists():
        return augmented
    return root / "SegmentationClass" / f"{sample_id}.png"

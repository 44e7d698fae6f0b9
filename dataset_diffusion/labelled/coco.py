"""COCO 2017 for semantic segmentation: label masks of 80 classes and background from the instance annotations.

COCO has no such masks, and papers make them in different ways. Here:

- Where objects overlap, the smaller one is on top: an object that covers a large one (a cup on a table) is usually
  small.
- A crowd region (`iscrowd`: "some people stand here", outlined as a whole, with the gaps between them) is 255 (not
  counted), except where a single object covers it. It is neither all that class nor all background, and COCO's own
  evaluation ignores detections there, too. (Others paint it as its class, gaps included.)
- An image without annotations is all background, and counts.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools
from tqdm import tqdm

from dataset_diffusion.archives import COCO_ANNOTATIONS_SOURCE
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import explaining_write_errors, parse_json, read_bytes, require_files
from dataset_diffusion.images import read_image, read_label_mask, require_same_size, write_label_mask
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX
from dataset_diffusion.vocabulary import load_vocabulary, normalise

CACHE_VERSION = 1
"""Changes whenever `semantic_mask` would make different masks, so that no stale mask is read."""


class CocoDataset:
    """`annotations/instances_<split>2017.json` and `<split>2017/` in `data_root`, as an EvaluationDataset.

    A mask is made when it is first read, and kept in `cache_dir` in a folder named after the annotation file's
    content. The constructor raises InputError if a file is missing or the annotations are not COCO's.
    """

    def __init__(self, data_root: Path, split: str, cache_dir: Path) -> None:
        vocabulary = load_vocabulary("coco")
        self.name = "coco"
        self.label_names = vocabulary.label_names
        self._annotation_file = data_root / "annotations" / f"instances_{split}2017.json"
        self._image_dir = data_root / f"{split}2017"
        for path in (self._annotation_file, self._image_dir):
            if not path.exists():
                archives = f"{split}2017.zip and {COCO_ANNOTATIONS_SOURCE}"
                raise InputError(f"{path}: is missing; unpack {archives} in data_root={data_root}")
        content = read_bytes(self._annotation_file)
        try:
            self._index(parse_json(self._annotation_file, content))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self._annotation_file}: is not in COCO's instances format ({error!r})") from error
        self._label_of_category = self._match_categories()
        require_files(self._image_dir, [image["file_name"] for image in self._images])
        digest = hashlib.sha256(content).hexdigest()[:16]
        self._mask_dir = cache_dir / f"coco_masks_v{CACHE_VERSION}_{digest}"

    def image_path(self, index: int) -> Path:
        """The image file of `ids[index]`."""
        return self._image_dir / self._images[index]["file_name"]

    def mask_path(self, index: int) -> Path:
        """Where the mask of `ids[index]` is, or will be."""
        return self._mask_dir / f"{self.ids[index]}.png"

    def draw_masks(self) -> None:
        """Make all masks that do not exist yet."""
        missing = [index for index in range(len(self.ids)) if not self.mask_path(index).exists()]
        progress = tqdm(missing, desc="COCO's masks", unit="mask", dynamic_ncols=True, disable=not missing)
        with explaining_write_errors(self._mask_dir):
            for index in progress:
                write_label_mask(self.mask_path(index), self._make_mask(index))

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """See EvaluationDataset."""
        image_path, mask_path = self.image_path(index), self.mask_path(index)
        if mask_path.exists():
            labels = read_label_mask(mask_path, len(self.label_names))
        else:
            labels = self._make_mask(index)
            write_label_mask(mask_path, labels)
        image = read_image(image_path)
        require_same_size(image_path, image, f"its entry in {self._annotation_file}", labels)
        return image, labels

    def _index(self, content: dict[str, Any]) -> None:
        self._categories = sorted((int(entry["id"]), str(entry["name"])) for entry in content["categories"])
        self._images = sorted(content["images"], key=lambda image: int(image["id"]))
        self._annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            self._annotations[annotation["image_id"]].append(annotation)
        file_names = [image["file_name"] for image in self._images]
        self.ids = tuple(Path(name).stem for name in file_names)
        if not self.ids:
            raise InputError(f"{self._annotation_file}: lists no images")
        if len(set(self.ids)) < len(self.ids) or any(Path(name).name != name for name in file_names):
            raise InputError(f"{self._annotation_file}: file_name must be a plain name, different for each image")

    def _match_categories(self) -> dict[int, int]:
        """Labels by category id: COCO's ids run from 1 to 90 with gaps, the labels from 1 to 80, in the same order."""
        found, expected = [name for _, name in self._categories], self.label_names[1:]
        for label, (category_name, label_name) in enumerate(zip(found, expected, strict=False), start=1):
            if normalise(category_name) != normalise(label_name):
                raise InputError(
                    f"{self._annotation_file}: category {label} is {category_name!r}, but COCO's is {label_name!r}; "
                    "this is not COCO 2017 (dataset=folder evaluates on your masks)"
                )
        if len(found) != len(expected):
            raise InputError(f"{self._annotation_file}: has {len(found)} categories, but COCO 2017 has {len(expected)}")
        return {category_id: label for label, (category_id, _) in enumerate(self._categories, start=1)}

    def _make_mask(self, index: int) -> np.ndarray:
        image = self._images[index]
        try:
            height, width = int(image["height"]), int(image["width"])
            return semantic_mask(self._annotations[image["id"]], height, width, self._label_of_category)
        # pycocotools raises a bare Exception for a segmentation of an unknown type.
        except Exception as error:
            raise InputError(
                f"{self._annotation_file}: the annotations of {image['file_name']} cannot be drawn ({error!r})"
            ) from error


def semantic_mask(
    annotations: Sequence[dict[str, Any]], height: int, width: int, label_of_category: dict[int, int]
) -> np.ndarray:
    """Paint the annotations of one image, as the module's docstring says: [H, W] uint8, 0 background, 255 not counted.

    Objects of equal area are painted in the order of their ids, so the order of the list does not matter.
    """
    labels = np.full((height, width), BACKGROUND, dtype=np.uint8)
    crowds = [entry for entry in annotations if entry.get("iscrowd", 0)]
    for annotation in crowds:
        labels[_region(annotation, height, width)] = IGNORE_INDEX
    objects = [
        (_region(entry, height, width), entry["id"], label_of_category[entry["category_id"]])
        for entry in annotations
        if not entry.get("iscrowd", 0)
    ]
    # The area is not taken from the file: it is the number of pixels that are painted.
    for region, _, label in sorted(objects, key=lambda item: (-np.count_nonzero(item[0]), item[1])):
        labels[region] = label
    return labels


def _region(annotation: dict[str, Any], height: int, width: int) -> np.ndarray:
    """The pixels [H, W] bool of a segmentation: a list of polygons, or a run-length encoding, compressed or not."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        code = rle_tools.merge(rle_tools.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = rle_tools.frPyObjects(segmentation, height, width)
    else:
        code = segmentation
    region = rle_tools.decode(code).astype(bool)
    if region.shape != (height, width):
        raise ValueError(f"annotation {annotation['id']} differs in size from its image")
    return region

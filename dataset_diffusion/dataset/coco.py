"""COCO's files for a finished dataset: instances, panoptic and semantic masks, captions (cocodataset.org/#format-data).

    images/<id>.jpg
    annotations/instances_<split>.json                    a segment per image and class, or per connected component
    annotations/panoptic_<split>.json, panoptic_<split>/  the same segments and the background; ignored pixels are void
    annotations/semantic_<split>/<id>.png                 grey PNGs of the labels: 0 background, 255 ignored
    annotations/captions_<split>.json

Category ids are the labels, or COCO's own for its 80 classes. Ignored pixels are in no segment. In the instances, an
image's entry holds its line of the manifest under "record", which COCO's readers ignore.
"""

import io
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as rle_tools

from dataset_diffusion import __version__
from dataset_diffusion.dataset.json_stream import JsonObjectWriter
from dataset_diffusion.dataset.source import Labels, Source, StoredSample, labels_of
from dataset_diffusion.files import explaining_write_errors, write_atomically, write_new
from dataset_diffusion.images import decode_labels
from dataset_diffusion.parallel import parallel_map
from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX
from dataset_diffusion.vocabulary import load_vocabulary

COCO_CATEGORY_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
"""Numbers in 1 ... 90 that no class of COCO's 2014 and 2017 releases has."""
COCO_BACKGROUND = 201
"""The first number that COCO uses for neither things nor stuff (they end at 200)."""
SUPERCATEGORY_ENDS = (
    *((1, "person"), (9, "vehicle"), (15, "outdoor"), (25, "animal"), (33, "accessory"), (43, "sports")),
    *((51, "kitchen"), (61, "food"), (71, "furniture"), (77, "electronic"), (83, "appliance"), (90, "indoor")),
)
"""The last category id of each of COCO's supercategories."""
INFO_URL = "https://arxiv.org/abs/2309.14303"


@dataclass(frozen=True)
class Categories:
    """COCO's view of the labels: `ids[label - 1]` is the category id of a class; `background` that of label 0."""

    labels: Labels
    ids: tuple[int, ...]
    background: int

    def things(self) -> list[dict[str, Any]]:
        """The categories of the instances."""
        names = self.labels.names[1:]
        is_coco = self.background == COCO_BACKGROUND
        return [
            {"id": number, "name": name, "supercategory": _supercategory(number) if is_coco else "object"}
            for number, name in zip(self.ids, names, strict=True)
        ]

    def panoptic(self) -> list[dict[str, Any]]:
        """The categories of the panoptic masks: the background is stuff."""
        background = {"id": self.background, "name": self.labels.names[BACKGROUND], "supercategory": "background"}
        things = [{**thing, "isthing": 1} for thing in self.things()]
        return [
            {**category, "color": list(colour)}
            for category, colour in zip([{**background, "isthing": 0}, *things], self.labels.palette, strict=True)
        ]


def find_categories(labels: Labels) -> Categories:
    """COCO's own ids if the classes are COCO's, else the labels; the background has the next id."""
    count = len(labels.names) - 1
    if labels.names == load_vocabulary("coco").label_names:
        return Categories(labels, tuple(sorted({*range(1, 91)} - COCO_CATEGORY_GAPS)), COCO_BACKGROUND)
    return Categories(labels, tuple(range(1, count + 1)), count + 1)


@dataclass(frozen=True)
class Segment:
    """Pixels of one category, with the fields of COCO's annotations."""

    category_id: int
    area: int
    bbox: tuple[int, int, int, int]
    rle: dict[str, Any]


@dataclass(frozen=True)
class _Converted:
    """A sample whose picture files are written."""

    position: int
    record: dict[str, Any]
    caption: str
    size: tuple[int, int]
    segments: list[Segment]
    background: Segment | None


def write_coco(
    source: Source,
    output_dir: Path,
    *,
    splits: dict[str, str],
    components: bool,
    num_workers: int | None,
    on_sample: Callable[[], None] = lambda: None,
) -> None:
    """Write COCO's files for `source` into `output_dir`; memory use does not grow with the number of samples.

    `splits` gives the source's split for each split to write. With `components`, every connected component of a class
    is a separate segment. `on_sample` is called after each sample. In the source's folder, images/ holds hard links.
    """
    categories = find_categories(labels_of(source.path, source.description))
    head = {"info": _info(source), "licenses": _licenses(source)}
    for split, source_split in splits.items():
        annotations = output_dir / "annotations"
        convert = partial(_convert, output_dir, split, categories, components, output_dir == source.path)
        with ExitStack() as stack:
            writers = {
                kind: stack.enter_context(
                    JsonObjectWriter(
                        annotations / f"{kind}_{split}.json",
                        head if listed is None else {**head, "categories": listed},
                        ("images", "annotations"),
                    )
                )
                for kind, listed in (
                    ("instances", categories.things()),
                    ("panoptic", categories.panoptic()),
                    ("captions", None),
                )
            }
            next_id = 1
            for sample in parallel_map(convert, source.samples(source_split), num_workers):
                next_id = _add(writers, sample, next_id)
                on_sample()


def find_segments(labels: np.ndarray, categories: Categories, components: bool) -> list[Segment]:
    """The segments of a mask [H, W] uint8 in the order of their labels; none for background and ignored pixels."""
    segments = []
    for label in np.unique(labels):
        if label in (BACKGROUND, IGNORE_INDEX):
            continue
        region = (labels == label).astype(np.uint8)
        parts = [region]
        if components:
            count, numbered = cv2.connectedComponents(region, connectivity=8)
            parts = [(numbered == number).astype(np.uint8) for number in range(1, count)]
        segments += [_segment(part, categories.ids[label - 1]) for part in parts]
    return segments


def draw_panoptic(shape: tuple[int, int], segments: Sequence[Segment]) -> np.ndarray:
    """The picture [H, W, 3] uint8 of a panoptic mask: pixels of segment n have the colour n = R + 256 G + 65536 B."""
    numbers = np.zeros(shape, np.uint32)
    for number, segment in enumerate(segments, start=1):
        numbers[rle_tools.decode(segment.rle).astype(bool)] = number
    return np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16 & 255], axis=-1).astype(np.uint8)


def encode_grey(labels: np.ndarray) -> bytes:
    """A grey PNG of labels [H, W] uint8: tools that read palettes as colours, such as OpenCV, read it correctly."""
    stream = io.BytesIO()
    Image.fromarray(labels).save(stream, "PNG")
    return stream.getvalue()


def _convert(
    output_dir: Path, split: str, categories: Categories, components: bool, link: bool, sample: StoredSample
) -> _Converted:
    image, mask = sample.read()
    labels = decode_labels(mask, sample.record.id)
    sample_id, annotations = sample.record.id, output_dir / "annotations"
    segments = find_segments(labels, categories, components)
    is_background = (labels == BACKGROUND).astype(np.uint8)
    background = _segment(is_background, categories.background) if is_background.any() else None
    image_path = output_dir / "images" / f"{sample_id}.jpg"
    write = write_atomically if link else write_new
    if link:
        _link(output_dir / "JPEGImages" / image_path.name, image_path)
    else:
        write(image_path, image)
    write(annotations / f"semantic_{split}" / f"{sample_id}.png", encode_grey(labels))
    panoptic = draw_panoptic(labels.shape, [*segments, *([background] if background else [])])
    stream = io.BytesIO()
    Image.fromarray(panoptic).save(stream, "PNG")
    write(annotations / f"panoptic_{split}" / f"{sample_id}.png", stream.getvalue())
    height, width = labels.shape
    return _Converted(
        sample.position, asdict(sample.record), sample.record.caption, (width, height), segments, background
    )


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, which costs no space; make a copy if the file system has no links."""
    with explaining_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _add(writers: dict[str, JsonObjectWriter], sample: _Converted, next_id: int) -> int:
    """Add a sample's entries; `next_id` is its first segment's id. Returns the next sample's first segment's id."""
    image_id, sample_id = sample.position + 1, sample.record["id"]
    width, height = sample.size
    image = {"id": image_id, "file_name": f"{sample_id}.jpg", "width": width, "height": height, "license": 1}
    for kind, writer in writers.items():
        writer.add("images", {**image, "record": sample.record} if kind == "instances" else image)
    for offset, segment in enumerate(sample.segments):
        rle = {**segment.rle, "counts": segment.rle["counts"].decode()}
        entry = {"id": next_id + offset, "image_id": image_id, **_fields(segment), "segmentation": rle}
        writers["instances"].add("annotations", entry)
    infos = [
        {"id": number, **_fields(segment)}
        for number, segment in enumerate([*sample.segments, *([sample.background] if sample.background else [])], 1)
    ]
    panoptic = {"image_id": image_id, "file_name": f"{sample_id}.png", "segments_info": infos}
    writers["panoptic"].add("annotations", panoptic)
    writers["captions"].add("annotations", {"id": image_id, "image_id": image_id, "caption": sample.caption})
    return next_id + len(sample.segments)


def _fields(segment: Segment) -> dict[str, Any]:
    return {"category_id": segment.category_id, "area": segment.area, "bbox": list(segment.bbox), "iscrowd": 0}


def _segment(region: np.ndarray, category_id: int) -> Segment:
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    bbox = (
        *(int(columns[0]), int(rows[0])),
        *(int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)),
    )
    return Segment(category_id, int(region.sum()), bbox, rle_tools.encode(np.asfortranarray(region)))


def _supercategory(number: int) -> str:
    return next(name for end, name in SUPERCATEGORY_ENDS if number <= end)


def _info(source: Source) -> dict[str, Any]:
    model = source.description["model"].get("id")
    return {
        "description": f"Images with semantic masks from diffusion attention, model {model}",
        "version": __version__,
        "contributor": "dataset-diffusion",
        "url": INFO_URL,
    }


def _licenses(source: Source) -> list[dict[str, Any]]:
    model = source.description["model"].get("id")
    return [{"id": 1, "name": f"generated images; see the licence of the model {model}", "url": ""}]

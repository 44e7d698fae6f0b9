import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.coco import CocoDataset, semantic_mask
from dataset_diffusion.vocabulary import load_vocabulary

HEIGHT, WIDTH = 20, 30
PERSON, STOP_SIGN, BED, DINING_TABLE, TOOTHBRUSH = 1, 13, 65, 67, 90
"""Category ids; 13, 65, 67 and 90 have the labels 12, 60, 61 and 80."""


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    """A polygon covering columns left ... right - 1 and rows top ... bottom - 1."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def region(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    code = rle_tools.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths computed by hand: down the columns, starting with zeros."""
    flat = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": [0, *runs] if flat[0] else runs}


def entry(name: str, category_id: int, segmentation: object, **more: object) -> dict[str, Any]:
    return {"file_name": name, "category_id": category_id, "segmentation": segmentation, **more}


@pytest.fixture
def image() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)


@pytest.fixture
def coco(tmp_path, make_coco, image) -> Path:
    annotations = [
        # A bed; on it a person, smaller but first in the file; a crowd over both.
        entry("000000000139.jpg", PERSON, box(8, 5, 12, 15)),
        entry("000000000139.jpg", BED, compressed(region(4, 8, 24, 18))),
        entry("000000000139.jpg", PERSON, uncompressed(region(0, 0, 10, 10)), iscrowd=1),
        # One object in two parts, and one at the border.
        entry("000000000285.jpg", STOP_SIGN, box(1, 1, 4, 4) + box(10, 10, 14, 12)),
        entry("000000000285.jpg", TOOTHBRUSH, box(25, 0, 30, 20)),
    ]
    images = dict.fromkeys(("000000000139.jpg", "000000000285.jpg", "000000000632.jpg"), image)
    return make_coco(tmp_path / "coco", images, annotations)


def open_coco(root: Path) -> CocoDataset:
    return CocoDataset(root, "val", root.parent / "cache")


def masks(root: Path) -> dict[str, np.ndarray]:
    dataset = open_coco(root)
    return {sample_id: dataset.load(index)[1] for index, sample_id in enumerate(dataset.ids)}


def error_of(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        masks(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit(root: Path, change: object) -> None:
    path = root / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_masks_equal_those_drawn_by_hand(coco):
    found = masks(coco)

    first = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    first[0:10, 0:10] = 255
    first[8:18, 4:24] = 60
    first[5:15, 8:12] = 1
    assert np.array_equal(found["000000000139"], first), "the crowd must lie below objects, the person on the bed"

    second = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    second[1:4, 1:4] = 12
    second[10:12, 10:14] = 12
    second[:, 25:] = 80
    assert np.array_equal(found["000000000285"], second)
    assert not found["000000000632"].any(), "an image without annotations must be background"


def test_the_80_categories_have_the_labels_1_to_80_in_order(coco):
    dataset = open_coco(coco)
    assert len(dataset.label_names) == 81
    assert dataset.label_names == load_vocabulary("coco").label_names
    assert dataset._label_of_category[PERSON] == 1
    assert dataset._label_of_category[DINING_TABLE] == dataset.label_names.index("dining table") == 61
    assert dataset._label_of_category[TOOTHBRUSH] == dataset.label_names.index("toothbrush") == 80


def test_images_come_with_their_masks(coco, image):
    loaded, labels = open_coco(coco).load(1)
    assert loaded.dtype == labels.dtype == np.uint8
    assert np.abs(loaded.astype(int) - image).max() <= 1
    assert labels.shape == (HEIGHT, WIDTH)


def test_regions_equal_those_of_pycocotools(tmp_path, make_coco, image):
    """Ragged polygons, several per object: our regions, painted by hand, against COCO.annToMask."""
    rng = np.random.default_rng(0)
    annotations = [
        entry(
            "a.jpg",
            PERSON,
            [
                (rng.random(2 * corners) * ([WIDTH, HEIGHT] * corners)).round(2).tolist()
                for corners in rng.integers(3, 8, rng.integers(1, 4))
            ],
        )
        for _ in range(12)
    ]
    root = make_coco(tmp_path / "coco", {"a.jpg": image}, annotations)
    for number, annotation in enumerate(annotations):
        annotation["category_id"] = number
        annotation["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        tools = COCO(root / "annotations/instances_val2017.json")
    regions = [tools.annToMask(tools.anns[number]) for number in range(1, 13)]
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number in sorted(range(12), key=lambda number: (-int(regions[number].sum()), number)):
        expected[regions[number] == 1] = number + 1

    found = semantic_mask(annotations, HEIGHT, WIDTH, {number: number + 1 for number in range(12)})

    assert len(np.unique(expected)) > 6
    assert np.array_equal(found, expected)


def test_the_order_of_annotations_does_not_matter(coco):
    before = masks(coco)
    edit(coco, lambda content: content["annotations"].reverse())
    edit(coco, lambda content: content["images"].reverse())
    edit(coco, lambda content: content["categories"].reverse())
    after = masks(coco)
    assert list(after) == list(before)
    for sample_id, labels in before.items():
        assert np.array_equal(after[sample_id], labels)


def test_objects_of_equal_area_are_painted_in_id_order():
    annotations = [
        {"id": 9, "category_id": 2, "segmentation": box(0, 0, 4, 4)},
        {"id": 5, "category_id": 1, "segmentation": box(2, 2, 6, 6)},
    ]
    for listed in (annotations, annotations[::-1]):
        labels = semantic_mask(listed, HEIGHT, WIDTH, {1: 1, 2: 2})
        assert labels[3, 3] == 2


def test_masks_are_drawn_only_once(coco):
    before = masks(coco)
    (folder,) = (coco.parent / "cache").iterdir()
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(stamps) == ["000000000139.png", "000000000285.png", "000000000632.png"]
    after = masks(coco)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    assert all(np.array_equal(after[sample_id], before[sample_id]) for sample_id in before)


def test_changed_annotations_get_new_masks(coco):
    masks(coco)
    edit(coco, lambda content: content["annotations"].pop(0))
    assert masks(coco)["000000000139"][12, 10] == 60, "the person is gone, so its earlier mask must not be read"
    assert len(list((coco.parent / "cache").iterdir())) == 2


def test_nothing_is_written_to_the_dataset(coco):
    before = sorted(coco.rglob("*"))
    masks(coco)
    assert sorted(coco.rglob("*")) == before


def test_errors_about_missing_parts_say_what_to_unpack(coco):
    (coco / "annotations/instances_val2017.json").unlink()
    assert "annotations_trainval2017.zip from https://cocodataset.org" in error_of(coco)


def test_a_missing_image_is_named(coco):
    (coco / "val2017/000000000285.jpg").unlink()
    with pytest.raises(InputError, match=r"000000000285\.jpg is missing"):
        open_coco(coco)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"images": []}', '{"images": [3], "annotations": [], "categories": []}']
)
def test_a_file_that_is_not_coco_is_refused(coco, text):
    (coco / "annotations/instances_val2017.json").write_text(text)
    message = error_of(coco)
    assert "instances_val2017.json" in message
    assert "is not valid JSON" in message or "is not in COCO's instances format" in message


def change_category(content: dict[str, Any]) -> None:
    content["categories"][4]["name"] = "aeroplane"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (change_category, "category 5 is 'aeroplane', but COCO's is 'airplane'"),
        (lambda content: content["categories"].pop(), "has 79 categories, but COCO 2017 has 80"),
        (lambda content: content["images"].clear(), "lists no images"),
        (lambda content: content["images"][0].update(file_name="../x.jpg"), "must be a plain name"),
        (lambda content: content["images"][1].update(content["images"][0]), "different for each image"),
        (lambda content: content["images"][0].update(height=21), "cannot be drawn"),
        (lambda content: content["images"][2].update(height=21), "30 x 20 pixels, but its entry in"),
        (lambda content: content["images"][0].pop("height"), "139.jpg cannot be drawn (KeyError('height'))"),
        (lambda content: content["annotations"][0].update(category_id=12), "139.jpg cannot be drawn (KeyError(12))"),
        (lambda content: content["annotations"][2]["segmentation"].update(counts=[9000]), "139.jpg cannot be drawn"),
        (lambda content: content["annotations"][3].update(segmentation=[]), "285.jpg cannot be drawn"),
        (lambda content: content["annotations"][3].update(segmentation=[[1, 2]]), "285.jpg cannot be drawn"),
    ],
)  # fmt: skip
def test_faults_in_the_annotations_are_named(coco, change, fault):
    edit(coco, change)
    assert fault in error_of(coco)


def test_a_truncated_image_is_named(coco):
    path = coco / "val2017/000000000285.jpg"
    path.write_bytes(path.read_bytes()[:200])
    assert f"{path}: cannot be read as an image" in error_of(coco)

"""COCO's files, read by pycocotools."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from dataset_diffusion.dataset.coco import draw_panoptic, find_categories, find_segments
from dataset_diffusion.dataset.json_stream import JsonObjectWriter
from dataset_diffusion.dataset.source import Labels
from dataset_diffusion.vocabulary import load_vocabulary
from tests.dataset.made_folder import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coco") / "made"
    make_folder(path, 12, vocabulary="coco", writer="coco", splits={"train": 0.6, "val": 0.4})
    return path


def true_labels(folder: Path, file_name: str) -> np.ndarray:
    with Image.open(folder / "SegmentationClass" / Path(file_name).with_suffix(".png")) as mask:
        return np.asarray(mask)


@pytest.mark.parametrize("split", ["train", "val"])
def test_pycocotools_gives_back_every_pixel_that_is_not_ignored(folder: Path, split: str) -> None:
    coco = COCO(folder / f"annotations/instances_{split}.json")
    label_of = {
        category["id"]: load_vocabulary("coco").label_names.index(category["name"])
        for category in coco.loadCats(coco.getCatIds())
    }
    assert coco.imgs
    for image in coco.loadImgs(coco.getImgIds()):
        labels = true_labels(folder, image["file_name"])
        assert (image["height"], image["width"]) == labels.shape
        assert (folder / "images" / image["file_name"]).is_file()
        decoded = np.zeros_like(labels)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            region = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == region.sum()
            rows, columns = np.nonzero(region)
            width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
            assert annotation["bbox"] == [columns.min(), rows.min(), width, height]
            assert annotation["iscrowd"] == 0
            decoded[region] = label_of[annotation["category_id"]]
        assert np.array_equal(decoded, np.where(labels == 255, 0, labels))


def test_ids_are_unique_and_the_splits_share_no_image(folder: Path) -> None:
    contents = [json.loads((folder / f"annotations/instances_{split}.json").read_text()) for split in ("train", "val")]
    ids = [image["id"] for content in contents for image in content["images"]]
    assert sorted(ids) == list(range(1, 13))
    for content in contents:
        annotation_ids = [annotation["id"] for annotation in content["annotations"]]
        assert len(set(annotation_ids)) == len(annotation_ids)
        assert min(annotation_ids) == 1


@pytest.mark.parametrize("split", ["train", "val"])
def test_panoptic_pictures_agree_with_their_segments(folder: Path, split: str) -> None:
    content = json.loads((folder / f"annotations/panoptic_{split}.json").read_text())
    label_of = {
        category["id"]: load_vocabulary("coco").label_names.index(category["name"])
        for category in content["categories"]
    }
    for annotation in content["annotations"]:
        labels = true_labels(folder, annotation["file_name"])
        picture = np.asarray(Image.open(folder / f"annotations/panoptic_{split}" / annotation["file_name"]))
        # Like panopticapi's rgb2id.
        numbers = picture.astype(int) @ [1, 256, 256 * 256]
        rebuilt = np.full_like(labels, 255)
        for segment in annotation["segments_info"]:
            region = numbers == segment["id"]
            assert segment["area"] == region.sum() > 0
            rebuilt[region] = label_of[segment["category_id"]]
        assert np.array_equal(rebuilt, labels)
        assert set(np.unique(numbers)) - {0} == {segment["id"] for segment in annotation["segments_info"]}


def test_semantic_pictures_are_grey_labels(folder: Path) -> None:
    (picture, *_) = sorted((folder / "annotations/semantic_train").iterdir())
    with Image.open(picture) as file:
        assert file.mode == "L"
        assert np.array_equal(np.asarray(file), true_labels(folder, picture.name))


def test_captions_are_read_by_pycocotools(folder: Path) -> None:
    captions = COCO(folder / "annotations/captions_train.json")
    (annotation, *_) = captions.loadAnns(captions.getAnnIds())
    assert annotation["caption"].startswith("caption ")
    assert captions.dataset["licenses"][0]["id"] == captions.loadImgs(annotation["image_id"])[0]["license"]


def test_category_ids_are_cocos_own_for_its_classes_and_labels_for_others() -> None:
    coco = load_vocabulary("coco")
    by_name = {thing["name"]: thing for thing in find_categories(Labels(coco.label_names, coco.palette)).things()}
    # From COCO's panoptic_coco_categories.json.
    expected = {"person": 1, "stop sign": 13, "cat": 17, "backpack": 27, "bottle": 44, "dining table": 67, "toilet": 70}
    assert {name: by_name[name]["id"] for name in expected} == expected
    assert by_name["toothbrush"] == {"id": 90, "name": "toothbrush", "supercategory": "indoor"}
    assert len(by_name) == 80
    voc = load_vocabulary("voc")
    assert find_categories(Labels(voc.label_names, voc.palette)).ids == tuple(range(1, 21))


def test_each_component_can_be_its_own_segment() -> None:
    labels = np.zeros((6, 6), np.uint8)
    labels[0, 0] = labels[1, 1] = labels[4, 4] = 3  # The first two touch at a corner.
    labels[3] = 255
    voc = load_vocabulary("voc")
    categories = find_categories(Labels(voc.label_names, voc.palette))
    assert [segment.area for segment in find_segments(labels, categories, components=False)] == [3]
    parts = find_segments(labels, categories, components=True)
    assert [(part.area, part.bbox) for part in parts] == [(2, (0, 0, 2, 2)), (1, (4, 4, 1, 1))]


def test_segment_ids_above_255_have_panopticapis_colours() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[::2, ::2] = 1
    voc = load_vocabulary("voc")
    segments = find_segments(labels, find_categories(Labels(voc.label_names, voc.palette)), components=True)
    assert len(segments) == 400
    numbers = draw_panoptic(labels.shape, segments).astype(int) @ [1, 256, 256 * 256]
    assert set(np.unique(numbers)) == set(range(401))


def test_a_streamed_file_appears_atomically(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with JsonObjectWriter(path, {"info": {"é": 1}}, ("images", "annotations")) as writer:
        for number in range(3):
            writer.add("annotations", {"id": number})
        assert not path.exists()
    expected = {"info": {"é": 1}, "images": [], "annotations": [{"id": 0}, {"id": 1}, {"id": 2}]}
    assert json.loads(path.read_text(encoding="utf-8")) == expected
    with pytest.raises(RuntimeError), JsonObjectWriter(tmp_path / "b.json", {"info": {}}, ("images",)) as writer:
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]

"""A mini COCO in the real file formats."""

import json
from pathlib import Path

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.coco_captions import read_coco_captions, read_coco_instances
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass, load_vocabulary

VOC = load_vocabulary("voc")
COCO = load_vocabulary("coco")
CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
    {"supercategory": "furniture", "id": 63, "name": "couch"},
    {"supercategory": "electronic", "id": 72, "name": "tv"},
    {"supercategory": "indoor", "id": 90, "name": "toothbrush"},
]
IMAGES = [
    {"license": 1, "file_name": f"{image_id:012d}.jpg", "height": 426, "width": 640, "id": image_id}
    for image_id in (139, 285, 632)
]


def instance(annotation_id: int, image_id: int, category_id: int, iscrowd: int = 0) -> dict:
    return {
        "segmentation": {"counts": [5, 4, 3], "size": [3, 4]} if iscrowd else [[1.0, 1.0, 9.5, 1.0, 9.5, 8.0]],
        "area": 30.6,
        "iscrowd": iscrowd,
        "image_id": image_id,
        "bbox": [1.0, 1.0, 8.5, 7.0],
        "category_id": category_id,
        "id": annotation_id,
    }


INSTANCES = {
    "info": {"year": 2017},
    "licenses": [],
    "images": IMAGES,
    "annotations": [
        instance(1, 139, 63),
        instance(2, 139, 1),
        instance(3, 139, 1),
        instance(4, 139, 90),
        instance(5, 285, 18, iscrowd=1),
    ],
    "categories": CATEGORIES,
}
CAPTIONS = {
    "info": {"year": 2017},
    "licenses": [],
    "images": IMAGES,
    "annotations": [
        {"image_id": 139, "id": 771337, "caption": "A woman on a couch.\n"},
        {"image_id": 139, "id": 771397, "caption": "Someone  sits."},
        {"image_id": 285, "id": 5, "caption": "Many dogs"},
        {"image_id": 632, "id": 6, "caption": "A dog is named here, and none is to be seen."},
    ],
}


@pytest.fixture
def write(tmp_path: Path):
    def write(captions: object = CAPTIONS, instances: object = INSTANCES) -> Path:
        folder = tmp_path / "annotations"
        folder.mkdir(exist_ok=True)
        for name, content in (("captions_train2017", captions), ("instances_train2017", instances)):
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / f"{name}.json").write_text(text)
        return tmp_path

    return write


def test_captions_have_the_classes_that_are_present(write) -> None:
    def entry(image: int, caption_id: int, caption: str, *names: str) -> Entry:
        class_ids = tuple(COCO.class_id(name) for name in names)
        source = f"captions_train2017.json: image {image}, caption {caption_id}"
        return Entry(f"{image:012d}_{caption_id}", caption, class_ids, source)

    # An image's second caption comes after the first captions of all images.
    assert read_coco_captions(write(), "train2017", COCO) == [
        entry(139, 771337, "A woman on a couch.", "person", "couch", "toothbrush"),
        entry(285, 5, "Many dogs", "dog"),
        entry(632, 6, "A dog is named here, and none is to be seen."),
        entry(139, 771397, "Someone sits.", "person", "couch", "toothbrush"),
    ]


def test_another_vocabulary_gets_the_classes_it_has(write) -> None:
    entries = read_coco_captions(write(), "train2017", VOC)
    assert [[VOC[class_id].name for class_id in entry.class_ids] for entry in entries] == [
        ["person", "sofa"],
        ["dog"],
        [],
        ["person", "sofa"],
    ]


def test_all_of_cocos_names_are_classes_in_its_vocabulary() -> None:
    assert [COCO.class_id(name) for name in COCO.label_names[1:]] == list(range(1, 81))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"captions": {"images": IMAGES}}, r"captions_train2017\.json: has no list `annotations`"),
        ({"instances": {"categories": CATEGORIES}}, r"instances_train2017\.json: has no list `annotations`"),
        ({"captions": {**CAPTIONS, "annotations": []}}, "its list `annotations` is empty"),
        ({"instances": {"annotations": []}}, "has no list `categories`"),
        ({"captions": []}, "has no list `images`"),
        ({"captions": INSTANCES}, r"captions_train2017\.json: annotation 1: has no caption"),
        ({"captions": '{"images": [],\n"annotations": [}'}, r"captions_train2017\.json: line 2: not JSON"),
        ({"instances": "[" * 100_000}, "not JSON"),
        (
            {"captions": {**CAPTIONS, "annotations": [{"image_id": 7, "id": 1, "caption": "a dog"}]}},
            "annotation 1: has no id, or no image_id",
        ),
        (
            {"instances": {**INSTANCES, "annotations": [instance(1, 139, 1), instance(2, 139, 12)]}},
            r"instances_train2017\.json: annotation 2: unknown class 12",
        ),
    ],
)
def test_malformed_files_are_named(write, files: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_coco_captions(write(**files), "train2017", COCO)
    assert "\n" not in str(error.value)


def test_a_vocabulary_without_a_coco_class_is_refused(write) -> None:
    vocabulary = Vocabulary("own", (VocabularyClass("zebra", "zebra"),))
    with pytest.raises(InputError, match="none of its categories is a class of vocabulary own"):
        read_coco_captions(write(), "train2017", vocabulary)


def test_missing_files_are_named(write) -> None:
    with pytest.raises(InputError, match=r"instances_val2017\.json: no such file; unpack annotations_trainval2017"):
        read_coco_captions(write(), "val2017", COCO)
    data_root = write()
    (data_root / "annotations" / "captions_train2017.json").unlink()
    with pytest.raises(InputError, match=r"captions_train2017\.json: no such file"):
        read_coco_captions(data_root, "train2017", COCO)


def test_instances_give_the_classes_of_each_image(write) -> None:
    found = read_coco_instances(write() / "annotations" / "instances_train2017.json", COCO)
    assert found == {139: (1, 58, 80), 285: (17,)}

"""A mini PASCAL VOC in the real file formats."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.images import encode_mask
from dataset_diffusion.prompts.voc_images import list_images, read_voc_images
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass, load_vocabulary

VOC = load_vocabulary("voc")
COCO = load_vocabulary("coco")
XML = """<annotation>
	<folder>VOC2012</folder>
	<filename>2007_000033.jpg</filename>
	<object><name>person</name><part><name>head</name></part></object>
	<object><name>tvmonitor</name></object>
	<object><name>person</name></object>
</annotation>
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """VOC2012 with one image that has a mask and one that has only an XML file."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for sample_id in ("2007_000032", "2007_000033"):
        Image.new("RGB", (8, 6)).save(root / "JPEGImages" / f"{sample_id}.jpg")
    labels = np.zeros((6, 8), np.uint8)
    labels[2:4], labels[4:] = 255, VOC.class_id("aeroplane")
    labels[:, 0] = VOC.class_id("diningtable")
    (root / "SegmentationClass" / "2007_000032.png").write_bytes(encode_mask(labels, VOC.palette))
    (root / "Annotations" / "2007_000032.xml").write_text("not read where there is a mask")
    (root / "Annotations" / "2007_000033.xml").write_text(XML)
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_000032\n")
    (root / "ImageSets/Main/trainval.txt").write_text("2007_000032\n2007_000033\n\n")
    (root / "ImageSets/Main/tvmonitor_train.txt").write_text("2007_000033  1\n")
    return root


def names(vocabulary: Vocabulary, class_ids: tuple[int, ...] | None) -> list[str]:
    return [vocabulary[class_id].name for class_id in class_ids or ()]


def test_classes_come_from_the_masks_or_else_from_the_xml_files(root: Path) -> None:
    images = read_voc_images(root, "trainval", VOC)
    assert [(image.sample_id, image.source) for image in images] == [
        ("2007_000032", "JPEGImages/2007_000032.jpg"),
        ("2007_000033", "JPEGImages/2007_000033.jpg"),
    ]
    assert [image.image for image in images] == [root / "JPEGImages" / f"2007_00003{i}.jpg" for i in (2, 3)]
    assert [names(VOC, image.class_ids) for image in images] == [["aeroplane", "diningtable"], ["person", "tvmonitor"]]


@pytest.mark.parametrize("above", [0, 1, 2])
def test_data_root_can_be_the_folder_or_above_it(root: Path, above: int) -> None:
    data_root = (root, *root.parents)[above]
    assert [image.sample_id for image in read_voc_images(data_root, "train", VOC)] == ["2007_000032"]
    assert [image.sample_id for image in read_voc_images(data_root, "tvmonitor_train", VOC)] == ["2007_000033"]


def test_another_vocabulary_gets_the_classes_it_has(root: Path) -> None:
    found = [names(COCO, image.class_ids) for image in read_voc_images(root, "trainval", COCO)]
    assert found == [["airplane", "dining table"], ["person", "tv"]]
    own = Vocabulary("own", (VocabularyClass("zebra", "zebra"), VocabularyClass("person", "person")))
    assert [image.class_ids for image in read_voc_images(root, "trainval", own)] == [(), (2,)]


def test_custom_xml_files_can_name_custom_classes(root: Path) -> None:
    own = Vocabulary("own", (VocabularyClass("unicorn", "unicorn"),))
    (root / "Annotations" / "2007_000033.xml").write_text(XML.replace("tvmonitor", "unicorn"))
    assert read_voc_images(root, "trainval", own)[1].class_ids == (1,)


def write_mask(root: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels).save(root / "SegmentationClass" / "2007_000032.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "JPEGImages"), r"prompts\.data_root=.* has no VOCdevkit/VOC2012/JPEGImages"),
        (
            lambda root: (root / "ImageSets/Main/trainval.txt").unlink(),
            r"Segmentation/trainval\.txt: no such file; set prompts\.split to one of train",
        ),
        (lambda root: (root / "ImageSets/Main/trainval.txt").write_text(" \n"), r"trainval\.txt: is empty"),
        (
            lambda root: (root / "ImageSets/Main/trainval.txt").write_text("2007_000032\n../x\n"),
            r"trainval\.txt: line 2: id '\.\./x': use at most 200 letters",
        ),
        (
            lambda root: (root / "ImageSets/Main/trainval.txt").write_text("2007_000032\n\n2007_000032\n"),
            r"trainval\.txt: line 3: '2007_000032' already appears on line 1",
        ),
        (lambda root: (root / "JPEGImages/2007_000033.jpg").unlink(), r"2007_000033\.jpg: no such file"),
        (
            lambda root: (root / "Annotations/2007_000033.xml").unlink(),
            r"SegmentationClass/2007_000033\.png: no such file, and no Annotations/2007_000033\.xml either",
        ),
        (lambda root: write_mask(root, np.full((6, 8), 21, np.uint8)), "has label 21, which is not a VOC class"),
        (lambda root: write_mask(root, np.zeros((6, 8, 3), np.uint8)), "has mode RGB"),
        (
            lambda root: (root / "SegmentationClass/2007_000032.png").write_bytes(b"no PNG"),
            r"2007_000032\.png: not a readable mask",
        ),
        (
            lambda root: (root / "Annotations/2007_000033.xml").write_text("<annotation><object>"),
            r"2007_000033\.xml: not readable as XML",
        ),
        (
            lambda root: (root / "Annotations/2007_000033.xml").write_text("<annotation><object/></annotation>"),
            r"2007_000033\.xml: an object has no name",
        ),
        (
            lambda root: (root / "Annotations/2007_000033.xml").write_text(XML.replace("tvmonitor", "unicorn")),
            r"2007_000033\.xml: unknown class 'unicorn': neither in VOC nor in vocabulary voc",
        ),
    ],
)
def test_missing_and_malformed_files_are_named(root: Path, damage, message: str) -> None:
    damage(root)
    with pytest.raises(InputError, match=message) as error:
        read_voc_images(root.parents[1], "trainval", VOC)
    assert "\n" not in str(error.value)


def test_images_of_a_folder_are_found(tmp_path: Path) -> None:
    for name in ("b.PNG", "a b.jpg", "a_b.jpg", "deep/er/a.webp", "notes.txt", ".hidden/é.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    images = list_images(tmp_path)
    ids = {image.source: image.sample_id for image in images}
    assert list(ids) == sorted(ids) == [".hidden/é.jpeg", "a b.jpg", "a_b.jpg", "b.PNG", "deep/er/a.webp"]
    assert ids["b.PNG"] == "b"
    assert ids["a b.jpg"] == "a_b"
    assert ids["a_b.jpg"].startswith("a_b-")
    assert ids["deep/er/a.webp"] == "deep_er_a"
    assert {image.class_ids for image in images} == {None}
    assert all(image.image == tmp_path / image.source for image in images)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prompts\.path=.*: contains no images"):
        list_images(tmp_path)
    with pytest.raises(InputError, match=r"prompts\.path=.*absent: no such folder"):
        list_images(tmp_path / "absent")


def test_a_split_can_name_its_folder(root: Path) -> None:
    (root / "ImageSets/Segmentation/trainval.txt").write_text("2007_000032\n")
    assert [image.sample_id for image in read_voc_images(root, "trainval", VOC)] == ["2007_000032"]
    images = read_voc_images(root, "Main/trainval", VOC)
    assert [image.sample_id for image in images] == ["2007_000032", "2007_000033"]
    with pytest.raises(InputError, match=r"Main/val\.txt: no such file; set prompts\.split to one of .*Main/trainval"):
        read_voc_images(root, "Main/val", VOC)

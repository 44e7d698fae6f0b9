from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.archives import find_voc
from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.vocabulary import load_vocabulary

NAMES = load_vocabulary("voc").label_names


def sample(height: int = 16, width: int = 24) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((height, width, 3), (200, 100, 30), dtype=np.uint8)
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[4:12, 4:12] = 255
    labels[5:11, 5:11] = 20
    return image, labels


@pytest.fixture
def voc(tmp_path, make_voc) -> Path:
    samples = {"2007_000033": sample(), "2007_000042": sample(24, 16), "2008_000009": sample()}
    return make_voc(tmp_path / "data" / "VOCdevkit" / "VOC2012", samples)


@pytest.fixture
def faults_of(capsys) -> Callable[[Path], str]:
    """What a user reads when this folder is opened: the lines on stderr and the final error."""

    def faults(root: Path) -> str:
        with pytest.raises(InputError) as caught:
            VocDataset("voc", root, "val", NAMES)
        message = str(caught.value)
        assert "\n" not in message
        return capsys.readouterr().err + message

    return faults


def test_reads_images_and_masks(voc):
    folder = VocDataset("voc", voc, "val", NAMES)
    assert folder.ids == ("2007_000033", "2007_000042", "2008_000009")
    image, labels = folder.load(1)
    assert image.dtype == labels.dtype == np.uint8
    assert image.shape == (24, 16, 3)
    assert np.abs(image.astype(int) - (200, 100, 30)).max() <= 3, "RGB, not BGR"
    assert np.array_equal(labels, sample(24, 16)[1])


@pytest.mark.parametrize("above", ["VOCdevkit/VOC2012", "VOCdevkit", "."])
def test_data_root_can_be_the_folder_or_one_above_it(voc, above):
    assert find_voc(voc.parents[1] / above).samefile(voc)


def test_a_folder_without_voc_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no VOCdevkit/VOC2012/ImageSets/Segmentation; unpack VOCtrainval"):
        find_voc(tmp_path)


def test_a_missing_split_is_refused_with_the_existing_ones(voc, faults_of, tmp_path):
    (voc / "ImageSets/Segmentation/val.txt").rename(voc / "ImageSets/Segmentation/train.txt")
    assert "val.txt: no such file; set dataset.split to one of train" in faults_of(voc)
    assert "val.txt: no such file; it lists the ids" in faults_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "val.txt: is empty"),
        ("2007_000033\n\n2007_000042\n", "val.txt: line 2"),
        ("2007_000033\n2007_000042\n2007_000033\n", "val.txt: line 3"),
        # Ids become prediction file names.
        ("2007_000033\n../../escape\n", "val.txt: line 2"),
    ],
)
def test_faults_in_the_split_name_the_line(voc, faults_of, text, fault):
    (voc / "ImageSets/Segmentation/val.txt").write_text(text)
    assert fault in faults_of(voc)


@pytest.mark.parametrize("file", ["JPEGImages/2007_000042.jpg", "SegmentationClass/2007_000042.png"])
def test_a_missing_file_is_named(voc, faults_of, file):
    (voc / file).unlink()
    assert str(voc / file) in faults_of(voc)


def colour(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


def label_37(path: Path) -> None:
    labels = np.zeros((24, 16), dtype=np.uint8)
    labels[3, 3] = 37
    Image.fromarray(labels).save(path)


def other_size(path: Path) -> None:
    Image.fromarray(np.zeros((24, 17), dtype=np.uint8)).save(path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("spoil", "fault"), [(colour, "mode RGB"), (label_37, "37"), (other_size, "17x24"), (cut_off, "not a readable")]
)
def test_a_damaged_mask_is_named_before_anything_is_predicted(voc, faults_of, spoil, fault):
    path = voc / "SegmentationClass/2007_000042.png"
    spoil(path)
    message = faults_of(voc)
    assert str(path) in message
    assert fault in message


def test_a_truncated_image_is_named_before_anything_is_predicted(voc, faults_of):
    path = voc / "JPEGImages/2007_000042.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3)).astype(np.uint8)).save(path)
    cut_off(path)
    assert f"{path}: not a readable image: " in faults_of(voc)


@pytest.mark.parametrize("suffix", [".jpeg", ".JPG"])
def test_an_image_can_have_a_cameras_suffix(voc, suffix: str):
    jpeg = voc / "JPEGImages" / "2007_000042.jpg"
    expected, _ = VocDataset("voc", voc, "val", NAMES).load(1)
    jpeg.rename(jpeg.with_suffix(suffix))
    image, _ = VocDataset("voc", voc, "val", NAMES).load(1)
    assert np.array_equal(image, expected)


def test_an_image_can_be_a_png(voc):
    jpeg = voc / "JPEGImages" / "2007_000042.jpg"
    Image.fromarray(sample(24, 16)[0]).save(jpeg.with_suffix(".png"))
    jpeg.unlink()
    image, _ = VocDataset("voc", voc, "val", NAMES).load(1)
    assert np.array_equal(image, sample(24, 16)[0])

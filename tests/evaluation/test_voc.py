import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.evaluation.files import read_image, read_label_mask, write_bytes, write_label_mask
from dataset_diffusion.evaluation.voc import VocFolder, find_voc, read_label_names, read_split
from dataset_diffusion.vocabulary import load_vocabulary, voc_colour

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


def load_all(root: Path) -> None:
    folder = VocFolder("voc", root, "val", NAMES)
    for index in range(len(folder.ids)):
        folder.load(index)


def error_of(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_all(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_reads_images_and_masks(voc):
    folder = VocFolder("voc", voc, "val", NAMES)
    assert folder.ids == ("2007_000033", "2007_000042", "2008_000009")
    image, labels = folder.load(1)
    assert image.dtype == labels.dtype == np.uint8
    assert image.shape == (24, 16, 3)
    assert np.abs(image.astype(int) - (200, 100, 30)).max() <= 3, "RGB, not BGR"
    assert np.array_equal(labels, sample(24, 16)[1])


@pytest.mark.parametrize("above", ["VOCdevkit/VOC2012", "VOCdevkit", "."])
def test_data_root_may_be_the_folder_or_one_above(voc, above):
    assert find_voc(voc.parents[1] / above).samefile(voc)


def test_a_folder_without_voc_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no VOCdevkit/VOC2012/ImageSets/Segmentation; unpack VOCtrainval"):
        find_voc(tmp_path)


def test_missing_split_names_those_that_there_are(voc):
    (voc / "ImageSets/Segmentation/val.txt").rename(voc / "ImageSets/Segmentation/train.txt")
    message = error_of(voc)
    assert "val.txt: no such file" in message
    assert "dataset.split to one of train" in message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("2007_000033\n\n2007_000042\n", "line 2 is blank"),
        ("2007_000033\n2007_000042\n2007_000033\n", "line 3 repeats 2007_000033 of line 1"),
        ("2007_000033\n../../escape\n", "line 2: '../../escape' is no id"),
        (".hidden\n", "line 1: '.hidden' is no id"),
        ("2007_000033 1\n", "line 1: '2007_000033 1' is no id"),
    ],
)
def test_faults_of_the_split_name_the_line(voc, text, fault):
    path = voc / "ImageSets/Segmentation/val.txt"
    path.write_text(text)
    message = error_of(voc)
    assert str(path) in message
    assert fault in message


def test_a_split_that_is_no_text_is_refused(voc):
    (voc / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in error_of(voc)


def test_windows_line_ends_are_read(voc):
    path = voc / "ImageSets/Segmentation/val.txt"
    path.write_bytes(b"2007_000033\r\n2008_000009\r\n")
    assert read_split(path) == ("2007_000033", "2008_000009")


@pytest.mark.parametrize("file", ["JPEGImages/2007_000042.jpg", "SegmentationClass/2007_000042.png"])
def test_a_missing_file_is_named_before_anything_is_loaded(voc, file):
    (voc / file).unlink()
    with pytest.raises(InputError, match=f"{Path(file).name} is missing"):
        VocFolder("voc", voc, "val", NAMES)


def test_many_missing_files_are_counted(voc):
    for path in (voc / "SegmentationClass").iterdir():
        path.unlink()
    assert "2007_000033.png and 2 more of 3 are missing" in error_of(voc)
    (voc / "SegmentationClass").rmdir()
    assert "SegmentationClass: no such folder" in error_of(voc)


def test_a_colour_mask_is_refused(voc):
    path = voc / "SegmentationClass/2007_000042.png"
    Image.open(path).convert("RGB").save(path)
    assert f"{path}: has mode RGB" in error_of(voc)


def test_a_mask_of_16_bits_is_refused(voc):
    path = voc / "SegmentationClass/2007_000042.png"
    Image.fromarray(np.zeros((24, 16), dtype=np.uint16)).save(path)
    assert f"{path}: has mode I;16" in error_of(voc)


def test_a_label_out_of_range_is_refused(voc):
    path = voc / "SegmentationClass/2007_000042.png"
    labels = np.zeros((24, 16), dtype=np.uint8)
    labels[3, 3] = 37
    Image.fromarray(labels).save(path)
    assert f"{path}: has the label 37, which is neither one of 0 ... 20 nor 255" in error_of(voc)


def test_different_sizes_are_refused(voc):
    path = voc / "SegmentationClass/2007_000042.png"
    Image.fromarray(np.zeros((24, 17), dtype=np.uint8)).save(path)
    message = error_of(voc)
    assert "2007_000042.jpg: is 16 x 24 pixels" in message
    assert f"{path} is 17 x 24" in message


@pytest.mark.parametrize("file", ["JPEGImages/2007_000042.jpg", "SegmentationClass/2007_000042.png"])
def test_a_file_cut_off_anywhere_is_named(voc, file):
    path = voc / file
    content = path.read_bytes()
    # The last bytes of a PNG (its end marker) and of a JPEG may go without a pixel being lost.
    for length in (*range(0, len(content) - 16, max(1, len(content) // 40)), len(content) // 2):
        path.write_bytes(content[:length])
        message = error_of(voc)
        assert str(path) in message
        assert "cannot be read as" in message


def test_grey_masks_are_read_as_they_are(tmp_path):
    labels = np.arange(21, dtype=np.uint8).reshape(3, 7)
    Image.fromarray(labels).save(tmp_path / "mask.png")
    assert np.array_equal(read_label_mask(tmp_path / "mask.png", 21), labels)


def test_written_masks_are_palette_pngs_in_vocs_colours(tmp_path):
    labels = np.array([[0, 1, 15], [20, 80, 255]], dtype=np.uint8)
    path = tmp_path / "new" / "mask.png"
    write_label_mask(path, labels)
    assert np.array_equal(read_label_mask(path, 81), labels)
    with Image.open(path) as file:
        assert file.mode == "P"
        colours = np.asarray(file.convert("RGB"))
    assert tuple(colours[0, 2]) == voc_colour(15) == (192, 128, 128)
    assert tuple(colours[1, 2]) == voc_colour(255) == (224, 224, 192)
    assert [file.name for file in path.parent.iterdir()] == ["mask.png"], "nothing unfinished is left"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written .*; choose another folder"):
        write_bytes(tmp_path / "file" / "below" / "x", b"")


def test_images_are_rgb_whatever_their_file_holds(tmp_path):
    Image.fromarray(np.full((4, 6), 77, dtype=np.uint8)).save(tmp_path / "grey.jpg")
    assert read_image(tmp_path / "grey.jpg").tolist() == np.full((4, 6, 3), 77).tolist()
    assert read_image(tmp_path / "grey.jpg").dtype == np.uint8


def test_label_names_come_from_dataset_json(tmp_path):
    assert read_label_names(tmp_path) is None
    (tmp_path / "dataset.json").write_text(json.dumps({"vocabulary": {"label_names": ["background", "weed"]}}))
    assert read_label_names(tmp_path) == ("background", "weed")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is not valid JSON"),
        ("[]", "has no list vocabulary.label_names"),
        ('{"vocabulary": {"label_names": ["background"]}}', "has no list vocabulary.label_names"),
        ('{"vocabulary": {"label_names": ["background", 3]}}', "has no list vocabulary.label_names"),
        ('{"vocabulary": {"label_names": ["background", "weed", "weed"]}}', "has 'weed' twice"),
    ],
)
def test_faults_of_dataset_json_are_named(tmp_path, text, fault):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=fault):
        read_label_names(tmp_path)

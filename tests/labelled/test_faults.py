from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.faults import find_faults, require_valid
from dataset_diffusion.vocabulary import load_vocabulary

IDS = [f"{index:06d}" for index in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five valid samples, including an ignored pixel and the largest label."""
    voc = VocFolder(tmp_path, load_vocabulary("voc").palette)
    voc.prepare()
    labels = np.zeros((10, 12), np.uint8)
    labels[0, :2] = (20, 255)
    for sample_id in IDS:
        voc.write(sample_id, np.zeros((10, 12, 3), np.uint8), labels)
    voc.write_split(IDS)
    return tmp_path


def mask(folder: Path, index: int = 2) -> Path:
    return folder / "SegmentationClass" / f"{IDS[index]}.png"


def image(folder: Path, index: int = 2) -> Path:
    return folder / "JPEGImages" / f"{IDS[index]}.jpg"


def split(folder: Path) -> Path:
    return folder / "ImageSets" / "Segmentation" / "train.txt"


def test_a_valid_folder_has_no_faults(folder: Path) -> None:
    assert find_faults(folder, "train", num_labels=21) == []
    require_valid(folder, "train", num_labels=21)


def test_grey_masks_are_valid(folder: Path) -> None:
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(mask(folder))
    assert find_faults(folder, "train", num_labels=21) == []


def save_mask(labels: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: Image.fromarray(labels).save(mask(folder))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda folder: mask(folder).unlink(), "SegmentationClass/000002.png: no such file"),
        (lambda folder: image(folder).unlink(), "JPEGImages/000002.jpg: no such file"),
        (lambda folder: truncate(mask(folder)), "SegmentationClass/000002.png: not a readable mask: "),
        (lambda folder: mask(folder).write_bytes(b""), "SegmentationClass/000002.png: not a readable mask: "),
        (lambda folder: image(folder).write_bytes(b"GIF"), "JPEGImages/000002.jpg: not a readable image: "),
        (lambda folder: truncate(image(folder)), "JPEGImages/000002.jpg: not a readable image: "),
        (
            save_mask(np.zeros((10, 12, 3), np.uint8)),
            "SegmentationClass/000002.png: has mode RGB; a mask has one channel of labels (mode P or L)",
        ),
        (save_mask(np.zeros((10, 12), np.uint16)), "SegmentationClass/000002.png: has mode I;16; a mask has one"),
        (save_mask(np.zeros((12, 10), np.uint8)), "SegmentationClass/000002.png: is 10x12, but 000002.jpg is 12x10"),
        (
            save_mask(np.full((10, 12), 37, np.uint8)),
            "SegmentationClass/000002.png: has label 37; labels are 0 ... 20, or 255 for ignored",
        ),
        (save_mask(np.full((10, 12), 21, np.uint8)), "SegmentationClass/000002.png: has label 21; labels are 0 ... 20"),
        (save_mask(np.arange(250, 10, -2, np.uint8).reshape(10, 12)), "has label 22, 24, 26, ...; labels are 0"),
        (lambda folder: split(folder).write_text("000000\n\n000001\n"), "train.txt: line 2: is blank"),
        (lambda folder: split(folder).write_text("000000\n000001 \n"), "train.txt: line 2: '000001 ' is not an id"),
        (lambda folder: split(folder).write_text("000000\n../000001\n"), "train.txt: line 2: '../000001' is not an id"),
        (
            lambda folder: split(folder).write_text("000000\n000001\n000000\n"),
            "train.txt: line 3: '000000' already appears on line 1",
        ),
        (lambda folder: split(folder).write_text(""), "train.txt: is empty; it must list the ids"),
    ],
)
def test_each_kind_of_fault_is_found_and_named(folder: Path, damage: Callable[[Path], object], fault: str) -> None:
    damage(folder)
    faults = find_faults(folder, "train", num_labels=21)
    assert len(faults) == 1, faults
    assert fault in faults[0]
    assert faults[0].startswith(str(folder))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_image_is_found(folder: Path, share: float) -> None:
    # A large image, so that checking only the header and the end is not enough.
    noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((120, 100)).save(image(folder), quality=95)
    Image.new("L", (120, 100)).save(mask(folder))
    assert find_faults(folder, "train", num_labels=21) == []
    content = image(folder).read_bytes()
    image(folder).write_bytes(content[: int(share * len(content))])
    assert [fault.partition(": ")[0] for fault in find_faults(folder, "train", num_labels=21)] == [str(image(folder))]


def test_trailing_data_and_a_png_named_jpg_are_not_faults(folder: Path) -> None:
    image(folder).write_bytes(image(folder).read_bytes() + b"a program's own data" * 1000)
    Image.new("RGB", (12, 10)).save(image(folder, 3), "PNG")
    assert find_faults(folder, "train", num_labels=21) == []


def test_a_byte_order_mark_is_not_a_fault(folder: Path) -> None:
    split(folder).write_text(split(folder).read_text(), encoding="utf-8-sig")
    assert find_faults(folder, "train", num_labels=21) == []


def test_windows_line_endings_are_not_a_fault(folder: Path) -> None:
    split(folder).write_bytes(b"000000\r\n000001\r\n")
    assert find_faults(folder, "train", num_labels=21) == []


def test_all_faults_of_all_samples_are_listed_in_order(folder: Path) -> None:
    mask(folder, 4).unlink()
    save_mask(np.full((3, 3), 99, np.uint8))(folder)
    faults = find_faults(folder, "train", num_labels=21)
    assert [fault.partition(": ")[2] for fault in faults] == [
        "is 3x3, but 000002.jpg is 12x10",
        "has label 99; labels are 0 ... 20, or 255 for ignored",
        "no such file",
    ]


def test_a_missing_split_gives_one_error(folder: Path) -> None:
    with pytest.raises(InputError, match=r"val\.txt: no such file; is the folder complete"):
        find_faults(folder, "val", num_labels=21)
    with pytest.raises(InputError, match=r"train\.txt: no such file"):
        require_valid(folder / "nowhere", "train", num_labels=21)


def test_the_first_faults_are_printed_and_the_rest_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split(folder).write_text("".join(f"missing{index}\n" for index in range(15)))
    with pytest.raises(InputError, match="30 faults in its train split") as error:
        require_valid(folder, "train", num_labels=21)
    assert "\n" not in str(error.value)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[0].endswith("JPEGImages/missing0.jpg: no such file")
    assert lines[20] == "... and 10 more"

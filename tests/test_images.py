from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically
from dataset_diffusion.images import read_image, read_label_mask, write_label_mask
from dataset_diffusion.vocabulary import voc_colour


def test_images_are_rgb_whatever_their_files_mode(tmp_path):
    Image.fromarray(np.full((4, 6), 77, dtype=np.uint8)).save(tmp_path / "grey.jpg")
    image = read_image(tmp_path / "grey.jpg")
    assert image.tolist() == np.full((4, 6, 3), 77).tolist()
    assert image.dtype == np.uint8


def test_grey_masks_are_read_unchanged(tmp_path):
    labels = np.arange(21, dtype=np.uint8).reshape(3, 7)
    Image.fromarray(labels).save(tmp_path / "mask.png")
    assert np.array_equal(read_label_mask(tmp_path / "mask.png", 21), labels)
    with pytest.raises(InputError, match=r"mask\.png: has the label 20, .* 0 \.\.\. 19 nor 255"):
        read_label_mask(tmp_path / "mask.png", 20)


@pytest.mark.parametrize("dtype", [np.uint16, np.bool_])
def test_masks_of_other_bit_depths_are_refused(tmp_path, dtype):
    Image.fromarray(np.zeros((24, 16), dtype=dtype)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask\.png: has mode"):
        read_label_mask(tmp_path / "mask.png", 21)


def read_mask(path: Path) -> np.ndarray:
    return read_label_mask(path, 255)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_file_truncated_anywhere_is_named(tmp_path, suffix):
    path = tmp_path / f"file.{suffix}"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 21, (24, 16)).astype(np.uint8)).save(path)
    content, whole = path.read_bytes(), (read_image(path), read_mask(path))
    refused = []
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        for read, expected in zip((read_image, read_mask), whole, strict=True):
            try:
                # Perhaps no pixel is missing, only the end marker.
                assert np.array_equal(read(path), expected)
            except InputError as error:
                assert str(error).startswith(f"{path}: cannot be read as ")  # noqa: PT017
                refused.append(length)
    assert len(refused) > 0.8 * 2 * len(content) / 5


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
    assert [file.name for file in path.parent.iterdir()] == ["mask.png"], "an unfinished file was left"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: .*"):
        write_atomically(tmp_path / "file" / "below" / "x", b"")

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import opened_folder, write_atomically
from dataset_diffusion.images import IGNORED_COLOUR, encode_image, encode_mask
from dataset_diffusion.vocabulary import load_vocabulary

PALETTE = load_vocabulary("voc").palette


def test_a_mask_keeps_its_labels_and_shows_their_colours() -> None:
    labels = np.array([[0, 1, 20], [255, 15, 0]], np.uint8)
    with Image.open(io.BytesIO(encode_mask(labels, PALETTE))) as mask:
        assert (mask.format, mask.mode) == ("PNG", "P")
        assert np.array_equal(np.asarray(mask), labels)
        colours = np.asarray(mask.convert("RGB"))
    assert colours[0].tolist() == [[0, 0, 0], [128, 0, 0], [0, 64, 128]]
    assert tuple(colours[1, 0]) == IGNORED_COLOUR
    assert colours[1, 1].tolist() == [192, 128, 128]  # VOC's person


def test_an_image_keeps_its_colours_at_full_resolution() -> None:
    # A line one pixel wide: the usual halved colour resolution would spread its red to its neighbours.
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 15] = (220, 20, 20)
    with Image.open(io.BytesIO(encode_image(image))) as file:
        assert (file.format, file.mode, file.size) == ("JPEG", "RGB", (32, 32))
        decoded = np.asarray(file).astype(int)
    assert np.abs(decoded - image).max() < 24


def test_files_are_where_voc_has_them_and_their_hashes_are_right(tmp_path: Path) -> None:
    folder = VocFolder(tmp_path, PALETTE)
    folder.prepare()
    files = folder.write("000007", np.full((8, 8, 3), 9, np.uint8), np.zeros((8, 8), np.uint8))
    folder.write_split(["000007"])
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "ImageSets/Segmentation/train.txt",
        "JPEGImages/000007.jpg",
        "SegmentationClass/000007.png",
    ]
    assert (tmp_path / "ImageSets/Segmentation/train.txt").read_text() == "000007\n"
    assert files.image_sha256 == hashlib.sha256((tmp_path / "JPEGImages/000007.jpg").read_bytes()).hexdigest()
    assert files.mask_sha256 == hashlib.sha256((tmp_path / "SegmentationClass/000007.png").read_bytes()).hexdigest()
    (tmp_path / "JPEGImages/000008.jpg").touch()
    assert folder.present() == {"000007"}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dataset.json"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"dataset\.json: cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_half_written_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    folder = VocFolder(tmp_path, PALETTE)
    folder.prepare()
    torn = tmp_path / "JPEGImages" / ".000001.jpg.host-1.tmp"
    torn.write_bytes(b"half")
    folder.sweep()
    assert not torn.exists()


def test_a_file_is_written_even_if_another_process_sweeps_it_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def sync_and_lose(descriptor: int) -> None:
        sync(descriptor)
        for file in tmp_path.glob(".*"):
            file.unlink()

    monkeypatch.setattr("os.fsync", sync_and_lose)
    write_atomically(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError):
        write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_removed_folder_is_not_recreated(tmp_path: Path) -> None:
    folder = VocFolder(tmp_path / "data", PALETTE)
    with pytest.raises(InputError, match="No such file or directory"):
        folder.write("000007", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))
    assert not (tmp_path / "data").exists()


def test_a_folder_accepts_one_run_at_a_time(tmp_path: Path) -> None:
    with opened_folder(tmp_path / "a", "dd-generate"):
        with (
            pytest.raises(InputError, match="another dd-generate is writing to it"),
            opened_folder(tmp_path / "a", "dd-generate"),
        ):
            pass
        write_atomically(tmp_path / "a" / "file", b"")
    with opened_folder(tmp_path / "a", "dd-generate"):
        pass


def test_a_folder_that_stays_empty_is_removed_unless_it_existed_before(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with opened_folder(tmp_path / "a" / "b" / "c", "dd-generate"):
        assert (tmp_path / "a" / "b" / "c").is_dir()
    assert list((tmp_path / "a").iterdir()) == []
    with opened_folder(tmp_path / "a", "dd-generate"):
        pass
    assert (tmp_path / "a").is_dir()


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with (
        pytest.raises(InputError, match=r"output_dir=.*file: is a file; name a folder"),
        opened_folder(file, "dd-generate"),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"output_dir=.*: cannot be written: Not a"),
        opened_folder(file / "a", "dd-generate"),
    ):
        pass


def test_dataset_json_survives_a_json_round_trip() -> None:
    # NumPy numbers and tuples would not be read back as written.
    from dataset_diffusion.dataset.description import describe_vocabulary

    described = describe_vocabulary(load_vocabulary("voc"))
    assert json.loads(json.dumps(described)) == described

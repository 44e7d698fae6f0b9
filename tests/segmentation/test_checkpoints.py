"""Reading good and bad weight files. Only tensors and plain values are ever unpickled."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset_diffusion.errors import InputError
from dataset_diffusion.segmentation.checkpoints import latest_checkpoint, load_strictly, to_plain
from dataset_diffusion.segmentation.pretrained import read_backbone
from dataset_diffusion.segmentation.segmentor import load_segmentor
from tests.segmentation.tiny_voc import LABEL_NAMES, PALETTE, TINY, random_model, write_random_segmentor


class MakesFolder:
    """Creates a folder when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (self.target,)


@pytest.fixture(scope="module")
def segmentor_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "segmentor.pth"
    write_random_segmentor(path)
    return path


READERS: dict[str, Callable[[Path], Any]] = {
    "load_strictly": load_strictly,
    "load_segmentor": lambda path: load_segmentor(path, "cpu"),
    "read_backbone": lambda path: read_backbone(str(path)),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_file_that_would_run_code_is_refused_unread(tmp_path: Path, reader: Callable, legacy: bool) -> None:
    trap, path = tmp_path / "trap", tmp_path / "malicious.pth"
    content = {"state_dict": {"conv1.weight": torch.zeros(1)}, "meta": MakesFolder(trap)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError) as error:
        reader(path)
    assert str(path) in str(error.value)
    assert "could run code" in str(error.value)
    assert "\n" not in str(error.value)
    assert not trap.exists()
    # The trap works with an unsafe reader.
    torch.load(path, weights_only=False)
    assert trap.exists()


def test_a_bare_pickle_that_would_run_code_is_refused_unread(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "malicious.pth"
    path.write_bytes(pickle.dumps(MakesFolder(trap), protocol=2))
    with pytest.raises(InputError):
        load_strictly(path)
    assert not trap.exists()


def truncated(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "content",
    [lambda _: b"", lambda _: b"these are no weights\n", lambda _: b"\x80", lambda _: b"PK\x03\x04", truncated],
    ids=["empty", "text", "one byte", "zip header", "truncated"],
)
def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path, segmentor_file: Path, content: Callable) -> None:
    path = tmp_path / "broken.pth"
    path.write_bytes(content(segmentor_file))
    with pytest.raises(InputError, match="is not a checkpoint, or is damaged"):
        load_segmentor(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_segmentor(tmp_path / "none.pth")
    with pytest.raises(InputError, match="is a folder"):
        load_segmentor(tmp_path)


def test_the_exported_file_has_only_plain_values(segmentor_file: Path) -> None:
    content = torch.load(segmentor_file, weights_only=True)
    assert content["label_names"] == list(LABEL_NAMES)
    assert content["palette"] == [list(colour) for colour in PALETTE]
    assert json.loads(content["architecture"])["depth"] == 18
    assert content["config"] == "settings"
    assert set(content["state_dict"]) == set(random_model().state_dict())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda content: content.pop("architecture"), "is not a segmentor that dd-train exported"),
        (lambda content: content.update(architecture="os.system"), "is not a segmentor that dd-train exported"),
        (lambda content: content["label_names"].append("more"), "number of labels"),
        (lambda content: content["state_dict"].pop("decode_head.conv_seg.bias"), "do not fit its own architecture"),
        (
            lambda content: content.update(architecture=content["architecture"].replace("18", "50")),
            "do not fit its own architecture",
        ),
    ],
)
def test_inconsistent_segmentor_files_are_refused(tmp_path, segmentor_file, change, complaint) -> None:
    content = torch.load(segmentor_file, weights_only=True)
    change(content)
    path = tmp_path / "changed.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=complaint):
        load_segmentor(path)


def test_a_bare_state_dict_is_not_a_segmentor(tmp_path: Path) -> None:
    torch.save(random_model(TINY).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="is not a segmentor that dd-train exported"):
        load_segmentor(tmp_path / "weights.pth")


def test_to_plain_leaves_only_plain_values(tmp_path: Path) -> None:
    content = {
        "numpy": [np.float32(0.5), np.float64(0.25), np.int64(3), np.bool_(True)],
        "tuple": (1, "a", None, 2.5),
        0: {"tensor": torch.arange(3)},
    }
    torch.save(to_plain(content), tmp_path / "plain.pth")
    loaded = torch.load(tmp_path / "plain.pth", weights_only=True)
    assert loaded["numpy"] == [0.5, 0.25, 3, True]
    assert [type(value) for value in loaded["numpy"]] == [float, float, int, bool]
    assert loaded["tuple"] == (1, "a", None, 2.5)
    assert torch.equal(loaded[0]["tensor"], torch.arange(3))
    with pytest.raises(TypeError):
        to_plain({"object": object()})


def test_the_latest_checkpoint_is_found_in_a_moved_folder(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for iteration in (90, 100, 20):
        (tmp_path / f"iter_{iteration}.pth").touch()
    (tmp_path / "iter_x.pth").touch()
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_100.pth"
    (tmp_path / "last_checkpoint").write_text("iter_90.pth\n")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_90.pth"
    # mmengine writes the folder's original path.
    (tmp_path / "last_checkpoint").write_text("/somewhere/else/iter_20.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_20.pth"
    (tmp_path / "last_checkpoint").write_text("iter_70.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_100.pth"

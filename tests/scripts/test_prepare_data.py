import hashlib
import importlib.util
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dataset_diffusion.errors import InputError

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_data.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare_data"] = module  # dataclasses look up their module.
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def downloaded(tmp_path, make_voc, script):
    """A folder with a VOC-like archive of two images, and the matching source."""
    labels = np.zeros((16, 16), dtype=np.uint8)
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    make_voc(tmp_path / "there/VOCdevkit/VOC2012", {"2007_000033": (image, labels), "2007_000042": (image, labels)})
    folder = tmp_path / "data"
    folder.mkdir()
    archive = script.SOURCES["voc"].archives[0]
    path = Path(shutil.make_archive(str(folder / archive.file_name.removesuffix(".tar")), "tar", tmp_path / "there"))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return folder, replace(script.SOURCES["voc"], archives=(replace(archive, md5=md5),), num_images=2)


def test_the_error_says_what_to_download(script, tmp_path):
    with pytest.raises(
        InputError, match=r"download http://host\.robots.*VOCtrainval_11-May-2012\.tar \(1\.9 GB\) into"
    ):
        script.prepare(script.SOURCES["voc"], tmp_path)
    with pytest.raises(InputError, match=r"val2017\.zip \(0\.8 GB\), .*annotations_trainval2017\.zip"):
        script.prepare(script.SOURCES["coco"], tmp_path)


def test_a_download_is_unpacked_only_once(script, downloaded, capsys):
    folder, source = downloaded
    assert script.prepare(source, folder).ids == ("2007_000033", "2007_000042")
    assert sorted(path.name for path in folder.iterdir()) == ["VOCdevkit", "VOCtrainval_11-May-2012.tar"]
    assert "unpacking" in capsys.readouterr().out
    script.prepare(source, folder)
    assert capsys.readouterr().out == ""


def test_a_broken_download_is_named(script, downloaded):
    folder, source = downloaded
    path = folder / "VOCtrainval_11-May-2012.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(InputError, match=r"VOCtrainval_11-May-2012\.tar: has MD5 .* again"):
        script.prepare(source, folder)
    assert [file.name for file in folder.iterdir()] == [path.name]


def test_a_half_unpacked_dataset_is_named(script, downloaded):
    folder, source = downloaded
    (folder / "VOCdevkit").mkdir()
    with pytest.raises(InputError, match=r"VOCdevkit: exists, but VOCdevkit/VOC2012/SegmentationClass does not; move"):
        script.prepare(source, folder)


def test_an_incomplete_dataset_is_named(script, downloaded):
    folder, source = downloaded
    with pytest.raises(InputError, match=r"2 validation images, expected 1449"):
        script.prepare(replace(source, num_images=1449), folder)

"""Training on small folders in the real layouts, alone and mixed with a generated one, killed and resumed."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.images_with_masks import open_images_with_masks
from dataset_diffusion.segmentation.checkpoints import load_strictly, read_segmentor
from dataset_diffusion.segmentation.folders import open_sources, open_validation
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.train import DataSettings, SegmentorSettings, TrainingFolderSettings, TrainSettings
from dataset_diffusion.vocabulary import load_vocabulary
from tests.labelled_folders import COCO_IDS
from tests.segmentation.outcome import require_equal
from tests.segmentation.test_train import start_killed_after_a_checkpoint
from tests.segmentation.tiny_voc import tiny_settings, write_tiny_voc

SMALL = SegmentorSettings(pretrained="none", depth=18, aspp_dilations=[1, 2], base_channels=8)


def describe(root: Path, vocabulary: str) -> Path:
    known = load_vocabulary(vocabulary)
    content = {"vocabulary": {"label_names": known.label_names, "palette": known.palette}}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("generated")
    return {name: describe(write_tiny_voc(folder / name), name) for name in ("voc", "coco")}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A mini VOC with augmented masks, and a mini COCO."""
    folder = tmp_path_factory.mktemp("real")
    voc = write_tiny_voc(folder / "voc/VOCdevkit/VOC2012", num_images=4)
    (voc / "dataset.json").unlink()
    (voc / "ImageSets/Segmentation/val.txt").write_text("image_0\nimage_1\n")
    augmented = voc / "SegmentationClassAug"
    augmented.mkdir()
    for number in (2, 3):
        (voc / f"SegmentationClass/image_{number}.png").rename(augmented / f"image_{number}.png")
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(augmented / "image_0.png")
    (voc / "ImageSets/Segmentation/train.txt").write_text("image_0\nimage_1\n")
    (voc / "ImageSets/Segmentation/trainaug.txt").write_text("image_0\nimage_1\nimage_2\nimage_3\n")
    return {"voc": folder / "voc", "coco": write_mini_coco(folder / "coco")}


def write_mini_coco(root: Path) -> Path:
    """Two images for training and one for validation, each with a person (label 1)."""
    names = [entry.name for entry in load_vocabulary("coco").classes]
    categories = [{"id": number, "name": name} for number, name in zip(COCO_IDS, names, strict=True)]
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train", 2), ("val", 1)):
        (root / f"{split}2017").mkdir()
        images, annotations = [], []
        for number in range(1, count + 1):
            image = np.random.default_rng(number).integers(0, 256, (64, 80, 3)).astype(np.uint8)
            Image.fromarray(image).save(root / f"{split}2017/{number:012d}.jpg")
            images.append({"id": number, "file_name": f"{number:012d}.jpg", "height": 64, "width": 80})
            square = [[10, 10, 40, 10, 40, 40, 10, 40]]
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "segmentation": square}
            )
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    return root


def settings_for(work_dir: Path, dataset_dir: Path | None, real: Path | None = None, **changes: Any) -> TrainSettings:
    """Settings to train on a generated folder, a real one, or both in equal shares."""
    split = changes.pop("split", "train")
    folders = {}
    if real:
        folders["real"] = TrainingFolderSettings(str(real), split, weight=0.5 if dataset_dir else None)
    changes = {"iterations": 4, "batch_size": 4, **changes}
    settings = tiny_settings(work_dir, work_dir, segmentor=SMALL, **changes)
    cache_dir = str(work_dir.parent / "cache")
    generated = str(dataset_dir) if dataset_dir else None
    return dataclasses.replace(settings, dataset_dir=generated, data=DataSettings(folders), cache_dir=cache_dir)


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_real_images_alone_can_be_trained_and_validated_on(name: str, real, work_dir: Path) -> None:
    split = "trainaug" if name == "voc" else "train"
    alone = settings_for(work_dir / "alone", None, real[name], split=split, val=str(real[name]), val_interval=2)
    exported = read_segmentor(train(alone))
    assert exported.label_names == load_vocabulary(name).label_names
    assert json.loads((work_dir / "alone/best.json").read_text())["iteration"] in (2, 4)


def test_mixed_training_survives_a_kill_and_moved_real_data(generated, real, work_dir: Path) -> None:
    train(settings_for(work_dir / "mixed", generated["coco"], real["coco"], iterations=8))
    killed = settings_for(work_dir / "killed", generated["coco"], real["coco"], iterations=8, checkpoint_interval=1)
    assert 0 < start_killed_after_a_checkpoint(killed, 2, 0) < 8
    # The real data can have been moved in the meantime.
    moved = shutil.copytree(real["coco"], work_dir / "moved")
    folders = DataSettings({"real": dataclasses.replace(killed.data.train["real"], root=str(moved))})
    train(dataclasses.replace(killed, data=folders, resume=True))
    left, right = (load_strictly(work_dir / run / "iter_8.pth") for run in ("mixed", "killed"))
    for part in ("state_dict", "ema_state_dict", "optimizer"):
        require_equal(left[part], right[part], part)


def test_augmented_masks_are_used_for_the_augmented_split(real, tmp_path: Path) -> None:
    augmented = open_images_with_masks("root", real["voc"], "trainaug", tmp_path)
    assert [path.parent.name for path in augmented.masks] == [
        "SegmentationClassAug" if number in (0, 2, 3) else "SegmentationClass" for number in range(4)
    ]
    plain = open_images_with_masks("root", real["voc"], "train", tmp_path)
    assert {path.parent.name for path in plain.masks} == {"SegmentationClass"}
    assert plain.labels.names == load_vocabulary("voc").label_names


def test_coco_masks_are_drawn_only_once(real, tmp_path: Path) -> None:
    data = open_images_with_masks("root", real["coco"], "train", tmp_path)
    times = [path.stat().st_mtime_ns for path in data.masks]
    mask = np.array(Image.open(data.masks[0]))
    assert mask[25, 25] == 1
    assert mask[50, 50] == 0
    again = open_images_with_masks("root", real["coco"], "train", tmp_path)
    assert [path.stat().st_mtime_ns for path in again.masks] == times


def test_semantic_masks_of_coco_style_folders_are_read(tmp_path: Path) -> None:
    root = describe(write_tiny_voc(tmp_path / "folder", num_images=3), "voc")
    (root / "JPEGImages").rename(root / "images")
    (root / "annotations").mkdir()
    (root / "SegmentationClass").rename(root / "annotations/semantic_train")
    shutil.rmtree(root / "ImageSets")
    data = open_images_with_masks("root", root, "train", tmp_path)
    assert data.ids == ("image_0", "image_1", "image_2")
    data.require_valid()


def test_subsets_of_num_samples_are_nested_and_depend_on_the_seed(generated, tmp_path: Path) -> None:
    def chosen(count: int, seed: int = 0) -> set[str]:
        entry = TrainingFolderSettings(str(generated["voc"]), num_samples=count)
        settings = tiny_settings(tmp_path, tmp_path, seed=seed)
        settings = dataclasses.replace(settings, dataset_dir=None, data=DataSettings({"some": entry}))
        (source,) = open_sources(settings)
        return set(source.data.ids)

    assert chosen(2) < chosen(4) < chosen(6)
    assert len(chosen(4)) == 4
    assert chosen(3) != chosen(3, seed=1)
    with pytest.raises(InputError, match=r"^data\.train\.some\.num_samples=7: .* has only 6 images"):
        chosen(7)


def test_wrong_folders_give_one_line_each(generated, real, tmp_path: Path, monkeypatch) -> None:
    def complaint(dataset_dir: Path | None, **entry: Any) -> str:
        folders = {"real": TrainingFolderSettings(**entry)}
        settings = tiny_settings(tmp_path, tmp_path / "run")
        generated_dir = str(dataset_dir) if dataset_dir else None

        def run() -> None:
            train(dataclasses.replace(settings, dataset_dir=generated_dir, data=DataSettings(folders)))

        with pytest.raises(InputError) as refused:
            run()
        assert not (tmp_path / "run").exists()
        assert "\n" not in str(refused.value)
        return str(refused.value)

    monkeypatch.chdir(tmp_path)
    voc, coco = str(real["voc"]), str(real["coco"])
    assert "it has 81 labels, but there are 21 in dataset_dir=" in complaint(generated["voc"], root=coco)
    assert "no such file; the splits of the folder are train, trainaug, val" in complaint(None, root=voc, split="tr")
    assert complaint(None, root=f"{voc}/none").endswith(
        "none: no such folder; make it with dd-generate, or name another"
    )
    bare = write_tiny_voc(tmp_path / "bare", num_images=2)
    (bare / "dataset.json").unlink()
    assert "with data.train.real.vocabulary=voc, coco or a .yaml file" in complaint(None, root=str(bare))
    assert complaint(generated["voc"], root=None) == "data.train.real.root=null: name a folder"
    assert "must leave a share" in complaint(generated["voc"], root=voc, weight=1.5)


def test_a_bare_folder_takes_a_vocabulary(tmp_path: Path) -> None:
    bare = write_tiny_voc(tmp_path / "bare", num_images=2)
    (bare / "dataset.json").unlink()
    entry = TrainingFolderSettings(str(bare), vocabulary="voc")
    settings = dataclasses.replace(
        tiny_settings(tmp_path, tmp_path), dataset_dir=None, data=DataSettings({"mine": entry})
    )
    assert open_sources(settings)[0].data.labels.names == load_vocabulary("voc").label_names


def test_validation_can_be_chosen_by_name(real, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = tiny_settings(tmp_path, tmp_path, val="voc")
    voc = load_vocabulary("voc")
    from dataset_diffusion.labelled.label_names import Labels

    labels = Labels(voc.label_names, voc.palette)
    with pytest.raises(InputError, match=r"^val=data/voc: no such folder"):
        open_validation(settings, labels)
    shutil.copytree(real["voc"], tmp_path / "data/voc")
    opened = open_validation(settings, labels)
    assert opened is not None
    assert opened.ids == ("image_0", "image_1")

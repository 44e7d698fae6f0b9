"""Each export is read back by the library that its users use and compared pixel by pixel."""

import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from dataset_diffusion.dataset.export.run import export
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import Manifest, SampleRecord
from dataset_diffusion.dataset.report.write import write_report
from dataset_diffusion.dataset.source import FolderSource
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import held_by_one_process
from dataset_diffusion.settings.export import ExportSettings
from tests.dataset.made_folder import make_folder

SPLITS = {"train": 0.6, "val": 0.4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "made"
    make_folder(path, 10, splits=SPLITS)
    (path / "contact_sheet.png").write_bytes((path / "SegmentationClass/000000.png").read_bytes())
    return path


def run(folder: Path, output_dir: Path, name: str, **settings: Any) -> Path:
    export(ExportSettings(str(folder), name, str(output_dir), **settings), progress=False)
    return output_dir


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in (folder / "SegmentationClass").iterdir()}


def split_ids(folder: Path, split: str) -> list[str]:
    return (folder / f"ImageSets/Segmentation/{split}.txt").read_text().split()


def records(folder: Path) -> dict[str, SampleRecord]:
    return Manifest(folder).read()


@pytest.mark.parametrize("name", ["voc", "coco", "huggingface"])
def test_an_export_converts_back_to_the_same_folder(folder: Path, tmp_path: Path, name: str) -> None:
    there = run(folder, tmp_path / "there", name)
    again = run(there, tmp_path / "again", "voc")
    assert records(again) == records(folder)
    for sample_id, labels in masks(folder).items():
        assert np.array_equal(masks(again)[sample_id], labels)
        image = f"JPEGImages/{sample_id}.jpg"
        assert (again / image).read_bytes() == (folder / image).read_bytes()
    for split in SPLITS:
        assert split_ids(again, split) == split_ids(folder, split)
    # A finished folder with the right hashes: it can be exported again.
    assert [sample.read() for sample in FolderSource(again).samples("val")]
    old, new = (json.loads((path / "dataset.json").read_bytes()) for path in (folder, again))
    assert new == {**old, "format": "voc", "splits": ["train", "val"]}


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_the_parquet_files(folder: Path, tmp_path: Path, streaming: bool) -> None:
    datasets = pytest.importorskip("datasets")
    exported = run(folder, tmp_path / "hf", "huggingface")
    loaded = datasets.load_dataset(
        str(exported), streaming=streaming, cache_dir=str(tmp_path / "cache"), verification_mode="no_checks"
    )
    assert list(loaded) == ["train", "val"]
    id2label = json.loads((exported / "id2label.json").read_text())
    for split in SPLITS:
        assert list(loaded[split].features) == ["id", "image", "label", "caption", "classes", "record"]
        rows = list(loaded[split])
        assert [row["id"] for row in rows] == split_ids(folder, split)
        for row in rows:
            assert np.array_equal(np.asarray(row["label"]), masks(folder)[row["id"]])
            record = records(folder)[row["id"]]
            assert row["caption"] == record.caption
            assert row["classes"] == [id2label[str(entry.label)] for entry in record.classes]
            assert row["image"].size == row["label"].size


def test_the_data_card_has_valid_yaml_and_counts(folder: Path, tmp_path: Path) -> None:
    exported = run(folder, tmp_path / "hf", "huggingface")
    _, head, text = (exported / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head)["configs"][0]["data_files"][1] == {"split": "val", "path": "data/val-*.parquet"}
    assert "# 10 generated images with semantic masks" in text
    assert "| `sampler.guidance_scale` | `7.5` |" in text
    assert "contact_sheet.png" in text
    assert (exported / "contact_sheet.png").is_file()


@pytest.mark.parametrize("older", [False, True])
def test_parquet_files_give_each_image_its_own_id_in_coco(folder: Path, tmp_path: Path, older: bool) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    exported = run(folder, tmp_path / "hf", "huggingface")
    for path in (exported / "data").iterdir() if older else ():
        table = parquet.read_table(path)
        lines = [re.sub(r', "position": \d+', "", line) for line in table["record"].to_pylist()]
        parquet.write_table(table.set_column(table.column_names.index("record"), "record", [lines]), path)
    coco = run(exported, tmp_path / "coco", "coco")
    annotations = [json.loads(path.read_bytes()) for path in (coco / "annotations").glob("instances_*.json")]
    ids = {image["file_name"]: image["id"] for content in annotations for image in content["images"]}
    assert sorted(ids.values()) == list(range(1, 11))
    assert older or all(name == f"{image_id - 1:06d}.jpg" for name, image_id in ids.items())


def test_parquet_files_are_split_by_size(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("dataset_diffusion.dataset.export.huggingface.BYTES_PER_MB", 8000)
    exported = run(folder, tmp_path / "hf", "huggingface", shard_mb=1)
    names = sorted(path.name for path in (exported / "data").glob("train-*"))
    assert len(names) > 1
    assert names[0] == f"train-00000-of-{len(names):05d}.parquet"
    loaded = datasets.load_dataset(str(exported), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["id"][:] == split_ids(folder, "train")


def test_webdataset_reads_the_tars(folder: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    exported = run(folder, tmp_path / "wds", "webdataset")
    shards = sorted(str(path) for path in exported.glob("train-*.tar"))
    # "l8": Pillow's grey, unchanged.
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("l8"))
    assert [sample["__key__"] for sample in samples] == split_ids(folder, "train")
    names = json.loads((exported / "classes.json").read_text())
    for sample in samples:
        record = records(folder)[sample["__key__"]]
        assert np.array_equal(sample["png"], masks(folder)[record.id])
        assert sample["json"]["caption"] == record.caption
        assert [entry["name"] for entry in sample["json"]["classes"]] == [
            names[entry.label] for entry in record.classes
        ]


def test_an_id_with_a_dot_stays_one_key(tmp_path: Path) -> None:
    make_folder(tmp_path / "made", 2, sample_ids=["a.b", "a_b"])
    exported = run(tmp_path / "made", tmp_path / "wds", "webdataset")
    with tarfile.open(exported / "train-000000.tar") as shard:
        assert shard.getnames() == ["a%2Eb.jpg", "a%2Eb.png", "a%2Eb.json", "a_b.jpg", "a_b.png", "a_b.json"]
        record = shard.extractfile("a%2Eb.json")
        assert record is not None
        assert json.load(record)["id"] == "a.b"


def test_ultralytics_finds_the_mask_of_each_image(folder: Path, tmp_path: Path) -> None:
    exported = run(folder, tmp_path / "yolo", "ultralytics")
    data = yaml.safe_load((exported / "data.yaml").read_text())
    assert (data["train"], data["val"]) == ("images/train", "images/val")
    assert data["names"][15] == "person"
    for split in SPLITS:
        images = sorted((exported / data["path"] / data[split]).iterdir())
        assert [path.stem for path in images] == split_ids(folder, split)
        for image in images:
            # The documented rule: `masks_dir` instead of "images", and the mask suffix.
            mask = Path(str(image).replace("/images/", f"/{data['masks_dir']}/")).with_suffix(".png")
            with Image.open(mask) as file:
                assert file.mode == "L"
                assert np.array_equal(np.asarray(file), masks(folder)[image.stem])


def test_a_chosen_split_can_be_written_under_another_name(folder: Path, tmp_path: Path) -> None:
    exported = run(folder, tmp_path / "yolo", "ultralytics", splits={"train": "val"})
    assert sorted(path.stem for path in (exported / "images/train").iterdir()) == split_ids(folder, "val")
    assert yaml.safe_load((exported / "data.yaml").read_text())["val"] == "images/train"


@pytest.mark.parametrize("name", ["voc", "coco", "huggingface"])
def test_an_export_of_overlapping_splits_is_a_complete_dataset(tmp_path: Path, name: str) -> None:
    made = make_folder(tmp_path / "made", 8, splits=SPLITS)
    best = ["000001", "000003", "000004"]
    VocFolder(tmp_path / "made", ()).write_split(best, "best")
    train = split_ids(tmp_path / "made", "train")
    assert set(train) & set(best)
    there = run(tmp_path / "made", tmp_path / "there", name, splits={"train": "best", "rest": "train"})
    # The default splits are the ones written, not those in the settings that made the source.
    again = run(there, tmp_path / "again", "voc")
    assert (split_ids(again, "train"), split_ids(again, "rest")) == (best, train)
    written = [record for record in made if record.id in {*best, *train}]
    assert list(records(again).values()) == written
    assert [sample.record.id for sample in FolderSource(again).samples("rest")] == train
    for folder in (there, again):
        counts = json.loads((folder / "dataset.json").read_bytes())["counts"]
        assert counts["images"] == len(written)
        assert sum(counts["images_per_class"].values()) == sum(len(record.classes) for record in written)
    write_report(again)
    assert json.loads((again / "report.json").read_bytes())["splits"] == {"train": len(best), "rest": len(train)}


@pytest.mark.parametrize(("rest", "warns"), [("val", False), ("train", True)])
def test_samples_in_several_splits_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rest: str, warns: bool
) -> None:
    make_folder(tmp_path / "made", 8, splits=SPLITS)
    run(tmp_path / "made", tmp_path / "there", "coco", splits={"train": "train", "rest": rest})
    number = len(split_ids(tmp_path / "made", "train"))
    expected = f"dd-export: splits: {number} samples are in more than one of train, rest\n" if warns else ""
    assert capsys.readouterr().err == expected


def test_several_processes_write_the_same_files_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset_diffusion.parallel.FEW", 4)
    make_folder(tmp_path / "made", 40)
    one = run(tmp_path / "made", tmp_path / "one", "coco", num_workers=1)
    two = run(tmp_path / "made", tmp_path / "two", "coco", num_workers=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*.*"))
    assert files == sorted(path.relative_to(two) for path in two.rglob("*.*"))
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files if (one / file).is_file())


def damage_image(folder: Path) -> None:
    image = folder / "JPEGImages/000003.jpg"
    image.write_bytes(image.read_bytes()[:-7] + b"damaged")


def sort_split_backwards(folder: Path) -> None:
    path = folder / "ImageSets/Segmentation/train.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (
            lambda folder: os.remove(folder / "ImageSets/Segmentation/train.txt"),
            "coco",
            r"made: is not finished \(it has no",
        ),
        (lambda folder: os.remove(folder / "dataset.json"), "coco", "made: has no dataset.json"),
        (damage_image, "voc", r"000003\.jpg: is damaged"),
        (damage_image, "huggingface", r"000003\.jpg: is damaged"),
        (lambda folder: os.remove(folder / "SegmentationClass/000002.png"), "coco", r"000002\.png: cannot be read"),
        (
            sort_split_backwards,
            "webdataset",
            r"train\.txt: line 2: '\d+' is not in manifest\.jsonl, or not in its order",
        ),
    ],
)
def test_a_folder_that_cannot_be_exported_is_named_and_leaves_nothing_behind(
    tmp_path: Path, spoil: Any, name: str, message: str
) -> None:
    make_folder(tmp_path / "made", 4)
    spoil(tmp_path / "made")
    with pytest.raises(InputError, match=message) as caught:
        run(tmp_path / "made", tmp_path / "out", name)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def cut_coco_image(exported: Path) -> None:
    image = exported / "images/000003.jpg"
    image.write_bytes(image.read_bytes()[:-7])


def change_parquet_mask(exported: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (path,) = (exported / "data").iterdir()
    table = parquet.read_table(path)
    rows = table.to_pylist()
    rows[3]["label"]["bytes"] = rows[2]["label"]["bytes"]
    parquet.write_table(table.from_pylist(rows, table.schema), path)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("coco", cut_coco_image, r"images/000003\.jpg: is damaged \(.*\); fetch it again, or export it again"),
        (
            "huggingface",
            change_parquet_mask,
            r"data/train-.*parquet: the mask of 000003 is damaged \(.*; fetch it again",
        ),
    ],
)
def test_a_damaged_file_of_an_export_is_named(tmp_path: Path, name: str, spoil: Any, message: str) -> None:
    make_folder(tmp_path / "made", 4)
    spoil(run(tmp_path / "made", tmp_path / "exported", name))
    with pytest.raises(InputError, match=message):
        run(tmp_path / "exported", tmp_path / "out", "voc")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "tfrecord"}, "format=tfrecord: must be one of huggingface, coco, ultralytics, webdataset, voc"),
        (
            {"name": "coco", "splits": {"train": "best"}},
            r"best\.txt: no such file; the splits of this folder are train, val",
        ),
        ({"name": "ultralytics", "splits": {"best": "train"}}, "Ultralytics knows train, val and test"),
    ],
)
def test_an_impossible_setting_is_named(folder: Path, tmp_path: Path, settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(folder, tmp_path / "out", **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["huggingface", "ultralytics"])
def test_an_empty_split_is_named_with_the_splits_to_choose(tmp_path: Path, name: str) -> None:
    make_folder(tmp_path / "made", 4, splits=SPLITS)
    VocFolder(tmp_path / "made", ()).write_split([], "val")
    message = r"splits: .*made has no samples in val; name splits that have some, e\.g\. splits='\{train: train\}'$"
    with pytest.raises(InputError, match=message):
        run(tmp_path / "made", tmp_path / "out", name)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_is_not_empty_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"output_dir=.*: is not empty; name a new folder"):
        run(folder, tmp_path, "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_exports_to_one_folder_do_not_run_at_once(folder: Path, tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match="another dd-export is writing to it")
    with held_by_one_process(tmp_path / ".out.lock", "held"), refused:
        run(folder, tmp_path / "out", "coco")
    run(folder, tmp_path / "out", "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_missing_library_is_named_with_the_pip_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the library datasets; pip install datasets"):
        run(folder, tmp_path / "out", "huggingface")


def test_masks_keep_their_bytes_where_grey_is_not_needed(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    exported = run(folder, tmp_path / "hf", "huggingface")
    (row, *_) = parquet.read_table(exported / "data").to_pylist()
    assert row["label"]["bytes"] == (folder / f"SegmentationClass/{row['id']}.png").read_bytes()
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        assert image.format == "JPEG"

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataset_diffusion.dataset.filter import filter_split
from dataset_diffusion.dataset.manifest import ClassRecord, Manifest
from dataset_diffusion.dataset.quality import Quality
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.filter import FilterSettings
from tests.dataset.made_folder import make_folder, rewrite_manifest

# Confidence, class, hash.
SAMPLES = [
    (0.9, "cat", "0" * 16),
    (0.8, "cat", "0" * 15 + "1"),  # Looks like the first.
    (0.2, "cat", "f" * 16),
    (0.1, "cat", "00ff" * 4),
    (0.3, "dog", "0f0f" * 4),
    (0.5, "dog", "3333" * 4),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = make_folder(tmp_path / "made", len(SAMPLES))
    scored = [
        replace(
            record,
            ignored=0.1 * index,
            classes=(ClassRecord(name, {"cat": 8, "dog": 12}[name], 0.5, confidence),),
            quality=Quality(confidence, confidence / 2, index, 0.0, 0.0, phash),
        )
        for index, (record, (confidence, name, phash)) in enumerate(zip(records, SAMPLES, strict=True))
    ]
    rewrite_manifest(tmp_path / "made", scored)
    return tmp_path / "made"


def kept(folder: Path, **settings: Any) -> list[int]:
    """The positions of the samples kept; all others must have reasons."""
    filter_split(FilterSettings(str(folder), **settings))
    names = (folder / "ImageSets/Segmentation/train_filtered.txt").read_text().split()
    left_out = [json.loads(line)["id"] for line in reasons_file(folder).read_text().splitlines()]
    assert sorted(names + left_out) == [f"{index:06d}" for index in range(len(SAMPLES))]
    return [int(name) for name in names]


def reasons_file(folder: Path) -> Path:
    return folder / "ImageSets/Segmentation/train_filtered.jsonl"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min": {"confidence": 0.3}}, [0, 1, 4, 5]),
        ({"max": {"ignored": 0.2, "components": 1}}, [0, 1]),
        ({"best_share": 0.5}, [0, 1, 5]),  # Two of four cats, one of two dogs: not the three best overall.
        ({"best_share": 0.01}, [0, 5]),
        ({"best_share": 0.5, "rank_by": "ignored"}, [0, 1, 4]),
        ({"duplicates": True}, [0, 2, 3, 4, 5]),
        ({"duplicates": True, "rank_by": "components"}, [0, 2, 3, 4, 5]),
        ({"min": {"confidence": 0.85}, "best_share": 1.0, "duplicates": True}, [0]),
    ],
)
def test_the_better_samples_are_kept(folder: Path, settings: dict[str, Any], expected: list[int]) -> None:
    assert kept(folder, **settings) == expected


def test_every_reason_is_written(folder: Path) -> None:
    kept(folder, min={"confidence": 0.25}, max={"ignored": 0.25}, duplicates=True)
    reasons = {
        entry["id"]: entry["reasons"] for entry in map(json.loads, reasons_file(folder).read_text().splitlines())
    }
    assert reasons["000001"] == ["duplicate of 000000"]
    assert reasons["000002"] == ["confidence 0.2 < 0.25"]
    assert reasons["000003"] == ["confidence 0.1 < 0.25", "ignored 0.3 > 0.25"]


def test_files_and_other_splits_do_not_change(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    kept(folder, best_share=0.5)
    for path, content in before.items():
        if not path.name.startswith("report."):
            assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "best_share=null: nothing to filter by"),
        ({"min": {"beauty": 1}}, r"min\.beauty=1: .* confidence, margin"),
        ({"min": {"confidence": 0.99}}, "none of its 6 samples is left; filter less"),
        ({"split": "best", "duplicates": True}, r"best\.txt: no such file; the splits of this folder are train"),
        ({"output": "train", "duplicates": True}, "output=train: is the split that is filtered"),
    ],
)
def test_a_setting_that_cannot_filter_is_named(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        filter_split(FilterSettings(str(folder), **settings))
    assert not reasons_file(folder).exists()


def test_a_split_that_the_folder_was_made_with_is_not_overwritten(tmp_path: Path) -> None:
    make_folder(tmp_path, 12, splits={"train": 0.5, "val": 0.5})
    splits = tmp_path / "ImageSets/Segmentation"
    before = {path: path.read_bytes() for path in splits.iterdir()}
    filter_split(FilterSettings(str(tmp_path), output="best", duplicates=True))
    filter_split(FilterSettings(str(tmp_path), output="best", best_share=1.0))
    for split, output in (("train", "val"), ("best", "train")):
        with pytest.raises(InputError, match=f"output={output}: is a split that the folder was made with; name anothe"):
            filter_split(FilterSettings(str(tmp_path), split=split, output=output, duplicates=True))
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_without_scores_is_named(folder: Path) -> None:
    rewrite_manifest(folder, [replace(record, quality=None) for record in Manifest(folder).read().values()])
    with pytest.raises(InputError, match=r"000000: its line of manifest\.jsonl has no quality scores"):
        filter_split(FilterSettings(str(folder), duplicates=True))

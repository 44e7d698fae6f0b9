from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.dataset.export.run import export
from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled.opening import open_dataset
from dataset_diffusion.settings.evaluate import EvaluateSettings, EvaluationDatasetSettings
from dataset_diffusion.settings.export import ExportSettings
from tests.dataset.made_folder import make_folder


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    make_folder(tmp_path / "made", 8, splits={"train": 0.5, "val": 0.5})
    export(ExportSettings(str(tmp_path / "made"), "coco", str(tmp_path / "coco")), progress=False)
    return tmp_path / "coco"


def settings(root: Path) -> EvaluateSettings:
    return EvaluateSettings("segmentor.pth", EvaluationDatasetSettings("folder", "val"), str(root))


def test_an_export_is_read_like_the_folder_it_was_made_from(exported: Path) -> None:
    first, second = (open_dataset(settings(root), ()) for root in (exported, exported.parent / "made"))
    assert first.ids == second.ids
    assert first.label_names == second.label_names
    for index in range(len(first.ids)):
        assert all(np.array_equal(*pair) for pair in zip(first.load(index), second.load(index), strict=True))


def test_an_export_can_name_its_splits_as_coco_does(exported: Path) -> None:
    made, named = exported.parent / "made", exported.parent / "named"
    export(ExportSettings(str(made), "coco", str(named), {"val2017": "val", "train2017": "train"}), progress=False)
    dataset = EvaluationDatasetSettings("folder", "val2017")
    opened = open_dataset(EvaluateSettings("segmentor.pth", dataset, str(named)), ())
    assert opened.ids == open_dataset(settings(exported), ()).ids


def test_without_a_description_labels_come_from_the_segmentor(exported: Path) -> None:
    names = open_dataset(settings(exported), ()).label_names
    (exported / "dataset.json").unlink()
    others = tuple(f"label {number}" for number in range(len(names)))
    assert open_dataset(settings(exported), others).label_names == others


def test_a_wrong_mask_is_found_when_it_is_opened(exported: Path) -> None:
    mask = next((exported / "annotations/semantic_val").iterdir())
    Image.fromarray(np.full((48, 40), 99, np.uint8)).save(mask)
    with pytest.raises(InputError, match="1 fault"):
        open_dataset(settings(exported), ())

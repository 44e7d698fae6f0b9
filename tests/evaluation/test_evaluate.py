import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.errors import InputError
from dataset_diffusion.evaluation.evaluate import evaluate, evenly_spaced, measure, output_folder, require_same_labels
from dataset_diffusion.evaluation.prediction import IMAGES_AHEAD, predict_dataset
from dataset_diffusion.labelled.opening import open_dataset
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.metrics import segmentation_metrics
from dataset_diffusion.segmentation.checkpoints import SegmentorFile, save_segmentor
from dataset_diffusion.segmentation.model import Architecture, build_segmentor, init_weights, segmentor_config
from dataset_diffusion.segmentation.segmentor import load_segmentor
from dataset_diffusion.settings.evaluate import EvaluateSettings, EvaluationDatasetSettings
from dataset_diffusion.vocabulary import load_vocabulary
from tests.labelled_folders import GreyReader, answer_image, enlarge

VOC_NAMES = load_vocabulary("voc").label_names


class Pairs:
    """A dataset in memory: images for which GreyReader answers `predictions`, and labels."""

    name = "pairs"
    label_names = ("background", "a", "b", "c")

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.ids = tuple(f"id{index}" for index in range(count))
        self.predictions, self.labels = [], []
        for _ in range(count):
            shape = tuple(rng.integers(1, 4, 2) * 10)
            self.predictions.append(rng.integers(0, 4, shape).astype(np.uint8))
            self.labels.append(rng.choice([0, 1, 2, 3, 255], shape).astype(np.uint8))

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.predictions[index][:, :, None].repeat(3, axis=2) * 3, self.labels[index]


@pytest.fixture
def pairs() -> Pairs:
    return Pairs(2 * IMAGES_AHEAD + 5)


@pytest.fixture
def segmentor() -> GreyReader:
    return GreyReader(Pairs.label_names)


def export_segmentor(path: Path, label_names: tuple[str, ...]) -> Path:
    """A segmentor with random weights, as dd-train writes it."""
    torch.manual_seed(0)
    architecture = Architecture(depth=18, deep_stem=True, aspp_dilations=(1, 2), num_labels=len(label_names))
    model = build_segmentor(segmentor_config(architecture))
    init_weights(model)
    palette = tuple((label, label, label) for label in range(len(label_names)))
    save_segmentor(SegmentorFile(model.state_dict(), architecture, label_names, palette, config=""), path)
    return path


def test_every_image_is_predicted_once_in_order(segmentor, pairs):
    indices = [5, 3, 30, 4]
    for chosen in (range(len(pairs.ids)), indices, []):
        found = list(predict_dataset(segmentor, pairs, chosen, tta=False))
        assert [item.index for item in found] == list(chosen)
        for item in found:
            assert np.array_equal(item.prediction, pairs.predictions[item.index])
            assert np.array_equal(item.labels, pairs.labels[item.index])
    assert not any(segmentor.tta_asked)
    list(predict_dataset(segmentor, pairs, [0], tta=True))
    assert segmentor.tta_asked[-1]


def test_neither_order_nor_number_of_processes_changes_a_count(segmentor, pairs):
    expected = measure(segmentor, pairs, range(len(pairs.ids)))
    rng = np.random.default_rng(1)
    for processes in (1, 2, 3):
        dealt = rng.permutation(len(pairs.ids))
        parts = [measure(segmentor, pairs, dealt[rank::processes].tolist()) for rank in range(processes)]
        assert np.array_equal(sum(parts), expected)
    by_hand = np.zeros((4, 4), dtype=np.int64)
    for labels, prediction in zip(pairs.labels, pairs.predictions, strict=True):
        for pixel in np.ndindex(labels.shape):
            if labels[pixel] != 255:
                by_hand[labels[pixel], prediction[pixel]] += 1
    assert np.array_equal(expected, by_hand)


def test_an_unreadable_image_ends_the_run_with_its_own_error(segmentor, pairs):
    def load(index: int) -> tuple[np.ndarray, np.ndarray]:
        if index == 20:
            raise InputError("image 20: broken")
        return Pairs.load(pairs, index)

    pairs.load = load
    with pytest.raises(InputError, match="image 20: broken"):
        measure(segmentor, pairs, range(len(pairs.ids)))


def test_a_mini_voc_gives_the_iou_computed_by_hand(tmp_path, make_voc):
    # Blocks of 16 x 16 pixels: the first image is half right, the second right except for ignored pixels.
    truth = enlarge(np.array([[0, 1], [1, 1]]))
    ignored = enlarge(np.array([[15, 255, 255]]))
    samples = {
        "2007_000033": (answer_image(np.array([[0, 1], [2, 2]])), truth),
        "2007_000042": (answer_image(np.array([[15, 15, 3]])), ignored),
    }
    make_voc(tmp_path / "VOCdevkit" / "VOC2012", samples)
    settings = settings_for(tmp_path, "voc")
    dataset = open_dataset(settings, VOC_NAMES)

    metrics = segmentation_metrics(measure(GreyReader(VOC_NAMES), dataset, range(2)))

    expected = np.full(21, np.nan)
    expected[[0, 1, 2, 15]] = (1, 1 / 3, 0, 1)
    np.testing.assert_array_equal(metrics.iou, expected)
    assert metrics.miou == pytest.approx((1 + 1 / 3 + 0 + 1) / 4)
    assert metrics.pixel_accuracy == 3 / 5


def test_a_mini_coco_gives_the_iou_computed_by_hand(tmp_path, make_coco):
    names = load_vocabulary("coco").label_names
    answers = {"000000000139.jpg": np.array([[0, 1, 80, 80]]), "000000000285.jpg": np.array([[0, 0]])}
    toothbrush = [[32, 0, 48, 0, 48, 16, 32, 16]]
    crowd = {"size": [16, 64], "counts": [48 * 16, 16 * 16]}
    annotations = [
        {"file_name": "000000000139.jpg", "category_id": 90, "segmentation": toothbrush},
        {"file_name": "000000000139.jpg", "category_id": 1, "segmentation": crowd, "iscrowd": 1},
    ]
    make_coco(tmp_path, {name: answer_image(answer) for name, answer in answers.items()}, annotations)
    dataset = open_dataset(settings_for(tmp_path, "coco"), names)

    metrics = segmentation_metrics(measure(GreyReader(names), dataset, range(2)))

    expected = np.full(81, np.nan)
    expected[[0, 1, 80]] = (3 / 4, 0, 1)
    np.testing.assert_array_equal(metrics.iou, expected)
    assert metrics.pixel_accuracy == 4 / 5


def settings_for(data_root: Path, name: str, **more: object) -> EvaluateSettings:
    return EvaluateSettings(
        checkpoint=str(more.pop("checkpoint", "segmentor.pth")),
        dataset=EvaluationDatasetSettings(name),
        data_root=str(data_root),
        cache_dir=str(data_root / "cache"),
        device="cpu",
        **more,
    )


@pytest.fixture
def own_folder(tmp_path, make_voc) -> Path:
    rng = np.random.default_rng(0)
    samples = {}
    for index in range(5):
        shape = (48, 64) if index % 2 else (56, 40)
        image = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        labels = enlarge(rng.choice([0, 1, 2, 255], (4, 4)))[: shape[0], :40]
        samples[f"img.{index}"] = (image[:, :40], labels)
    return make_voc(tmp_path / "own", samples)


def test_figures_equal_mmsegs_for_the_written_predictions(tmp_path, own_folder, capsys):
    from mmseg.evaluation import IoUMetric

    names = ("background", "crop", "weed", "stone")
    checkpoint = export_segmentor(tmp_path / "segmentor.pth", names)
    settings = settings_for(own_folder, "folder", checkpoint=checkpoint, save_predictions=True)

    record = evaluate(settings, load_segmentor)

    printed = capsys.readouterr().out
    output_dir = tmp_path / "eval_own"
    assert json.loads((output_dir / "metrics.json").read_text()) == record
    assert f"mIoU {100 * record['miou']:.1f} over" in printed
    assert str(output_dir / "metrics.json") in printed
    areas = []
    for sample_id in (f"img.{index}" for index in range(5)):
        prediction = np.array(Image.open(output_dir / "predictions" / f"{sample_id}.png"))
        labels = np.array(Image.open(own_folder / "SegmentationClass" / f"{sample_id}.png"))
        areas.append(
            IoUMetric.intersect_and_union(torch.tensor(prediction).long(), torch.tensor(labels).long(), 4, 255)
        )
    totals = [sum(area.double() for area in column) for column in zip(*areas, strict=True)]
    theirs = IoUMetric.total_area_to_metrics(*totals, ["mIoU"])
    ours = [np.nan if value is None else value for value in record["iou"].values()]
    np.testing.assert_allclose(ours, theirs["IoU"], rtol=0, atol=1e-9)
    assert record["miou"] == pytest.approx(np.nanmean(theirs["IoU"]), abs=1e-9)
    with Image.open(output_dir / "overlay.png") as sheet:
        assert sheet.width > 4 * 3 * 160

    again = evaluate(settings, load_segmentor)
    assert again == record, "something in the record depends on the time or the run"


def test_each_protocol_and_split_has_its_own_folder(tmp_path):
    def folder(name: str = "voc", split: str = "val", **more: object) -> str:
        data = EvaluationDatasetSettings(name, split)
        return output_folder(EvaluateSettings(str(tmp_path / "segmentor.pth"), data, "some/photos", **more)).name

    assert folder() == "eval_voc"
    assert folder(test_scale="own", test_mode="slide") == "eval_voc_own_slide"
    assert folder("folder", "test", tta=True) == "eval_photos_test_tta"


def test_predictions_are_not_mixed_with_another_datasets(tmp_path, own_folder):
    checkpoint = export_segmentor(tmp_path / "segmentor.pth", ("background", "crop", "weed"))
    output_dir = tmp_path / "out"
    (output_dir / "predictions").mkdir(parents=True)
    (output_dir / "predictions" / "2007_000033.png").write_bytes(b"")
    settings = settings_for(
        own_folder, "folder", checkpoint=checkpoint, output_dir=str(output_dir), save_predictions=True
    )
    with pytest.raises(InputError, match=r"has 2007_000033\.png, which is not an image of dataset=folder"):
        evaluate(settings, load_segmentor)


def test_a_folders_labels_come_from_its_dataset_json(own_folder):
    settings = settings_for(own_folder, "folder")
    assert open_dataset(settings, ("background", "x", "y")).label_names == ("background", "x", "y")
    names = ["background", "crop", "weed"]
    (own_folder / "dataset.json").write_text(
        json.dumps({"vocabulary": {"label_names": names, "palette": [[0, 0, 0]] * 3}})
    )
    assert open_dataset(settings, ("background", "x", "y")).label_names == tuple(names)


def test_labels_that_differ_from_the_datasets_are_refused(own_folder):
    dataset = VocDataset("folder", own_folder, "val", ("background", "crop", "weed"))
    require_same_labels(Path("a.pth"), ("background", "crop", "weed"), dataset)
    with pytest.raises(InputError, match=r"checkpoint=a\.pth has 4 labels, but dataset=folder has 3; evaluate on"):
        require_same_labels(Path("a.pth"), ("background", "crop", "weed", "stone"), dataset)
    with pytest.raises(InputError, match=r"label 2 is 'stone' in checkpoint=a\.pth, but 'weed' in dataset=folder"):
        require_same_labels(Path("a.pth"), ("background", "crop", "stone"), dataset)


@pytest.mark.parametrize(("length", "count"), [(1, 24), (5, 24), (24, 24), (500, 24), (25, 24)])
def test_overlays_span_the_whole_dataset(length, count):
    indices = evenly_spaced(length, count)
    assert len(indices) == min(length, count)
    assert min(indices) == 0
    assert max(indices) == length - 1

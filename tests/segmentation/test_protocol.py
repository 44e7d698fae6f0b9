"""The test protocol, checked against mmsegmentation's shipped config and pipeline, which use no code of ours."""

import json
from pathlib import Path
from typing import Any

import mmseg
import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.labelled.images_with_masks import open_images_with_masks
from dataset_diffusion.segmentation.checkpoints import SegmentorFile, load_strictly, save_segmentor
from dataset_diffusion.segmentation.data import validation_loader
from dataset_diffusion.segmentation.model import Architecture, build_segmentor, segmentor_config
from dataset_diffusion.segmentation.segmentor import Segmentor, load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.protocol import TestProtocol
from dataset_diffusion.vocabulary import load_vocabulary
from tests.segmentation.test_segmentor import random_image
from tests.segmentation.tiny_voc import LABEL_NAMES, PALETTE, TINY, random_model, tiny_settings, write_tiny_voc

SHIPPED = Path(mmseg.__file__).parent / ".mim/configs/deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py"
PAPER = TestProtocol((2048, 512))


@pytest.fixture(scope="module")
def shipped() -> Any:
    """The shipped config's model at a quarter of its width, with random weights that do not depend on our code."""
    from mmengine.config import Config
    from mmengine.model import revert_sync_batchnorm
    from mmseg.apis import init_model

    config = Config.fromfile(SHIPPED)
    config.merge_from_dict(
        {
            "model.backbone.base_channels": 16,
            "model.backbone.stem_channels": 16,
            "model.decode_head": {"in_channels": 512, "channels": 128},
            "model.auxiliary_head": {"in_channels": 256, "channels": 64},
        }
    )
    torch.manual_seed(0)
    model = revert_sync_batchnorm(init_model(config, device="cpu"))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, 0, 0.5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def test_scores_and_labels_equal_those_of_the_shipped_config(shipped, tmp_path: Path) -> None:
    from mmseg.apis import inference_model

    voc = load_vocabulary("voc")
    architecture = Architecture(50, True, (1, 12, 24, 36), num_labels=21, base_channels=16)
    path = tmp_path / "segmentor.pth"
    save_segmentor(
        SegmentorFile(shipped.state_dict(), architecture, voc.label_names, voc.palette, "", protocol=PAPER), path
    )
    segmentor = load_segmentor(path, "cpu")
    image = random_image(375, 500)
    Image.fromarray(image).save(tmp_path / "image.png")
    seen = []
    handle = shipped.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    ours = segmentor._model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    expected = inference_model(shipped, str(tmp_path / "image.png"))
    handle.remove()
    probabilities = segmentor.predict_probabilities(image)
    ours.remove()
    assert seen == [(1, 3, 512, 683)] * 2
    torch.testing.assert_close(probabilities, expected.seg_logits.data.softmax(dim=0), rtol=0, atol=1e-4)
    labels = probabilities.argmax(dim=0)
    assert labels.shape == (375, 500)
    assert len(labels.unique()) > 3
    assert torch.equal(labels, expected.pred_sem_seg.data[0])


def test_the_default_width_equals_that_of_the_shipped_config() -> None:
    from mmengine.config import Config

    with torch.device("meta"):
        shipped, own = (
            build_segmentor(model).state_dict()
            for model in (
                Config.fromfile(SHIPPED).model,
                segmentor_config(Architecture(50, True, (1, 12, 24, 36), num_labels=21)),
            )
        )
    assert {name: weight.shape for name, weight in own.items()} == {
        name: weight.shape for name, weight in shipped.items()
    }


def test_validation_scales_images_but_not_labels(tmp_path: Path) -> None:
    root = write_tiny_voc(tmp_path / "voc", num_images=1)
    Image.fromarray(random_image(30, 40)).save(root / "JPEGImages/image_0.jpg")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(root / "SegmentationClass/image_0.png")
    data = open_images_with_masks("root", root, "train", tmp_path)
    loader = validation_loader(data, protocol=TestProtocol((256, 64)), num_workers=0)
    (batch,) = loader
    assert batch["inputs"][0].shape == (3, 64, 85)
    assert batch["data_samples"][0].gt_sem_seg.data.shape == (1, 30, 40)
    assert batch["data_samples"][0].ori_shape == (30, 40)


@pytest.mark.parametrize("size", [(100, 150), (50, 200), (40, 40)])
def test_windows_equal_those_of_mmsegmentation(size: tuple[int, int]) -> None:
    model = random_model()
    protocol = TestProtocol(None, "slide", window=64)
    image = random_image(*size)
    windows = []
    handle = model.backbone.register_forward_pre_hook(lambda _, inputs: windows.append(tuple(inputs[0].shape[2:])))
    probabilities = Segmentor(model, LABEL_NAMES, PALETTE, protocol, torch.device("cpu")).predict_probabilities(image)
    handle.remove()
    assert all(side <= 64 for window in windows for side in window)
    rows, columns = (1 + max(0, -(-(side - 64) // protocol.stride)) for side in size)
    assert len(windows) == rows * columns
    assert probabilities.shape == (3, *size)
    assert segmentor_config(TINY, protocol=protocol)["test_cfg"]["stride"] == (43, 43)


def test_training_validates_and_exports_with_the_protocol(dataset_dir: Path, work_dir: Path) -> None:
    settings = tiny_settings(
        dataset_dir, work_dir, iterations=2, val=str(dataset_dir), val_split="train", test_scale="256x96"
    )
    exported = train(settings)
    segmentor = load_segmentor(exported, "cpu")
    assert segmentor.protocol() == {"test_scale": [256, 96], "test_mode": "whole"}
    images, masks = [], []
    for number in range(6):
        images.append(np.array(Image.open(dataset_dir / f"JPEGImages/image_{number}.jpg")))
        masks.append(np.array(Image.open(dataset_dir / f"SegmentationClass/image_{number}.png")))
    said = json.loads((work_dir / "best.json").read_text())["mIoU"]
    assert abs(miou(segmentor.predict(images), masks) - said) < 0.5
    own = load_segmentor(exported, "cpu", test_scale="own")
    assert own.protocol() == {"test_scale": "own", "test_mode": "whole"}
    assert not np.array_equal(np.stack(own.predict(images)), np.stack(segmentor.predict(images)))
    slide = load_segmentor(exported, "cpu", test_mode="slide").protocol()
    assert slide == {"test_scale": [256, 96], "test_mode": "slide", "window": 64, "stride": 43}


def miou(predicted: list[np.ndarray], labels: list[np.ndarray]) -> float:
    confusion = np.zeros((3, 3))
    for true, guess in zip(labels, predicted, strict=True):
        np.add.at(confusion, (true[true != 255], guess[true != 255]), 1)
    hits = confusion.diagonal()
    return float(100 * np.nanmean(hits / (confusion.sum(axis=0) + confusion.sum(axis=1) - hits)))


def test_a_file_without_a_protocol_uses_images_at_their_own_size(tmp_path: Path) -> None:
    path = tmp_path / "segmentor.pth"
    save_segmentor(SegmentorFile(random_model().state_dict(), TINY, LABEL_NAMES, PALETTE, ""), path)
    content = load_strictly(path)
    del content["protocol"]
    torch.save(content, path)
    assert load_segmentor(path, "cpu").protocol() == {"test_scale": "own", "test_mode": "whole"}

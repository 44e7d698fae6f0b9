from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.segmentation.model import segmentor_config
from dataset_diffusion.segmentation.segmentor import TTA_SCALES, Segmentor, load_segmentor
from tests.segmentation.tiny_voc import LABEL_NAMES, PALETTE, TINY, random_model, write_random_segmentor

import_mmseg()
from mmseg.structures import SegDataSample  # noqa: E402


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs rather than noise, so that labels form regions."""
    coarse = np.random.default_rng(seed).integers(0, 256, (1, 3, 6, 6)).astype(np.float32)
    smooth = F.interpolate(torch.from_numpy(coarse), (height, width), mode="bicubic").clamp(0, 255)
    return smooth[0].permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model()


@pytest.fixture(scope="module")
def segmentor(model) -> Segmentor:
    return Segmentor(model, LABEL_NAMES, PALETTE, 8, torch.device("cpu"))


@pytest.mark.parametrize("size", [(64, 64), (61, 83), (7, 120)])
def test_predictions_equal_those_of_mmsegmentation(model, segmentor, size) -> None:
    image = random_image(*size)
    # mmsegmentation's own way: BGR, normalised and padded by its preprocessor, cropped and resized by its model.
    meta = {"ori_shape": size, "img_shape": size}
    batch = {
        "inputs": [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)],
        "data_samples": [SegDataSample(metainfo=meta)],
    }
    with torch.no_grad():
        (expected,) = model.test_step(batch)
    probabilities = segmentor.predict_probabilities(image)
    torch.testing.assert_close(probabilities, expected.seg_logits.data.softmax(dim=0), rtol=1e-5, atol=1e-6)
    (labels,) = segmentor.predict([image])
    assert labels.shape == size
    assert labels.dtype == np.uint8
    assert len(np.unique(labels)) > 1 or min(size) < 8
    np.testing.assert_array_equal(labels, expected.pred_sem_seg.data[0].numpy())


@pytest.mark.parametrize("tta", [False, True])
def test_a_prediction_depends_on_its_image_alone(segmentor, tta) -> None:
    images = [random_image(*size, seed=seed) for seed, size in enumerate([(40, 40), (33, 57), (40, 40), (90, 20)])]
    together = segmentor.predict(images, tta=tta)
    shuffled = segmentor.predict([images[i] for i in (3, 1, 0)], tta=tta)
    for i, labels in zip((3, 1, 0), shuffled, strict=True):
        np.testing.assert_array_equal(labels, together[i])
        np.testing.assert_array_equal(segmentor.predict([images[i]], tta=tta)[0], together[i])


def test_tta_averages_probabilities_over_scales_and_mirror_images(model, segmentor) -> None:
    image = random_image(32, 48)
    normalised = (torch.from_numpy(image).permute(2, 0, 1)[None].float() - segmentor._mean) / segmentor._std
    views = []
    for scale in TTA_SCALES:  # these sizes are whole positions of the feature map at every scale, but for padding
        for mirrored in (False, True):
            view = F.interpolate(normalised, size=(round(32 * scale), round(48 * scale)), mode="bilinear")
            view = view.flip(-1) if mirrored else view
            height, width = view.shape[-2:]
            padded = F.pad(view, (0, -width % 8, 0, -height % 8))
            with torch.no_grad():
                logits = F.interpolate(model(padded, mode="tensor"), size=padded.shape[-2:], mode="bilinear")
            logits = logits[..., :height, :width]
            logits = logits.flip(-1) if mirrored else logits
            views.append(F.interpolate(logits, size=(32, 48), mode="bilinear").softmax(dim=1)[0])
    assert len(views) == 12
    probabilities = segmentor.predict_probabilities(image, tta=True)
    torch.testing.assert_close(probabilities, torch.stack(views).mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(32, 48))
    assert not torch.allclose(probabilities, segmentor.predict_probabilities(image), atol=1e-3)


def test_tta_of_a_mirror_image_is_the_mirror_image(segmentor) -> None:
    # 64 columns are whole positions of the feature map at every scale: nothing is padded on one side.
    image = random_image(64, 64)
    mirrored = segmentor.predict_probabilities(np.ascontiguousarray(image[:, ::-1]), tta=True)
    torch.testing.assert_close(
        mirrored.flip(-1), segmentor.predict_probabilities(image, tta=True), rtol=1e-4, atol=1e-5
    )


def test_the_smallest_image_has_a_label(segmentor) -> None:
    assert segmentor.predict([np.zeros((1, 1, 3), np.uint8)], tta=True)[0].shape == (1, 1)


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))])
def test_arrays_that_are_no_rgb_bytes_are_refused(segmentor, image) -> None:
    with pytest.raises(ValueError, match="uint8"):
        segmentor.predict([image])


@pytest.mark.filterwarnings("error")
def test_an_image_may_be_read_only(segmentor) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image.flags.writeable = False
    assert segmentor.predict([image])[0].shape == (32, 32)


def test_an_exported_segmentor_predicts_what_its_model_did(tmp_path: Path) -> None:
    model = write_random_segmentor(tmp_path / "segmentor.pth", seed=3)
    loaded = load_segmentor(tmp_path / "segmentor.pth", "cpu")
    assert loaded.label_names == LABEL_NAMES
    assert loaded.palette == PALETTE
    image = random_image(50, 40)
    original = Segmentor(model, LABEL_NAMES, PALETTE, 8, torch.device("cpu"))
    assert torch.equal(loaded.predict_probabilities(image), original.predict_probabilities(image))


def test_the_image_is_padded_as_in_training() -> None:
    assert segmentor_config(TINY)["data_preprocessor"]["test_cfg"] == {"size_divisor": 8}

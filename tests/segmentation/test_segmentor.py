from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.segmentation.segmentor import TTA_SCALES, Segmentor, load_segmentor
from dataset_diffusion.settings.protocol import TestProtocol
from tests.segmentation.tiny_voc import LABEL_NAMES, PALETTE, random_model, write_random_segmentor

import_mmseg()
from mmseg.registry import TRANSFORMS  # noqa: E402
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
    return Segmentor(model, LABEL_NAMES, PALETTE, TestProtocol(), torch.device("cpu"))


@pytest.mark.parametrize("size", [(64, 64), (61, 83), (7, 120)])
def test_predictions_equal_those_of_mmsegmentation(model, segmentor, size) -> None:
    image = random_image(*size)
    # As mmsegmentation does it: BGR, normalised by its preprocessor, resized by its model.
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
def test_a_prediction_depends_only_on_its_image(segmentor, tta) -> None:
    images = [random_image(*size, seed=seed) for seed, size in enumerate([(40, 40), (33, 57), (40, 40), (90, 20)])]
    together = segmentor.predict(images, tta=tta)
    shuffled = segmentor.predict([images[i] for i in (3, 1, 0)], tta=tta)
    for i, labels in zip((3, 1, 0), shuffled, strict=True):
        np.testing.assert_array_equal(labels, together[i])
        np.testing.assert_array_equal(segmentor.predict([images[i]], tta=tta)[0], together[i])


def test_tta_equals_that_of_mmsegmentation(model, segmentor, tmp_path) -> None:
    from mmengine.dataset import Compose, pseudo_collate
    from mmseg.registry import MODELS

    image = random_image(31, 48)
    Image.fromarray(image).save(tmp_path / "image.png")
    flips = [{"type": "RandomFlip", "prob": prob, "direction": "horizontal"} for prob in (0.0, 1.0)]
    resizes = [{"type": "Resize", "scale_factor": scale, "keep_ratio": True} for scale in TTA_SCALES]
    views = {"type": "TestTimeAug", "transforms": [resizes, flips, [{"type": "mmseg.PackSegInputs"}]]}
    pipeline = Compose([TRANSFORMS.build(step) for step in ({"type": "LoadImageFromFile"}, views)])
    data = pseudo_collate([pipeline({"img_path": str(tmp_path / "image.png")})])
    tta_model = MODELS.build({"type": "SegTTAModel", "module": model})
    with torch.no_grad():
        (expected,) = tta_model.test_step(data)
    (labels,) = segmentor.predict([image], tta=True)
    np.testing.assert_array_equal(labels, expected.pred_sem_seg.data[0].numpy())
    probabilities = segmentor.predict_probabilities(image, tta=True)
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(31, 48))
    assert not torch.allclose(probabilities, segmentor.predict_probabilities(image), atol=1e-3)


def test_batches_of_one_size_predict_like_single_images(model, segmentor) -> None:
    sizes = [(40, 40), (33, 57), (40, 40), (33, 57), (40, 40)]
    images = [random_image(*size, seed=seed) for seed, size in enumerate(sizes)]
    batched = Segmentor(model, LABEL_NAMES, PALETTE, TestProtocol(), torch.device("cpu"))
    batched.batch_size = 2
    for alone, together in zip(segmentor.predict(images), batched.predict(images), strict=True):
        assert (alone == together).mean() > 0.999


def test_unsure_pixels_are_ignored(segmentor) -> None:
    image = random_image(40, 40)
    confidence, labels = segmentor.predict_probabilities(image).max(dim=0)
    threshold = confidence.quantile(0.2).item()
    (confident,) = segmentor.predict_confident([image], threshold)
    np.testing.assert_array_equal(confident, torch.where(confidence >= threshold, labels, 255).numpy())
    assert 0.1 < (confident == 255).mean() < 0.3


def test_the_smallest_image_has_a_label(segmentor) -> None:
    assert segmentor.predict([np.zeros((1, 1, 3), np.uint8)], tta=True)[0].shape == (1, 1)


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))])
def test_arrays_that_are_not_uint8_rgb_are_refused(segmentor, image) -> None:
    with pytest.raises(ValueError, match="uint8"):
        segmentor.predict([image])


@pytest.mark.filterwarnings("error")
def test_an_image_can_be_read_only(segmentor) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image.flags.writeable = False
    assert segmentor.predict([image])[0].shape == (32, 32)


def test_an_image_can_be_a_pillow_image(segmentor) -> None:
    image = random_image(32, 40)
    (from_pillow,), (expected,) = segmentor.predict([Image.fromarray(image)]), segmentor.predict([image])
    assert np.array_equal(from_pillow, expected)


def test_an_exported_segmentor_predicts_like_its_model(tmp_path: Path) -> None:
    model = write_random_segmentor(tmp_path / "segmentor.pth", seed=3)
    loaded = load_segmentor(tmp_path / "segmentor.pth", "cpu")
    assert loaded.label_names == LABEL_NAMES
    assert loaded.palette == PALETTE
    image = random_image(50, 40)
    original = Segmentor(model, LABEL_NAMES, PALETTE, TestProtocol(), torch.device("cpu"))
    assert torch.equal(loaded.predict_probabilities(image), original.predict_probabilities(image))

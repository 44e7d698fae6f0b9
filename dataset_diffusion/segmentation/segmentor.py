"""Label masks from images, with a segmentor that `dd-train` exported."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset_diffusion.errors import InputError
from dataset_diffusion.hardware import find_device
from dataset_diffusion.segmentation.architectures import model_config
from dataset_diffusion.segmentation.checkpoints import read_segmentor
from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.segmentation.model import build_segmentor, test_config
from dataset_diffusion.settings.protocol import TRAINED, TestProtocol, parse_scale
from dataset_diffusion.types import IGNORE_INDEX

import_mmseg()
from mmcv.transforms import Resize  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Test-time augmentation: scales of the image's own size, each also mirrored (the paper's released settings)."""
TOO_SMALL = "Kernel size can't be greater than actual input size"
"""torch's message when an input with its padding is too small for a convolution's kernel (SegFormer's first: 8 x 8)."""
GPU_BATCH_SIZE = 8
"""Images of the same size that go through the network at once on a GPU."""

AnyImage = np.ndarray | Image.Image


class Segmentor:
    """A trained model with the names and colours of its labels.

    Images are resized as bytes, before they are normalised, and scores are resized to the image's size before a label
    is chosen, so the predictions are those of mmsegmentation's test pipeline with the same protocol.

    On a CPU, images go through the network one by one, so an image's prediction depends only on that image, to the last
    bit. On a GPU, up to `batch_size` images of the same size go together, which can change a score's last digits.
    """

    def __init__(
        self,
        model: Any,
        label_names: tuple[str, ...],
        palette: tuple[tuple[int, int, int], ...],
        protocol: TestProtocol,
        device: torch.device,
    ) -> None:
        self.label_names = label_names
        self.palette = palette
        self.device = device
        self.batch_size = 1 if device.type == "cpu" else GPU_BATCH_SIZE
        self._protocol = protocol
        self._model = model.to(device).eval()
        if device.type == "cuda":
            self._model.to(memory_format=torch.channels_last)
        self._model.test_cfg = ConfigDict(test_config(protocol))

    def protocol(self, tta: bool = False) -> dict[str, Any]:
        """How images are presented to the network, as plain values for a record."""
        described = self._protocol.describe()
        if tta:
            described |= {"test_scale": "own", "tta_scales": list(TTA_SCALES), "tta_flip": True}
        return described

    def predict(self, images: Sequence[AnyImage], tta: bool = False) -> list[np.ndarray]:
        """The most likely label of each pixel.

        Args:
            images: [H, W, 3] uint8 RGB, of any sizes, or Pillow images in RGB.
            tta: average over scales and mirror images (`TTA_SCALES`) instead of using the protocol's one scale.

        Returns:
            [H, W] uint8 for each image.
        """
        return self._labels(images, tta, threshold=0)

    def predict_confident(self, images: Sequence[AnyImage], threshold: float, tta: bool = False) -> list[np.ndarray]:
        """Like `predict`, but 255 where the most likely label's probability is below the threshold."""
        return self._labels(images, tta, threshold)

    def predict_probabilities(self, image: AnyImage, tta: bool = False) -> Tensor:
        """The probability of each label in one image (as above): [C, H, W] float32 on the CPU, summing to 1 over C."""
        ((_, probabilities),) = self._probabilities([image], tta)
        return probabilities[0].cpu()

    def _labels(self, images: Sequence[AnyImage], tta: bool, threshold: float) -> list[np.ndarray]:
        predicted: dict[int, np.ndarray] = {}
        for indices, probabilities in self._probabilities(images, tta):
            confidence, labels = probabilities.max(dim=1)
            labels[confidence < threshold] = IGNORE_INDEX
            predicted |= zip(indices, labels.to(torch.uint8).cpu().numpy(), strict=True)
        return [predicted[index] for index in range(len(images))]

    @torch.inference_mode()
    def _probabilities(self, images: Sequence[AnyImage], tta: bool) -> Iterator[tuple[list[int], Tensor]]:
        """Batches of images of the same size: their indices and their probabilities [B, C, H, W]."""
        of_size = defaultdict(list)
        arrays = [np.asarray(image) for image in images]
        for index, image in enumerate(arrays):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(f"an image is [H, W, 3] uint8, got {image.shape} {image.dtype}")
            of_size[image.shape].append(index)
        for indices in of_size.values():
            for start in range(0, len(indices), self.batch_size):
                batch = indices[start : start + self.batch_size]
                yield batch, self._probabilities_of_batch([arrays[index] for index in batch], tta)

    def _probabilities_of_batch(self, images: list[np.ndarray], tta: bool) -> Tensor:
        if not tta:
            return self._softmax(images, self._resized(images, self._protocol.scale))
        total: Any = 0
        for scale in TTA_SCALES:
            resized = [Resize(scale_factor=scale, keep_ratio=True)({"img": image})["img"] for image in images]
            for mirrored in (False, True):
                total = total + self._softmax(images, resized, mirrored)
        return total / (2 * len(TTA_SCALES))

    @staticmethod
    def _resized(images: list[np.ndarray], scale: tuple[int, int] | None) -> list[np.ndarray]:
        if scale is None:
            return images
        return [Resize(scale=scale, keep_ratio=True)({"img": image})["img"] for image in images]

    def _softmax(self, images: list[np.ndarray], resized: list[np.ndarray], mirrored: bool = False) -> Tensor:
        """Probabilities [B, C, H, W] at the size of `images`, from the network's output on their `resized` versions."""
        inputs, samples = [], []
        for image, pixels in zip(images, resized, strict=True):
            # mmsegmentation's channel order, which the model's preprocessor reverses.
            pixels = pixels[:, ::-1, ::-1] if mirrored else pixels[..., ::-1]
            # A copy, because the array can be read-only. It goes to the device as bytes.
            inputs.append(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
            meta: dict[str, Any] = {"ori_shape": image.shape[:2], "img_shape": pixels.shape[:2]}
            if mirrored:
                meta |= {"flip": True, "flip_direction": "horizontal"}
            samples.append(SegDataSample(metainfo=meta))
        try:
            predicted = self._model.test_step({"inputs": inputs, "data_samples": samples})
        except RuntimeError as error:
            if TOO_SMALL not in str(error):
                raise
            (height, width), (seen_height, seen_width) = images[0].shape[:2], resized[0].shape[:2]
            raise InputError(
                f"an image of {width} x {height} pixels is too small for this segmentor, which sees it at "
                f"{seen_width} x {seen_height}; set test_scale to a larger size, without tta, or leave such images out"
            ) from error
        return torch.stack([sample.seg_logits.data for sample in predicted]).float().softmax(dim=1)


def load_segmentor(
    path: str | Path, device: str = "auto", test_scale: str = TRAINED, test_mode: str = TRAINED
) -> Segmentor:
    """Load a `segmentor.pth`. Raises InputError if it is missing, is not one, or holds more than weights.

    `test_scale` and `test_mode` replace the values that it was trained with, unless they are "trained".
    """
    path = Path(path)
    file = read_segmentor(path)
    model = build_segmentor(model_config(file.architecture))
    try:
        model.load_state_dict(file.state_dict)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit its own architecture; export it again") from error
    protocol = file.protocol
    if test_scale != TRAINED:
        protocol = replace(protocol, scale=parse_scale(test_scale))
    if test_mode != TRAINED:
        protocol = replace(protocol, mode=test_mode)
    return Segmentor(model, file.label_names, file.palette, protocol, find_device(device))

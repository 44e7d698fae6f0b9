"""Label masks from images, with a segmentor that `dd-train` exported."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset_diffusion.errors import InputError
from dataset_diffusion.hardware import find_device
from dataset_diffusion.segmentation.checkpoints import read_segmentor
from dataset_diffusion.segmentation.model import (
    PIXEL_MEAN,
    PIXEL_STD,
    build_segmentor,
    segmentor_config,
)

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Test-time augmentation, each scale with its mirror image (the paper's released settings)."""


class Segmentor:
    """A trained model with the names and colours of its labels.

    Images go through the network one by one, so what is predicted for an image depends on that image alone, to the
    last bit: not on its neighbours in a list, their number or their sizes.
    """

    def __init__(
        self,
        model: nn.Module,
        label_names: tuple[str, ...],
        palette: tuple[tuple[int, int, int], ...],
        output_stride: int,
        device: torch.device,
    ) -> None:
        self.label_names = label_names
        self.palette = palette
        self.device = device
        self._output_stride = output_stride
        self._model = model.to(device).eval()
        self._mean = torch.tensor(PIXEL_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(PIXEL_STD, device=device).view(1, 3, 1, 1)

    def predict(self, images: Sequence[np.ndarray], tta: bool = False) -> list[np.ndarray]:
        """The likeliest label of each pixel.

        Args:
            images: [H, W, 3] uint8 RGB, of any sizes.
            tta: average over scales and mirror images (`TTA_SCALES`).

        Returns:
            [H, W] uint8 for each image.
        """
        return [self._probabilities(image, tta).argmax(dim=0).to(torch.uint8).cpu().numpy() for image in images]

    def predict_probabilities(self, image: np.ndarray, tta: bool = False) -> Tensor:
        """The probability of each label [C, H, W], float32 on the CPU, summing to 1 over C, of one image as above."""
        return self._probabilities(image, tta).cpu()

    @torch.inference_mode()
    def _probabilities(self, image: np.ndarray, tta: bool) -> Tensor:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image is [H, W, 3] uint8, got {image.shape} {image.dtype}")
        pixels = torch.tensor(np.ascontiguousarray(image), device=self.device)  # a copy: the array may be read-only
        normalised = (pixels.permute(2, 0, 1)[None].float() - self._mean) / self._std
        if not tta:
            return self._logits(normalised)[0].softmax(dim=0)
        return torch.stack([self._mirrored_mean(normalised, scale) for scale in TTA_SCALES]).mean(dim=0)

    def _mirrored_mean(self, normalised: Tensor, scale: float) -> Tensor:
        """Probabilities [C, H, W]: the mean of those from the image at a scale and from its mirror image."""
        size = normalised.shape[-2:]
        scaled_size = [max(1, round(side * scale)) for side in size]
        scaled = _resize(normalised, scaled_size)
        logits = self._logits(torch.cat([scaled, scaled.flip(-1)]))
        views = torch.stack([logits[0], logits[1].flip(-1)])
        return _resize(views, size).softmax(dim=1).mean(dim=0)

    def _logits(self, normalised: Tensor) -> Tensor:
        """Images [B, 3, H, W] to scores [B, C, H, W].

        They are padded to whole positions of the feature map (with 0, the mean colour, as in training), so that the
        map upsampled lies exactly over the image.
        """
        height, width = normalised.shape[-2:]
        padded = F.pad(normalised, (0, -width % self._output_stride, 0, -height % self._output_stride))
        logits = self._model(padded, mode="tensor")
        return _resize(logits, padded.shape[-2:])[..., :height, :width]


def _resize(values: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(values, size=tuple(size), mode="bilinear", align_corners=False)


def load_segmentor(path: str | Path, device: str = "auto") -> Segmentor:
    """Load a `segmentor.pth`. Raises InputError where it is missing, is none, or holds more than weights."""
    path = Path(path)
    file = read_segmentor(path)
    model = build_segmentor(segmentor_config(file.architecture))
    try:
        model.load_state_dict(file.state_dict)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit its own architecture; export it again") from error
    return Segmentor(model, file.label_names, file.palette, file.architecture.output_stride, find_device(device))

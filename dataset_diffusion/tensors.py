"""Tensor functions that attention and masks share."""

import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize [K, h, w] bicubically to [K, *size]; K may be 0. Values may overshoot their range a little."""
    if len(maps) == 0:  # interpolate() refuses it
        return maps.new_zeros((0, *size))
    return F.interpolate(maps.unsqueeze(0), size=size, mode="bicubic", align_corners=False).squeeze(0)

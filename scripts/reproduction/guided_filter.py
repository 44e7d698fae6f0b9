"""Make score maps follow the edges of an image: He, Sun and Tang, "Guided Image Filtering", TPAMI 2013."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataset_diffusion.types import ClassScores

EPSILON = 1e-4
"""Variance of colours in [0, 1] below which an edge does not count."""
POSITIONS = 1.5
"""The radius of the windows, in positions of the attention map: the map has no detail between two positions."""


def refine_scores(image: np.ndarray, scores: ClassScores, resolution: int) -> ClassScores:
    """Make class scores [K, H, W] follow the edges of their image [H, W, 3] uint8; they stay in [0, 1].

    `resolution` is the shorter side of the attention map that they come from: it sets the size of the windows.
    """
    radius = max(1, round(POSITIONS * min(image.shape[:2]) / resolution))
    refined = guided_filter(torch.tensor(image), scores.scores.cpu(), radius).clamp(0, 1)
    return ClassScores(refined, scores.class_ids)


def guided_filter(image: Tensor, maps: Tensor, radius: int, epsilon: float = EPSILON) -> Tensor:
    """In each window, fit the maps linearly to the image's colours; a pixel gets the mean of its windows' fits.

    `image` [H, W, 3] uint8, `maps` [K, H, W] float32; returns [K, H, W] float32, which can overshoot their range.
    Windows have 2 * radius + 1 pixels per side, fewer at the border. This is the filter for colour images from the
    paper's section 3.5, computed in float64 because variances are differences.
    """
    if len(maps) == 0:
        return maps
    guide = image.permute(2, 0, 1).double() / 255
    values = maps.double()

    def mean(planes: Tensor) -> Tensor:
        for size, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
            planes = F.avg_pool2d(planes, size, stride=1, padding=padding, count_include_pad=False)
        return planes

    mean_guide, mean_values = mean(guide), mean(values)
    height, width = guide.shape[1:]
    products = (guide[:, None] * guide[None]).reshape(9, height, width)
    variance = mean(products) - (mean_guide[:, None] * mean_guide[None]).reshape(9, height, width)
    matrices = variance.reshape(3, 3, height, width).permute(2, 3, 0, 1) + epsilon * torch.eye(3, dtype=torch.float64)
    num_maps = len(values)
    mixed = mean((values[:, None] * guide[None]).reshape(3 * num_maps, height, width)).reshape(-1, 3, height, width)
    covariance = mixed - mean_values[:, None] * mean_guide[None]
    slopes = torch.linalg.solve(matrices, covariance.permute(2, 3, 1, 0)).permute(3, 2, 0, 1)
    offsets = mean_values - (slopes * mean_guide[None]).sum(dim=1)
    mean_slopes = mean(slopes.reshape(3 * num_maps, height, width)).reshape(num_maps, 3, height, width)
    return ((mean_slopes * guide[None]).sum(dim=1) + mean(offsets)).float()

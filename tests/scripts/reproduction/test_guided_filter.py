"""The guided filter, checked against window-by-window fits and known results."""

import numpy as np
import torch

from dataset_diffusion.types import ClassScores
from scripts.reproduction.guided_filter import guided_filter, refine_scores


def window(array: np.ndarray, row: int, column: int, radius: int) -> np.ndarray:
    """The pixels [n, C] of the window around a pixel of [H, W, C], cropped at the border."""
    rows = slice(max(0, row - radius), row + radius + 1)
    columns = slice(max(0, column - radius), column + radius + 1)
    return array[rows, columns].reshape(-1, array.shape[2])


def fits_one_by_one(image: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """One ridge regression per window; as in the paper, the slope penalty is multiplied by the window's size."""
    height, width = values.shape
    guide = image / 255
    slopes, offsets = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    for row, column in np.ndindex(height, width):
        colours, targets = (window(array, row, column, radius) for array in (guide, values[..., None]))
        centred = colours - colours.mean(axis=0)
        matrix = centred.T @ centred / len(colours) + epsilon * np.eye(3)
        slopes[row, column] = np.linalg.solve(matrix, centred.T @ targets[:, 0] / len(colours))
        offsets[row, column] = targets.mean() - slopes[row, column] @ colours.mean(axis=0)
    filtered = np.zeros((height, width))
    for row, column in np.ndindex(height, width):
        slope, offset = (window(array, row, column, radius).mean(axis=0) for array in (slopes, offsets))
        filtered[row, column] = slope @ guide[row, column] + offset[0]
    return filtered


def test_the_filter_equals_window_by_window_fits() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    maps = generator.random((2, 9, 12), dtype=np.float32)
    filtered = guided_filter(torch.tensor(image), torch.tensor(maps), radius=2, epsilon=0.01)
    expected = np.stack([fits_one_by_one(image, values, 2, 0.01) for values in maps])
    np.testing.assert_allclose(filtered.numpy(), expected, atol=1e-6)


def test_a_map_that_is_linear_in_the_colours_is_unchanged() -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    values = torch.tensor(image / 255 @ np.array([0.5, 0.2, 0.3]), dtype=torch.float32)[None]
    torch.testing.assert_close(guided_filter(torch.tensor(image), values, 3, epsilon=1e-9), values, atol=1e-4, rtol=0)


def test_on_a_single_colour_image_the_filter_is_a_mean_of_means() -> None:
    image = torch.full((15, 15, 3), 90, dtype=torch.uint8)
    point = torch.zeros(1, 15, 15)
    point[0, 7, 7] = 1.0
    filtered = guided_filter(image, point, radius=1)
    weights = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0]) / 9
    torch.testing.assert_close(filtered[0, 5:10, 5:10], torch.outer(weights, weights), atol=1e-6, rtol=0)


def test_scores_move_to_an_edge_in_the_image_and_stay_in_range() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 30:] = 200
    ramp = ((torch.arange(64) - 20) / 24).clamp(0, 1)  # crosses half its height at column 32; the edge is at 30
    refined = refine_scores(image, ClassScores(ramp.expand(1, 64, 64), (7,)), resolution=8)
    assert refined.class_ids == (7,)
    values = refined.scores
    assert values.min() >= 0
    assert values.max() <= 1
    assert (values[0, 32, :30] < 0.5).all()
    assert (values[0, 32, 30:] >= 0.5).all()
    nothing = ClassScores(torch.zeros(0, 64, 64), ())
    assert refine_scores(image, nothing, resolution=8).scores.shape == (0, 64, 64)

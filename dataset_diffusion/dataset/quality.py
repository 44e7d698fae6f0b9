"""Scores that say how far a sample can be trusted, and which samples look alike.

The scores do not know what is in the image: they rank samples, and `dd-filter` leaves out the worst.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dataset_diffusion.types import BACKGROUND, IGNORE_INDEX, ClassScores, LabelMask

DIGITS = 4
EDGE_SIDE = 128
"""The longer side at which images and scores are compared."""
STEEP = 1e-5
"""Below this, differences of scores and grey levels are float32's rounding."""
BLOCK = 8
FLAT_DEVIATION = 3.0
"""A block whose grey levels (0 ... 255) deviate less than this is flat."""
HASH_SIDE = 32
HASH_BITS = 64
SAME_BITS = 3
"""Images whose hashes differ in at most this many of their 64 bits are near-duplicates."""


@dataclass(frozen=True)
class Quality:
    """The scores of a sample.

    `confidence` in [0, 1] is the mean score of the pixels that have a class (0 if none has). `margin` in [0, 1] is the
    mean, over the same pixels, of the best class's score minus the second best's; a single class's score counts whole.
    `components` is the number of connected pieces of all classes: many pieces are a sign of speckle. `edges` in [-1, 1]
    is the correlation between the steepness of the scores and that of the image: do masks end where objects do?
    `flatness` in [0, 1] is the share of the image without any structure. `phash` is a perceptual hash, 16 hexadecimal
    digits.
    """

    confidence: float
    margin: float
    components: int
    edges: float
    flatness: float
    phash: str


def measure_quality(image: np.ndarray, mask: LabelMask, scores: ClassScores) -> Quality:
    """The scores of an image [H, W, 3] uint8 RGB, its mask, and the class scores that the mask was made from."""
    values = scores.scores.cpu().numpy().clip(max=1)
    labelled = (mask.labels != BACKGROUND) & (mask.labels != IGNORE_INDEX)
    best, second = _two_best(values, mask.labels.shape)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return Quality(
        confidence=_mean(best[labelled]),
        margin=_mean((best - second)[labelled]),
        components=count_components(mask.labels),
        edges=round(edge_correlation(best, grey), DIGITS),
        flatness=round(flatness(grey), DIGITS),
        phash=perceptual_hash(grey),
    )


def count_components(labels: np.ndarray) -> int:
    """The number of 8-connected pieces of all classes in a mask [H, W] uint8, without background and ignored pixels."""
    present = [label for label in np.unique(labels) if label not in (BACKGROUND, IGNORE_INDEX)]
    return sum(cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)[0] - 1 for label in present)


def edge_correlation(scores: np.ndarray, grey: np.ndarray) -> float:
    """The correlation in [-1, 1] of the steepness of scores [H, W] float and an image [H, W]; 0 if either is flat."""
    first, second = (_steepness(_shrink(picture.astype(np.float32), EDGE_SIDE)) for picture in (scores, grey))
    if min(first.std(), second.std()) < STEEP:
        return 0.0
    return float(((first - first.mean()) * (second - second.mean())).mean() / (first.std() * second.std()))


def flatness(grey: np.ndarray) -> float:
    """The share of the whole 8 x 8 blocks of an image [H, W] uint8 whose grey levels hardly vary."""
    height, width = (side // BLOCK * BLOCK for side in grey.shape)
    blocks = grey[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).astype(np.float32)
    return float((blocks.std(axis=(1, 3)) < FLAT_DEVIATION).mean()) if blocks.size else 0.0


def perceptual_hash(grey: np.ndarray) -> str:
    """A hash of an image [H, W] uint8 that small changes do not affect: 64 bits as 16 hexadecimal digits.

    Each bit says whether one of the 8 x 8 lowest frequencies of the image, at 32 x 32, is above their median (pHash).
    """
    small = cv2.resize(grey, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    # The first is the brightness, which would outweigh all others.
    bits = low > np.median(low[1:])
    return np.packbits(bits).tobytes().hex()


def find_duplicates(hashes: Sequence[int], same_bits: int = SAME_BITS) -> list[list[int]]:
    """Groups of two or more positions in `hashes` that are alike, each in order, the groups by their first position.

    `hashes` are 64-bit numbers. Two are alike if they differ in at most `same_bits` bits, or if a chain of such
    pairs links them.
    """
    codes, inverse = np.unique(np.array(hashes, np.uint64), return_inverse=True)
    parents = np.arange(len(codes))
    # Of `same_bits` + 1 parts, hashes that differ in at most `same_bits` bits share one: only such pairs are compared.
    parts = same_bits + 1
    width = HASH_BITS // parts
    for part in range(parts):
        keys = codes >> np.uint64(part * width) & np.uint64(2**width - 1)
        order = np.argsort(keys, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            for position, first in enumerate(group[:-1]):
                others = group[position + 1 :]
                for other in others[np.bitwise_count(codes[first] ^ codes[others]) <= same_bits]:
                    _join(parents, int(first), int(other))
    roots = np.array([_root(parents, index) for index in range(len(codes))], int)[inverse] if len(codes) else inverse
    order = np.argsort(roots, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1)
    return sorted(group.tolist() for group in groups if len(group) > 1)


def _root(parents: np.ndarray, index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index


def _join(parents: np.ndarray, first: int, second: int) -> None:
    parents[_root(parents, second)] = _root(parents, first)


def _two_best(values: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The highest and second highest of scores [K, H, W] at each pixel, 0 where there are fewer."""
    best = second = np.zeros(shape, values.dtype)
    for scores in values:
        second = np.maximum(second, np.minimum(best, scores))
        best = np.maximum(best, scores)
    return best, second


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean(dtype=np.float64)), DIGITS) if values.size else 0.0


def _shrink(picture: np.ndarray, side: int) -> np.ndarray:
    height, width = picture.shape
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _steepness(picture: np.ndarray) -> np.ndarray:
    # Blurred, because attention maps are coarse: their edges may lie slightly off those of the image.
    smooth = cv2.GaussianBlur(picture, (0, 0), EDGE_SIDE / 64)
    horizontal, vertical = (cv2.Sobel(smooth, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    return np.hypot(horizontal, vertical)

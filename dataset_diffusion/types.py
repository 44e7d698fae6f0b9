"""The values that pass from one stage to the next.

Shape letters, here and everywhere: B batch, T tokens, K classes in an image, H and W the image's height and width,
h and w an attention map's height and width, N = h * w.

A *label* is the value of a pixel in a mask: 0 background, 1 ... number of classes, 255 ignored. A *class id* is the
label of a class, so never 0 or 255; the vocabulary's class at position i has the class id i + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # Commands that only read and write files do not wait for torch.
    from torch import Tensor

BACKGROUND = 0
"""Label of pixels that belong to no class."""
IGNORE_INDEX = 255
"""Label of pixels that the loss and the metrics leave out."""


class Prompt(NamedTuple):  # A plan makes millions: a frozen dataclass would take three times as long.
    """What one sample is made from. A sample is a function of this, the settings and the model, and nothing else.

    `class_ids` are labels (1 ... number of classes), distinct, in the order in which their words are appended.
    `seed` feeds the sample's own noise generator; it lies in [0, 2**63). `source` says where the caption came from, so
    that a mask can be traced to it: "template", or "captions_train2017.json: image 139, caption 771337". `mentions` are
    the labels with repeats if words are appended more than once ("person person sofa"), otherwise ().
    """

    sample_id: str
    caption: str
    class_ids: tuple[int, ...]
    seed: int
    source: str = "template"
    mentions: tuple[int, ...] = ()

    @property
    def appended_ids(self) -> tuple[int, ...]:
        """The labels whose words make the class prompt: `mentions`, or else `class_ids`."""
        return self.mentions or self.class_ids


@dataclass(frozen=True)
class AttentionMaps:
    """Attention probabilities averaged over heads, layers and time steps, float32, on the CPU or the model's device.

    `cross` [T, h, w]: how much each image position attends to each token of the class prompt (start, end and padding
    included); over T it sums to 1. `self_attention` [N, N]: row i is what image position i attends to; rows sum to 1.
    The two may have different resolutions.
    """

    cross: Tensor
    self_attention: Tensor


@dataclass(frozen=True)
class Sample:
    """A generated image [H, W, 3] uint8 RGB in [0, 255] with the attention recorded while it was made.

    If the model's image has values that are not finite, `is_finite` is False and the image is useless.
    """

    prompt: Prompt
    image: np.ndarray
    attention: AttentionMaps
    is_finite: bool = True


@dataclass(frozen=True)
class ClassScores:
    """Evidence for each class at each pixel; row k of `scores` [K, H, W], float32, belongs to `class_ids[k]`.

    They lie in [0, 1], except where bicubic resizing overshoots 1.
    """

    scores: Tensor
    class_ids: tuple[int, ...]


@dataclass(frozen=True)
class LabelMask:
    """`labels` [H, W] uint8: 0 background, 1 ... a class, 255 ignored.

    `confidence` [K] is the mean score of each class over its own pixels (0 where it has none), in the order of
    `class_ids`.
    """

    labels: np.ndarray
    class_ids: tuple[int, ...]
    confidence: tuple[float, ...]

"""How a segmentor sees a test image: the protocol that a reported figure depends on."""

import re
from dataclasses import dataclass
from typing import Any

from dataset_diffusion.settings.checks import one_of, require

OWN_SIZE = "own"
"""The `test_scale` that leaves images unscaled."""
TRAINED = "trained"
"""The value that makes `dd-eval` use the setting that the segmentor was trained with."""
TEST_MODES = ("whole", "slide")
SLIDE_OVERLAP = 1 / 3
"""The smallest share of a window that the next one overlaps (mmsegmentation's strides: 513 of 769, 341 of 512)."""


@dataclass(frozen=True)
class TestProtocol:
    """The size of test images, and whether the network sees each of them whole.

    `scale` is (longer side, shorter side) in pixels: an image is resized, keeping its proportions, to the largest size
    that fits, in either orientation; None leaves it unchanged. The scores are resized back before a label is chosen.
    `mode` is "whole", or "slide": overlapping windows of `window` x `window` pixels, whose scores are averaged.
    """

    __test__ = False  # because of its name, pytest would take it for a test class

    scale: tuple[int, int] | None = None
    mode: str = "whole"
    window: int = 512

    def describe(self) -> dict[str, Any]:
        """The protocol as plain values, for a record."""
        windows = {"window": self.window, "stride": self.stride} if self.mode == "slide" else {}
        return {"test_scale": OWN_SIZE if self.scale is None else list(self.scale), "test_mode": self.mode, **windows}

    @property
    def stride(self) -> int:
        """The distance from one window to the next, in pixels."""
        return max(1, round(self.window * (1 - SLIDE_OVERLAP)))


def parse_scale(text: str) -> tuple[int, int] | None:
    """ "2048x512" as (2048, 512), "own" as None. Raises InputError for anything else."""
    if text == OWN_SIZE:
        return None
    sides = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    longer, shorter = (int(sides[1]), int(sides[2])) if sides else (0, 0)
    require(
        longer >= shorter >= 32,
        "test_scale",
        text,
        f"must be {OWN_SIZE}, or the longer and the shorter side to fit images into, e.g. 2048x512 (32 or more)",
    )
    return longer, shorter


def require_protocol(test_scale: str, test_mode: str, *others: str) -> None:
    """Check the two settings; each can also be one of `others`."""
    if test_scale not in others:
        parse_scale(test_scale)
    require(test_mode in (*TEST_MODES, *others), "test_mode", test_mode, one_of((*TEST_MODES, *others)))

"""Splits by caption: a sample's split depends only on its caption.

So no sample moves to another split when a folder grows, and a caption is never on both sides of a split.
"""

import hashlib
from collections.abc import Mapping

from dataset_diffusion.vocabulary import normalise

TRAIN = "train"
"""The split that every folder has: its file is written last and says that the folder is complete."""


def split_of(caption: str, shares: Mapping[str, float]) -> str:
    """The split of a caption: its normalised text is hashed to a number in [0, 1), where each split has an interval.

    `shares` add up to 1. Captions that differ only in case, spaces or their last full stop have the same split.
    """
    text = normalise(caption).rstrip(" .")
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
    end = 0.0
    for name, share in sorted(shares.items()):
        end += share
        if place < end:
            return name
    return max(shares)  # The shares add up to 1 except for rounding.

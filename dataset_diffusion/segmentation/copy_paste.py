"""Copy-paste augmentation (Ghiasi et al., arXiv 2012.07177), for semantic masks."""

from typing import Any

import numpy as np

from dataset_diffusion.types import BACKGROUND


def paste_objects(source: dict[str, Any], target: dict[str, Any]) -> None:
    """Paste all that is not background in `source` over `target`, image and mask.

    Both are what mmsegmentation's transforms made of an image: "img" [H, W, 3] and "gt_seg_map" [H, W], at their upper
    left corners; their sizes may differ. Ignored pixels come along and stay ignored: they are the objects' outlines.
    """
    height, width = np.minimum(source["gt_seg_map"].shape, target["gt_seg_map"].shape)
    labels = source["gt_seg_map"][:height, :width]
    pasted = labels != BACKGROUND
    for name in ("img", "gt_seg_map"):
        target[name] = target[name].copy()  # a cropped array may be a view
        target[name][:height, :width][pasted] = source[name][:height, :width][pasted]

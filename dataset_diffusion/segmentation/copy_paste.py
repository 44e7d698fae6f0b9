"""Copy-paste augmentation (Ghiasi et al., arXiv 2012.07177), for semantic masks."""

from typing import Any

import numpy as np

from dataset_diffusion.types import BACKGROUND


def paste_objects(source: dict[str, Any], target: dict[str, Any]) -> None:
    """Paste everything in `source` that is not background over `target`, image and mask.

    Both are outputs of mmsegmentation's transforms, with "img" [H, W, 3] and "gt_seg_map" [H, W]. They are aligned at
    their upper left corners; their sizes can differ. Ignored pixels are pasted too and stay ignored: they are the
    objects' outlines.
    """
    height, width = np.minimum(source["gt_seg_map"].shape, target["gt_seg_map"].shape)
    labels = source["gt_seg_map"][:height, :width]
    pasted = labels != BACKGROUND
    for name in ("img", "gt_seg_map"):
        target[name] = target[name].copy()  # a cropped array can be a view
        target[name][:height, :width][pasted] = source[name][:height, :width][pasted]

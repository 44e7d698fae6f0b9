"""Self-training (arXiv 2309.14303): a trained segmentor labels the images that it was trained on anew."""

from pathlib import Path

import numpy as np
from mmengine.dist import get_dist_info
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from dataset_diffusion.files import explaining_write_errors, write_atomically
from dataset_diffusion.images import encode_mask
from dataset_diffusion.segmentation.data import VocData
from dataset_diffusion.segmentation.segmentor import Segmentor
from dataset_diffusion.types import IGNORE_INDEX


def confident_labels(probabilities: Tensor, threshold: float) -> np.ndarray:
    """The likeliest label [H, W] uint8 of probabilities [C, H, W], 255 where its probability is below the threshold."""
    confidence, labels = probabilities.max(dim=0)
    labels[confidence < threshold] = IGNORE_INDEX
    return labels.numpy().astype(np.uint8)


def relabel(segmentor: Segmentor, data: VocData, masks_dir: Path, threshold: float) -> None:
    """Write a mask for each image of the data, with test-time augmentation; those that are there stay.

    Each mask appears whole, so a killed run goes on where it was. Several processes share the images.
    """
    rank, world_size = get_dist_info()
    with explaining_write_errors(masks_dir):
        masks_dir.mkdir(parents=True, exist_ok=True)
    own_ids = data.sample_ids[rank::world_size]
    for sample_id in tqdm(own_ids, desc="relabelling", unit="image", dynamic_ncols=True, disable=rank != 0):
        mask_path = masks_dir / f"{sample_id}.png"
        if mask_path.is_file():
            continue
        image = np.array(Image.open(data.image_path(sample_id)).convert("RGB"))
        labels = confident_labels(segmentor.predict_probabilities(image, tta=True), threshold)
        write_atomically(mask_path, encode_mask(labels, segmentor.palette))

"""Self-training (arXiv 2309.14303): a trained segmentor labels the images that it was trained on anew."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmengine.dist import get_dist_info
from tqdm import tqdm

from dataset_diffusion.files import explaining_write_errors, write_atomically
from dataset_diffusion.images import encode_mask, read_image
from dataset_diffusion.segmentation.data import VocData
from dataset_diffusion.segmentation.segmentor import Segmentor

LOADING_THREADS = 4


def relabel(segmentor: Segmentor, data: VocData, masks_dir: Path, threshold: float) -> None:
    """Write a mask for each image of the data, with test-time augmentation; those that are there stay.

    Each mask appears whole, so a killed run resumes where it was. Several processes share the images.
    """
    rank, world_size = get_dist_info()
    with explaining_write_errors(masks_dir):
        masks_dir.mkdir(parents=True, exist_ok=True)
    own_ids = data.sample_ids[rank::world_size]
    missing = [sample_id for sample_id in own_ids if not (masks_dir / f"{sample_id}.png").is_file()]
    progress = tqdm(
        total=len(own_ids),
        initial=len(own_ids) - len(missing),
        desc="relabelling",
        unit="image",
        dynamic_ncols=True,
        disable=rank != 0,
    )
    with progress, ThreadPoolExecutor(LOADING_THREADS) as pool:
        for start in range(0, len(missing), segmentor.batch_size):
            sample_ids = missing[start : start + segmentor.batch_size]
            images = list(pool.map(read_image, map(data.image_path, sample_ids)))
            masks = segmentor.predict_confident(images, threshold, tta=True)
            for sample_id, labels in zip(sample_ids, masks, strict=True):
                write_atomically(masks_dir / f"{sample_id}.png", encode_mask(labels, segmentor.palette))
            progress.update(len(sample_ids))

"""Self-training (arXiv 2309.14303): a trained segmentor relabels the images that it was trained on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmengine.dist import get_dist_info
from tqdm import tqdm

from dataset_diffusion.files import explaining_write_errors, write_atomically
from dataset_diffusion.images import encode_mask, read_image
from dataset_diffusion.labelled.images_with_masks import ImagesWithMasks
from dataset_diffusion.segmentation.segmentor import Segmentor

LOADING_THREADS = 4


def relabel(segmentor: Segmentor, data: ImagesWithMasks, masks_dir: Path, threshold: float) -> None:
    """Predict and write a mask for each image, with test-time augmentation; existing masks are kept.

    Each mask is written atomically, so a killed run resumes where it stopped. Several processes share the images.
    """
    rank, world_size = get_dist_info()
    with explaining_write_errors(masks_dir):
        masks_dir.mkdir(parents=True, exist_ok=True)
    own = list(zip(data.ids, data.images, strict=True))[rank::world_size]
    missing = [(sample_id, image) for sample_id, image in own if not (masks_dir / f"{sample_id}.png").is_file()]
    progress = tqdm(
        total=len(own),
        initial=len(own) - len(missing),
        desc="relabelling",
        unit="image",
        dynamic_ncols=True,
        disable=rank != 0,
    )
    with progress, ThreadPoolExecutor(LOADING_THREADS) as pool:
        for start in range(0, len(missing), segmentor.batch_size):
            batch = missing[start : start + segmentor.batch_size]
            images = list(pool.map(read_image, [image for _, image in batch]))
            masks = segmentor.predict_confident(images, threshold, tta=True)
            for (sample_id, _), labels in zip(batch, masks, strict=True):
                write_atomically(masks_dir / f"{sample_id}.png", encode_mask(labels, segmentor.palette))
            progress.update(len(batch))

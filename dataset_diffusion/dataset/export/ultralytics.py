"""Ultralytics' layout for semantic segmentation (docs.ultralytics.com/datasets/semantic).

    images/<split>/<id>.jpg, masks/<split>/<id>.png (grey, 255 ignored), data.yaml

data.yaml names the splits train, val and test. A dataset without val is validated on train, because Ultralytics does
not train without val.
"""

import yaml

from dataset_diffusion.dataset.export.job import ExportJob, write_pictures
from dataset_diffusion.dataset.splits import TRAIN
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically

KNOWN_SPLITS = (TRAIN, "val", "test")


def write_ultralytics(job: ExportJob) -> None:
    """Write the layout above."""
    unknown = next((split for split in job.splits if split not in KNOWN_SPLITS), None)
    if unknown or TRAIN not in job.splits:
        raise InputError(
            f"splits: Ultralytics knows train, val and test, and needs train; write '{{train:{unknown or 'NAME'}}}'"
        )
    write_pictures(job, "images/{split}/{id}.jpg", "masks/{split}/{id}.png")
    content = {
        "path": ".",
        **{split: f"images/{split if split in job.splits else TRAIN}" for split in (TRAIN, "val")},
        **({"test": "images/test"} if "test" in job.splits else {}),
        "masks_dir": "masks",
        "names": dict(enumerate(job.labels.names)),
    }
    write_atomically(job.output_dir / "data.yaml", yaml.safe_dump(content, sort_keys=False).encode())

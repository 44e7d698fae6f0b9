"""What every exporter is given, and steps that several of them share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dataset_diffusion.dataset.coco import encode_grey
from dataset_diffusion.dataset.source import Labels, Source, StoredSample, labels_of
from dataset_diffusion.files import write_new
from dataset_diffusion.images import decode_labels
from dataset_diffusion.parallel import parallel_map
from dataset_diffusion.settings.export import ExportSettings

Result = TypeVar("Result")


@dataclass(frozen=True)
class ExportJob:
    """An export of `source` to the empty folder `output_dir`; `splits` gives the source's split for each one to write.

    `on_sample` must be called once for each sample that is written.
    """

    source: Source
    output_dir: Path
    splits: dict[str, str]
    settings: ExportSettings
    on_sample: Callable[[], Any]

    @property
    def labels(self) -> Labels:
        """The names and colours of the labels."""
        return labels_of(self.source.path, self.source.description)

    def converted(self, split: str, convert: Callable[[StoredSample], Result]) -> Iterator[Result]:
        """What `convert` makes of each sample of a split to write, in order, computed in parallel."""
        for result in parallel_map(convert, self.source.samples(self.splits[split]), self.settings.num_workers):
            yield result
            self.on_sample()


class Exporter(Protocol):
    """Writes all splits of a job into its output folder."""

    def __call__(self, job: ExportJob) -> None:
        """Write the export."""


def write_pictures(job: ExportJob, image_path: str, mask_path: str) -> None:
    """Write the images and grey masks of all splits to paths such as "images/{split}/{id}.jpg"."""
    for split in job.splits:
        for _ in job.converted(split, partial(_write_pictures, job.output_dir, image_path, mask_path, split)):
            pass


def _write_pictures(output_dir: Path, image_path: str, mask_path: str, split: str, sample: StoredSample) -> None:
    image, mask = sample.read()
    sample_id = sample.record.id
    write_new(output_dir / image_path.format(split=split, id=sample_id), image)
    grey = encode_grey(decode_labels(mask, sample_id))
    write_new(output_dir / mask_path.format(split=split, id=sample_id), grey)

"""Time and memory of the report, the filter and the exports of a finished folder, by number of samples.

    python -m scripts.benchmarks.finished_folder --num 10000 100000

The folders are temporary: rendered scenes of 128 x 128, each under many names (hard links), with made-up scores. Each
step runs in a new process; its peak memory is that of this process, without its child processes.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dataset_diffusion.dataset.description import DESCRIPTION_FILE, PlanFacts, describe_dataset
from dataset_diffusion.dataset.export.run import export
from dataset_diffusion.dataset.filter import filter_split
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.layout import write_layout
from dataset_diffusion.dataset.manifest import MANIFEST_FILE, ClassRecord, SampleRecord, encode_record
from dataset_diffusion.dataset.quality import Quality, count_components, perceptual_hash
from dataset_diffusion.dataset.report.write import write_report
from dataset_diffusion.files import encode_json
from dataset_diffusion.settings.export import ExportSettings
from dataset_diffusion.settings.filter import FilterSettings
from dataset_diffusion.settings.generate import GenerateSettings
from dataset_diffusion.toy.scenes import TRAINING_SEEDS, render_scene
from dataset_diffusion.vocabulary import Vocabulary, load_vocabulary
from scripts.benchmarks.memory import peak_mebibytes

NUM_SCENES = 200
FORMATS = ("coco", "huggingface", "webdataset")
STEPS = ("nothing", "filter", "report", *FORMATS)


def main() -> None:
    """Print a line for each step and number of samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, nargs="+", default=[2000, 10000], help="samples (default %(default)s)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="steps to measure (default: all)")
    parser.add_argument("--keep", type=Path, help="create the folder here and keep it")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores")
    for num_samples in arguments.num:
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.keep or Path(temporary, "made")
            make_folder(folder, num_samples)
            for name, step in steps(folder, Path(temporary), arguments.steps):
                seconds, mebibytes = measured(step)
                print(
                    f"{num_samples:7} samples  {name:12} {seconds:7.1f} s  {mebibytes:6.0f} MiB at the peak", flush=True
                )


def steps(folder: Path, temporary: Path, names: Sequence[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """The steps to measure, by name."""
    others = {"nothing": _Nothing(), "filter": _Filter(folder), "report": _Report(folder)}
    for name in names:
        yield name, others.get(name) or _Export(folder, name, temporary / name)
        shutil.rmtree(temporary / name, ignore_errors=True)


class _Nothing:
    """Only the imports."""

    def __call__(self) -> None:
        pass


class _Filter(_Nothing):
    def __init__(self, folder: Path) -> None:
        self._settings = FilterSettings(str(folder), best_share=0.5, duplicates=True)

    def __call__(self) -> None:
        filter_split(self._settings)


class _Report(_Nothing):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> None:
        write_report(self._folder)


class _Export(_Nothing):
    def __init__(self, folder: Path, name: str, output_dir: Path) -> None:
        self._settings = ExportSettings(str(folder), name, str(output_dir))

    def __call__(self) -> None:
        export(self._settings, progress=False)


def measured(step: Callable[[], object]) -> tuple[float, float]:
    """Run a step in a new process; returns its seconds and its peak memory in MiB."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(step, sender))
    process.start()
    # Only the new process may hold it; otherwise its end would go unnoticed.
    sender.close()
    result: tuple[float, float] = receiver.recv()
    process.join()
    return result


def _measure(step: Callable[[], object], sender: "object") -> None:
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    sender.send((seconds, peak_mebibytes()))  # type: ignore[attr-defined]


def make_folder(path: Path, num_samples: int) -> None:
    """Write a finished folder of rendered scenes under many names, with made-up confidences and scores."""
    vocabulary = load_vocabulary("voc")
    settings = GenerateSettings(str(path), num_samples, 0, 1, splits={"train": 0.9, "val": 0.1})
    folder = VocFolder(path, vocabulary.palette)
    folder.prepare()
    scenes = [_write_scene(folder, vocabulary, number) for number in range(min(NUM_SCENES, num_samples))]
    rng = random.Random(0)
    with (path / MANIFEST_FILE).open("wb") as manifest:
        for number in range(num_samples):
            record = scenes[number % len(scenes)]
            sample_id = f"{number:06d}"
            for name_of in (folder.image_path, folder.mask_path):
                if not name_of(sample_id).exists():
                    os.link(name_of(record.id), name_of(sample_id))
            manifest.write(encode_record(_vary(record, sample_id, rng)))
    plan = PlanFacts(num_samples, 0, 0, {})
    description = describe_dataset(settings, vocabulary, {"id": "rendered scenes", "revision": ""}, plan, scenes)
    (path / DESCRIPTION_FILE).write_bytes(encode_json(description))
    write_layout(folder, settings)


def _write_scene(folder: VocFolder, vocabulary: Vocabulary, number: int) -> SampleRecord:
    scene = render_scene(TRAINING_SEEDS[number])
    sample_id = f"{number:06d}"
    labels = scene.label_mask.copy()
    labels[:, :4] = 255
    files = folder.write(sample_id, scene.image, labels)
    shares = np.bincount(labels.ravel(), minlength=256) / labels.size
    present = [label for label in np.unique(labels).tolist() if label not in (0, 255)]
    return SampleRecord(
        id=sample_id,
        seed=number,
        caption=f"a picture of {' and '.join(vocabulary[label].word for label in present)}",
        classes=tuple(ClassRecord(vocabulary[label].name, label, float(shares[label]), 0.0) for label in present),
        ignored=float(shares[255]),
        image_sha256=files.image_sha256,
        mask_sha256=files.mask_sha256,
        quality=Quality(
            0, 0, count_components(labels), 0, 0, perceptual_hash(scene.image.mean(axis=2).astype(np.uint8))
        ),
    )


def _vary(record: SampleRecord, sample_id: str, rng: random.Random) -> SampleRecord:
    confidence = round(rng.betavariate(6, 2), 4)
    classes = tuple(
        ClassRecord(entry.name, entry.label, entry.share, round(rng.betavariate(6, 2), 4)) for entry in record.classes
    )
    assert record.quality is not None
    quality = Quality(
        confidence=confidence,
        margin=round(confidence * rng.random(), 4),
        components=record.quality.components,
        edges=round(rng.gauss(0.3, 0.2), 4),
        flatness=round(rng.betavariate(2, 5), 4),
        phash=record.quality.phash if rng.random() < 0.01 else f"{rng.getrandbits(64):016x}",
    )
    return SampleRecord(
        **{
            **{name: getattr(record, name) for name in ("ignored", "image_sha256", "mask_sha256", "source")},
            "id": sample_id,
            "seed": int(sample_id),
            "caption": f"{record.caption}, number {sample_id}",
            "classes": classes,
            "quality": quality,
        }
    )


if __name__ == "__main__":
    main()

"""Segmentors trained on rendered scenes whose masks come from attention, for each attention.aggregation.

    python -m scripts.benchmarks.aggregation_segmentor --work runs/aggregation

A seed's images are the same for all, so only the masks differ. Their settings are dd-generate's, with the best
threshold on other scenes and no ignored band; trainings and test scenes are those of the reproduction. Results are kept
in the work folder as they are made, so a stopped run resumes.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from dataset_diffusion.calibration.choice import best_threshold
from dataset_diffusion.calibration.quality import label_quality, score
from dataset_diffusion.calibration.recording import RecordedImage
from dataset_diffusion.generators.loading import load_pipeline, silence_libraries
from dataset_diffusion.masks import label_mask
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import AGGREGATIONS, GenerateSettings
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, VALIDATION_SEEDS
from scripts.benchmarks.toy_table import SIDE, small_training, split_file, train_and_test
from scripts.reproduction.__main__ import weights_of
from scripts.reproduction.records import read_record, write_record
from scripts.reproduction.scale import FULL
from scripts.reproduction.segmentor import SMALL_SEGMENTOR
from scripts.reproduction.statistics import interval, paired_difference
from scripts.reproduction.training_sets import TrainingItem, rendered_items, rendered_seeds, write_folder
from scripts.toy_model.quality import NUM_LABELS, record_scenes

SEEDS = range(FULL.seeds)


def main() -> None:
    """Train whatever is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for results and trainings")
    work: Path = parser.parse_args().work
    silence_libraries()
    with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
        settings = to_settings(GenerateSettings, compose("config"))
    validation = work / "validation"
    if not split_file(validation, "val").exists():
        write_folder(validation, rendered_items(VALIDATION_SEEDS[: FULL.validation]), "val", SIDE)
    common: dict[str, Any] = {"weights": weights_of(settings), "segmentor": SMALL_SEGMENTOR}
    common |= {"sampler": asdict(settings.sampler), "scale": asdict(FULL)}
    masks: dict[str, list[float]] = {name: [] for name in AGGREGATIONS}
    segmentors: dict[str, list[float]] = {name: [] for name in AGGREGATIONS}
    for seed in SEEDS:
        for aggregation in AGGREGATIONS:
            attention = replace(settings.attention, aggregation=aggregation)
            path = work / f"{aggregation}_seed{seed}.json"
            made_by = {**common, "attention": asdict(attention)}
            figures = read_record(path, made_by)
            if figures is None:
                figures = measure(replace(settings, attention=attention), seed, work / "training", validation)
                write_record(path, made_by, figures)
            print(f"{aggregation}, seed {seed}: masks {figures['masks']:.1f}, segmentor {figures['segmentor']:.1f}")
            masks[aggregation].append(figures["masks"])
            segmentors[aggregation].append(figures["segmentor"])
    reference = AGGREGATIONS[0]
    print(f"| `attention.aggregation` | masks | less `{reference}` | segmentor | less `{reference}` |")
    print("|---|---|---|---|---|")
    for name in AGGREGATIONS:
        cells = []
        for figures in (masks, segmentors):
            mean, more = interval(figures[name]), paired_difference(figures[name], figures[reference])
            difference = "" if name == reference else f"{more.mean:+.1f} ± {more.half_width:.1f}"
            cells += [f"{mean.mean:.1f}", difference]
        print(f"| `{name}` | {' | '.join(cells)} |")


def measure(settings: GenerateSettings, seed: int, folder: Path, validation: Path) -> dict[str, float]:
    """The mIoU in percent of the masks of a seed's scenes, and of a segmentor trained on them."""
    pipe = load_pipeline(settings.model, settings.sampler)
    power = settings.attention.power

    def record(seeds: Sequence[int]) -> Iterator[RecordedImage]:
        return record_scenes(pipe, seeds, settings.sampler.num_inference_steps, settings.attention)

    threshold = best_threshold(score(record(HELD_OUT_SEEDS[: FULL.calibration]), power), NUM_LABELS)
    items, compared = [], []
    seeds = rendered_seeds(seed, FULL.images)
    for scene, image in zip(seeds, record(seeds), strict=True):
        ((exact, scores),) = score([image], power)
        labels = label_mask(scores, threshold, threshold).labels
        items.append(TrainingItem(f"scene_{scene}", image.image, labels, image.class_ids))
        compared.append((exact, [labels]))
    (quality,) = label_quality(compared, 1, NUM_LABELS)
    shutil.rmtree(folder, ignore_errors=True)
    training = small_training(SMALL_SEGMENTOR, folder, seed, FULL.iterations)
    tested = train_and_test(folder, items, training, validation)
    return {"masks": 100 * quality.metrics.miou, "segmentor": 100 * tested["miou"]}


if __name__ == "__main__":
    main()

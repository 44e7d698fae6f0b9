"""The cost of `dd-train`'s check of a dataset folder, as a ratio to reading its masks once, in parallel.

    python -m scripts.benchmarks.validation --num 4000

The folder is temporary: rendered scenes at 512 x 512, each under many names. Its files are in the system's cache, so
the disk's speed is not measured.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.labelled.faults import find_faults
from dataset_diffusion.toy.scenes import TRAINING_SEEDS, render_scene
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.benchmarks.recording import seconds

SIDE = 512
NUM_SCENES = 50
ROUNDS = 3


def main() -> None:
    """Make the folder, then time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=4000, help="samples in the folder (default %(default)s)")
    num_samples = parser.parse_args().num
    vocabulary = load_vocabulary("voc")
    with tempfile.TemporaryDirectory() as folder:
        masks = write_samples(VocFolder(Path(folder), vocabulary.palette), num_samples)
        num_labels = len(vocabulary.palette)

        def check() -> None:
            faults = find_faults(Path(folder), "train", num_labels)
            assert not faults, faults[0]

        def read_masks() -> None:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda path: np.asarray(Image.open(path)).shape, masks))

        checking, reading = fastest_by_turns(check, read_masks)
    print(f"{num_samples} samples of {SIDE} x {SIDE} on {os.cpu_count()} cores")
    print(f"checking the folder: {checking:.2f} s, {40_000 * checking / num_samples:.0f} s for 40,000 at this rate")
    print(f"reading its masks:   {reading:.2f} s")
    print(f"ratio: {checking / reading:.2f}")


def write_samples(folder: VocFolder, num_samples: int) -> list[Path]:
    """Write a complete folder; returns the masks' paths."""
    folder.prepare()
    for number in range(min(NUM_SCENES, num_samples)):
        scene = render_scene(TRAINING_SEEDS[number])
        size = (SIDE, SIDE)
        image = Image.fromarray(scene.image).resize(size, Image.Resampling.BICUBIC)
        labels = Image.fromarray(scene.label_mask).resize(size, Image.Resampling.NEAREST)
        folder.write(f"{number:06d}", np.asarray(image), np.asarray(labels))
    sample_ids = [f"{number:06d}" for number in range(num_samples)]
    for number in range(NUM_SCENES, num_samples):
        for path in (folder.image_path, folder.mask_path):
            path(sample_ids[number]).hardlink_to(path(sample_ids[number % NUM_SCENES]))
    folder.write_split(sample_ids)
    return [folder.mask_path(sample_id) for sample_id in sample_ids]


def fastest_by_turns(*works: Callable[[], None]) -> list[float]:
    """The seconds of each one's fastest round; they take turns, so that drift in the machine's speed favours none."""
    rounds = [[seconds(work) for work in works] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


if __name__ == "__main__":
    main()

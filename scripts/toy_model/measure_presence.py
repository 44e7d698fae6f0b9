"""How many of the requested classes are in the generated images, according to a segmentor trained on rendered scenes.

    python -m scripts.toy_model.render_dataset datasets/toy_real --num 2000
    dd-train dataset_dir=datasets/toy_real work_dir=runs/judge
    python -m scripts.toy_model.measure_presence datasets/toy runs/judge/segmentor.pth

The judge errs too, so its share on rendered scenes, whose classes are known, is printed as well.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dataset_diffusion.dataset.manifest import Manifest
from dataset_diffusion.images import read_image
from dataset_diffusion.segmentation.segmentor import Segmentor, load_segmentor
from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS, render_scene

LEAST_SHARE = 0.01
"""A class is present if the judge gives it this share of the pixels; the scenes' smallest objects have twice that."""
NUM_SCENES = 300


def main() -> None:
    """Judge a dataset folder, then rendered scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a folder that dd-generate made")
    parser.add_argument("judge", type=Path, help="a segmentor.pth that dd-train trained on rendered scenes")
    args = parser.parse_args()
    judge = load_segmentor(args.judge)
    print_presence("generated images", judge, generated_images(args.dataset))
    scenes = (render_scene(seed) for seed in HELD_OUT_SEEDS[:NUM_SCENES])
    print_presence("rendered scenes", judge, ((s.image, {item.class_id for item in s.objects}) for s in scenes))


def generated_images(dataset: Path) -> Iterator[tuple[np.ndarray, set[int]]]:
    """Each image of a dataset folder with the labels of its requested classes."""
    for record in Manifest(dataset).read().values():
        image = read_image(dataset / "JPEGImages" / f"{record.id}.jpg")
        yield image, {entry.label for entry in record.classes}


def print_presence(what: str, judge: Segmentor, images: Iterable[tuple[np.ndarray, set[int]]]) -> None:
    """Print the share of requested classes that are present: overall, by their number in an image, and by class."""
    asked: Counter[int] = Counter()
    found: Counter[int] = Counter()
    asked_together: Counter[int] = Counter()
    found_together: Counter[int] = Counter()
    num_images = num_uncalled = 0
    for image, class_ids in images:
        labels = judge.predict([image])[0]
        shares = np.bincount(labels.ravel(), minlength=len(judge.label_names)) / labels.size
        present = {label for label in range(1, len(shares)) if shares[label] >= LEAST_SHARE}
        asked.update(class_ids)
        found.update(class_ids & present)
        asked_together[len(class_ids)] += len(class_ids)
        found_together[len(class_ids)] += len(class_ids & present)
        num_images += 1
        num_uncalled += len(present - class_ids)
    print(f"{what}: {_percent(found.total(), asked.total())} of the classes asked for are present; ", end="")
    print(f"{num_uncalled / num_images:.2f} others per image")
    for count in sorted(asked_together):
        print(f"  {count} asked for: {_percent(found_together[count], asked_together[count])}")
    for label in sorted(asked, key=lambda label: found[label] / asked[label]):
        print(f"  {judge.label_names[label]:12} {found[label]:4} of {asked[label]:4}")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}% ({part} of {whole})"


if __name__ == "__main__":
    main()

"""Write rendered scenes of the toy world with their exact masks as a dataset folder: the "real data" of the toy world.

python -m scripts.toy_model.render_dataset datasets/toy_real --num 500
dd-train dataset_dir=datasets/toy_real work_dir=runs/toy_real
"""

import argparse
import json
from pathlib import Path

from dataset_diffusion.dataset.description import DESCRIPTION_FILE, describe_vocabulary
from dataset_diffusion.files import write_atomically
from dataset_diffusion.labelled.toy_scenes import write_scenes
from dataset_diffusion.toy.scenes import TRAINING_SEEDS
from dataset_diffusion.vocabulary import load_vocabulary


def main() -> None:
    """Render the first training scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num", type=int, default=500, help="number of scenes (default %(default)s)")
    args = parser.parse_args()
    write_scenes(args.folder, TRAINING_SEEDS[: args.num], split="train")
    description = {"vocabulary": describe_vocabulary(load_vocabulary("voc"))}
    write_atomically(args.folder / DESCRIPTION_FILE, json.dumps(description, indent=2).encode())


if __name__ == "__main__":
    main()

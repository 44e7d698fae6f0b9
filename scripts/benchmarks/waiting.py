"""The share of training time that is spent waiting for images.

    python -m scripts.benchmarks.waiting --iterations 100 experiment=voc dataset_dir=datasets/voc num_workers=8

Takes dd-train's settings and trains in a temporary folder. With enough loader processes, the share is near 0.
"""

import argparse
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataset_diffusion.paths import configs_dir
from dataset_diffusion.segmentation.train import LOG_INTERVAL, train
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.train import TrainSettings


def main() -> None:
    """Train, then read what mmengine measured between the iterations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("overrides", nargs="*", help="dd-train settings")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*args.overrides, f"work_dir={folder}", f"iterations={args.iterations}", "val=null"]
        with initialize_config_dir(str(configs_dir() / "train"), version_base="1.3"):
            settings = to_settings(TrainSettings, compose("config", overrides))
        train(settings)
        waiting, total = (mean_of_last_half(Path(folder), tag) for tag in ("data_time", "time"))
    print(f"one iteration: {total:.3f} s, of which {waiting:.3f} s waiting for images")
    print(f"share of the time spent waiting, with num_workers={settings.num_workers}: {waiting / total:.1%}")


def mean_of_last_half(folder: Path, tag: str) -> float:
    """The mean of a regularly logged scalar over the last half; the first half lets the caches fill."""
    events = EventAccumulator(str(folder / "vis_data"))
    events.Reload()
    values = [event.value for event in events.Scalars(tag)]
    if not values:
        raise SystemExit(f"nothing was logged: train for {LOG_INTERVAL} iterations or more")
    last = values[len(values) // 2 :]
    return sum(last) / len(last)


if __name__ == "__main__":
    main()

"""Several processes, with gloo on a CPU in place of NCCL on GPUs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_diffusion.segmentation.checkpoints import load_strictly
from dataset_diffusion.segmentation.segmentor import load_segmentor
from dataset_diffusion.segmentation.train import RELABELLED_DIR
from tests.segmentation.tiny_voc import overrides, tiny_settings


def test_two_processes_train_under_torchrun(dataset_dir: Path, work_dir: Path) -> None:
    settings = tiny_settings(
        dataset_dir,
        work_dir,
        iterations=3,
        batch_size=4,
        self_training=True,
        val=str(dataset_dir),
        val_split="train",
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*launcher, "-m", "dataset_diffusion.cli.train", *overrides(settings)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    (relabelled_dir,) = dataset_dir.glob(f"{RELABELLED_DIR}_*")
    assert result.stdout.splitlines() == [f"relabelled masks: {relabelled_dir}", f"wrote {work_dir}/segmentor.pth"]
    assert result.stderr.count("3/3") >= 2  # once per training, not per process
    for folder in ("first_training", "second_training"):
        checkpoint = load_strictly(work_dir / folder / "iter_3.pth")
        assert {int(state["step"]) for state in checkpoint["optimizer"]["state"].values()} == {3}
    assert len(list(relabelled_dir.glob("*.png"))) == 6
    image = np.array(Image.open(dataset_dir / "JPEGImages/image_0.jpg"))
    assert load_segmentor(work_dir / "segmentor.pth", "cpu").predict([image])[0].shape == (64, 64)

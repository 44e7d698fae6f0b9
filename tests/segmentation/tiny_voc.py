"""A few small images with masks, settings to train on them in seconds, and a segmentor with random weights."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.segmentation.checkpoints import SegmentorFile, save_segmentor
from dataset_diffusion.segmentation.model import Architecture, build_segmentor, init_weights, segmentor_config
from dataset_diffusion.settings.train import SegmentorSettings, TrainSettings

LABEL_NAMES = ("background", "red", "green")
PALETTE = ((0, 0, 0), (128, 0, 0), (0, 128, 0))
SIZE = 64
TINY = Architecture(18, True, (1, 2), len(LABEL_NAMES), base_channels=16)


def write_tiny_voc(root: Path, num_images: int = 6, split: str = "train") -> Path:
    """Each image has a red and a green rectangle on grey; a frame around each rectangle is ignored."""
    folder = VocFolder(root, PALETTE)
    folder.prepare()
    rng = np.random.default_rng(0)
    for number in range(num_images):
        image = rng.integers(100, 140, (SIZE, SIZE, 3)).astype(np.uint8)
        labels = np.zeros((SIZE, SIZE), np.uint8)
        for label, left in ((1, 4), (2, 36)):
            top, height, width = rng.integers(4, 24), rng.integers(16, 32), rng.integers(12, 22)
            labels[top - 2 : top + height + 2, left - 2 : left + width + 2] = 255
            labels[top : top + height, left : left + width] = label
            image[top : top + height, left : left + width, label - 1] += 100
        folder.write(f"image_{number}", image, labels)
    (folder.split_file.parent / f"{split}.txt").write_text("".join(f"image_{number}\n" for number in range(num_images)))
    description = {"vocabulary": {"label_names": LABEL_NAMES, "palette": PALETTE}}
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def tiny_settings(dataset_dir: Path, work_dir: Path, **changes: Any) -> TrainSettings:
    """Settings for twelve iterations with two images each."""
    settings = TrainSettings(
        dataset_dir=str(dataset_dir),
        work_dir=str(work_dir),
        iterations=12,
        batch_size=2,
        crop_size=SIZE,
        scale_range=[0.5, 2.0],
        lr=1e-3,
        backbone_lr_mult=0.5,
        weight_decay=1e-4,
        clip_norm=1.0,
        ema_horizon=0.1,
        avg_non_ignore=False,
        precision="float32",
        checkpoint_interval=100,
        num_workers=0,
        segmentor=SegmentorSettings(pretrained="none", depth=18, aspp_dilations=[1, 2], base_channels=16),
        device="cpu",
    )
    return dataclasses.replace(settings, **changes)


def overrides(settings: TrainSettings) -> list[str]:
    """The command-line arguments for these settings."""
    values = dataclasses.asdict(settings)
    segmentor = values.pop("segmentor")
    folders = values.pop("data")["train"]
    values |= {f"data.train.{name}.{key}": value for name, folder in folders.items() for key, value in folder.items()}
    of_deeplabv3 = ("pretrained", "depth", "aspp_dilations", "base_channels", "output_stride")
    values |= {f"segmentor.{name}": segmentor[name] for name in of_deeplabv3}
    return [f"{name}={'null' if value is None else value}".replace(" ", "") for name, value in values.items()]


def random_model(architecture: Architecture = TINY, seed: int = 0) -> Any:
    """A model whose weights and batch statistics are random, so that no two channels are alike."""
    torch.manual_seed(seed)
    model = build_segmentor(segmentor_config(architecture))
    init_weights(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, 0, 0.5)
    model.eval()
    with torch.no_grad():
        # No label is the most likely everywhere.
        model.decode_head.conv_seg.bias -= model(torch.randn(1, 3, SIZE, SIZE), mode="tensor").mean(dim=(0, 2, 3))
    return model


def write_random_segmentor(path: Path, seed: int = 0) -> Any:
    """Export a random model and return it."""
    model = random_model(seed=seed)
    save_segmentor(SegmentorFile(model.state_dict(), TINY, LABEL_NAMES, PALETTE, "settings"), path)
    return model

"""Hooks that run between training iterations."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import explaining_write_errors, write_atomically
from dataset_diffusion.segmentation.checkpoints import (
    LAST_CHECKPOINT_FILE,
    checkpoint_iterations,
    to_plain,
)

BEST_CHECKPOINT_FILE = "best.pth"
BEST_SCORE_FILE = "best.json"


class IterationSeedHook(Hook):
    """Makes an iteration's random numbers (dropout) depend only on the seed and its number, resumed or not."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def before_train_iter(self, runner: Runner, **_: Any) -> None:
        """Seed PyTorch, each process differently."""
        entropy = np.random.SeedSequence((self._seed, runner.iter, get_rank()))
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))


class ProgressHook(Hook):
    """Shows a line with iterations per second, the time left and the loss."""

    priority = "VERY_LOW"

    def __init__(self, name: str) -> None:
        self._name = name

    def before_train(self, runner: Runner) -> None:
        """Start the line."""
        self._bar = tqdm(
            desc=self._name,
            total=runner.max_iters,
            initial=runner.iter,
            unit="it",
            dynamic_ncols=True,
            disable=not is_main_process(),
            # A log file gets an occasional line instead of two a second.
            mininterval=0.5 if sys.stderr.isatty() else 20,
        )

    def after_train_iter(self, runner: Runner, outputs: dict[str, Any], **_: Any) -> None:
        """Update the line; raises InputError if the training has failed."""
        loss = outputs["loss"].item()
        if not math.isfinite(loss):
            self._bar.close()
            lr = runner.optim_wrapper.get_lr()["lr"][0]
            raise InputError(
                f"the loss is {loss} at iteration {runner.iter + 1} (lr {lr:.2g}); train with a smaller lr"
            )
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Print the validation's result."""
        if is_main_process():
            self._bar.write(f"iteration {runner.iter}: mIoU {float(metrics['mIoU']):.2f}", file=sys.stderr)

    def after_train(self, _runner: Runner) -> None:
        """End the line."""
        self._bar.close()


class CheckpointHook(Hook):
    """Keeps the latest checkpoint, from which a run resumes, and the best one by mIoU.

    Unlike mmengine's own hook, it writes files atomically, none of them holds a path (a folder can be moved), and
    reading them requires no trust (`to_plain`).
    """

    priority = "VERY_LOW"

    def __init__(self, folder: Path, interval: int, val_interval: int | None) -> None:
        self._folder = folder
        self._interval = interval
        self._val_interval = val_interval

    def after_train_iter(self, runner: Runner, **_: Any) -> None:
        """Save every `interval` iterations and at the end."""
        done = runner.iter + 1
        due = done % self._interval == 0 or done == runner.max_iters
        # If a validation follows, the checkpoint is saved after it, so that a killed run repeats the validation.
        if due and not self._validates_after(done, runner.max_iters):
            self._save_latest(runner, done)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best, then the latest."""
        done, score = runner.iter, float(metrics["mIoU"])
        if score > self._best_score():
            self._save(runner, BEST_CHECKPOINT_FILE, done, for_resuming=False)
            if is_main_process():
                record = json.dumps({"iteration": done, "mIoU": score})
                write_atomically(self._folder / BEST_SCORE_FILE, record.encode())
        self._save_latest(runner, done)

    def before_train(self, runner: Runner) -> None:
        """Forget the best of a run that left no checkpoint to resume from: this run can have other settings."""
        if runner.iter == 0 and is_main_process():
            for name in (BEST_SCORE_FILE, BEST_CHECKPOINT_FILE):
                (self._folder / name).unlink(missing_ok=True)

    def before_save_checkpoint(self, _runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave out the history of logged values, which holds classes of mmengine and of NumPy."""
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
        checkpoint.update(to_plain(checkpoint))

    def _validates_after(self, done: int, max_iters: int) -> bool:
        return self._val_interval is not None and (done % self._val_interval == 0 or done == max_iters)

    def _best_score(self) -> float:
        try:
            return float(json.loads((self._folder / BEST_SCORE_FILE).read_text())["mIoU"])
        except FileNotFoundError:
            return -math.inf

    def _save_latest(self, runner: Runner, done: int) -> None:
        name = f"iter_{done}.pth"
        self._save(runner, name, done, for_resuming=True)
        if is_main_process():
            write_atomically(self._folder / LAST_CHECKPOINT_FILE, name.encode())
            for iteration, file in checkpoint_iterations(self._folder).items():
                if iteration != done:
                    file.unlink()

    def _save(self, runner: Runner, name: str, done: int, *, for_resuming: bool) -> None:
        partial, final = self._folder / f".{name}.tmp", self._folder / name
        with explaining_write_errors(final):
            try:
                runner.save_checkpoint(
                    str(self._folder),
                    partial.name,
                    save_optimizer=for_resuming,
                    save_param_scheduler=for_resuming,
                    meta={"epoch": 0, "iter": done},
                    by_epoch=False,
                )
                if is_main_process():
                    # Flushed to disk before the older one is deleted: after a power cut, one of them is whole.
                    with partial.open("rb") as file:
                        os.fsync(file.fileno())
                    os.replace(partial, final)
            except OSError:
                partial.unlink(missing_ok=True)
                raise

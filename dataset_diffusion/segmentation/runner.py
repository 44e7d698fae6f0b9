"""mmengine's Runner, with a quiet console and strict loading."""

import logging
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from dataset_diffusion.errors import InputError
from dataset_diffusion.segmentation.checkpoints import load_strictly

CONFIG_FILE = "mmseg_config.py"


@LOOPS.register_module(force=True)
class PartsTrainLoop(IterBasedTrainLoop):
    """A training loop whose iterations process their batch in parts, one by one: less memory, the same gradient.

    (Except for batch normalisation, which sees one part at a time.)
    """

    def __init__(self, *arguments: Any, parts: int, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._parts = parts

    def run_iter(self, data_batch: dict[str, list[Any]]) -> None:
        """One step of the optimizer."""
        runner = self.runner
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        logged: dict[str, Any] = {}
        for part in range(self._parts):
            images = {name: values[part :: self._parts] for name, values in data_batch.items()}
            for name, value in runner.model.train_step(images, optim_wrapper=runner.optim_wrapper).items():
                logged[name] = logged.get(name, 0) + value / self._parts
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=logged)
        self._iter += 1


class SegmentationRunner(Runner):
    """Trains on a given device, logs only to its folder, and unpickles nothing but tensors and plain values."""

    def __init__(self, *, device: torch.device, **settings: Any) -> None:
        self._device = device
        super().__init__(**settings)

    def build_logger(self, *arguments: Any, **settings: Any) -> MMLogger:
        """mmengine's logger without its console."""
        logger = super().build_logger(*arguments, **settings)
        files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
        logger.handlers[:] = files
        # These would be several lines for each of hundreds of parameters.
        logger.addFilter(lambda record: "paramwise_options" not in record.getMessage())
        return logger

    def wrap_model(self, _model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to the runner's device; with several processes, keep their copies in sync."""
        model = model.to(self._device)
        if self._device.type == "cuda":
            # The memory layout that tensor cores use for convolutions.
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not self.distributed:
            return revert_sync_batchnorm(model)
        devices = None if self._device.type == "cpu" else [self._device]
        return MMDistributedDataParallel(module=model, device_ids=devices, broadcast_buffers=False)

    def load_checkpoint(self, filename: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Load a checkpoint that `CheckpointHook` saved, and its weights into the model.

        Replaces mmengine's method, which falls back to unpickling whatever a file holds. Raises InputError if the file
        is not such a checkpoint, or if its weights do not fit.
        """
        checkpoint: dict[str, Any] = load_strictly(Path(filename))
        needed = {"meta", "state_dict", "optimizer", "param_schedulers", "message_hub"}
        if not isinstance(checkpoint, dict) or not needed <= checkpoint.keys():
            raise InputError(f"{filename}: is not a checkpoint to resume from; remove it, or use another work_dir")
        # mmengine runs this entry, if there is one, as Python code; nothing that we save has it.
        checkpoint["meta"].pop("config", None)
        try:
            self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
            model = self.model.module if is_model_wrapper(self.model) else self.model
            model.load_state_dict(checkpoint["state_dict"])
        except (RuntimeError, KeyError) as error:
            raise InputError(
                f"{filename}: its weights do not fit this segmentor; resume with its settings, or use another work_dir"
            ) from error
        self._has_loaded = True
        return checkpoint

    def dump_config(self) -> None:
        """Write one file, whose name does not depend on the time."""
        if self.rank == 0:
            Config(self.cfg.to_dict()).dump(Path(self.work_dir) / CONFIG_FILE)

"""`dd-train`: check the data, train, export; with self-training, relabel the images and train again."""

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, LoggerHook
from mmengine.visualization import Visualizer

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import (
    HELD_FILE,
    encode_json,
    explaining_write_errors,
    held_by_one_process,
    is_temporary,
    write_atomically,
)
from dataset_diffusion.hardware import find_device
from dataset_diffusion.processes import find_torchrun_share, joined_processes
from dataset_diffusion.segmentation.architectures import AnyArchitecture
from dataset_diffusion.segmentation.checkpoints import (
    SEGMENTOR_FILE,
    SegmentorFile,
    checkpoint_iterations,
    latest_checkpoint,
    load_strictly,
    save_segmentor,
)
from dataset_diffusion.segmentation.config import ema_momentum, mmseg_config
from dataset_diffusion.segmentation.data import Source, training_loader, validation_loader
from dataset_diffusion.segmentation.folders import open_sources, open_validation
from dataset_diffusion.segmentation.hooks import BEST_CHECKPOINT_FILE, CheckpointHook, IterationSeedHook, ProgressHook
from dataset_diffusion.segmentation.model import build_segmentor, init_weights
from dataset_diffusion.segmentation.networks import plan_network
from dataset_diffusion.segmentation.precision import uses_bfloat16
from dataset_diffusion.segmentation.runner import CONFIG_FILE, SegmentationRunner
from dataset_diffusion.segmentation.segmentor import load_segmentor
from dataset_diffusion.segmentation.self_training import relabel
from dataset_diffusion.settings.train import TrainSettings

SETTINGS_FILE = "training.json"
IMAGES = "images"
"""The entry of SETTINGS_FILE, alongside the settings, that identifies each training folder's images."""
RELABELLED_DIR = "SegmentationClassSelfTrained"
LOG_INTERVAL = 10
# Settings that a resumed run can change: they affect where and how fast it runs, not its result.
FREE_ON_RESUME = (
    *("resume", "device", "num_workers", "compile"),
    *("dataset_dir", "work_dir", "cache_dir", "checkpoint_interval"),
)


def train(settings: TrainSettings) -> Path:
    """Train as the settings say; returns the exported segmentor's path.

    Raises InputError if the data, the pretrained weights, the work folder or a checkpoint in it cannot be used; faults
    in the data are listed before a model is built.
    """
    with ExitStack() as stack:
        # Before the processes are joined: one that exits while the others wait for it ends them without a message.
        if find_torchrun_share().rank == 0:
            record = _prepare(settings)
            work_dir = settings.work_dir
            complaint = f"work_dir={work_dir}: another dd-train is writing to it; wait for it, or name another"
            stack.enter_context(held_by_one_process(Path(work_dir) / HELD_FILE, complaint))
            write_atomically(Path(work_dir) / SETTINGS_FILE, encode_json(record))
        device = stack.enter_context(joined_processes(settings.device))
        try:
            exported = _Training(settings, device).run()
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"batch_size={settings.batch_size}: the device is out of memory; accumulation_steps="
                f"{2 * settings.accumulation_steps} takes the images in smaller parts, or use a smaller batch_size"
            ) from error
        if is_main_process():
            print(f"wrote {exported}", flush=True)
        return exported


def _prepare(settings: TrainSettings) -> dict[str, Any]:
    """Check everything that can be checked before a model is built, and make the work folder.

    Returns the training record: the settings, and which images are used.
    """
    find_device(settings.device)
    settings.images_per_process(find_torchrun_share().count)
    sources = open_sources(settings)
    for source in sources:
        source.data.require_valid()
    labels = sources[0].data.labels
    record = asdict(settings)
    record[IMAGES] = {name: source.data.fingerprint() for name, source in zip(settings.folders(), sources, strict=True)}
    _require_usable_work_dir(settings, record)
    if validation := open_validation(settings, labels):
        validation.require_valid()
    plan_network(settings, len(labels.names))
    work_dir = Path(settings.work_dir)
    for source in sources if settings.self_training else []:
        if _is_relabelled(source, sources) and not os.access(source.data.root, os.W_OK | os.X_OK):
            raise InputError(
                f"self_training=true: cannot write the new masks into {source.data.root}; copy the folder to a "
                "writable location"
            )
    with explaining_write_errors(work_dir):
        work_dir.mkdir(parents=True, exist_ok=True)
    if settings.resume and not _holds_training(work_dir):
        print(f"work_dir={work_dir}: holds no training to resume; starting one", flush=True)
    return record


def _holds_training(work_dir: Path) -> bool:
    """Whether a training in the folder has written a checkpoint or a segmentor."""
    step_dirs = (work_dir, *work_dir.glob("*_training"))
    return any(checkpoint_iterations(folder) or (folder / SEGMENTOR_FILE).is_file() for folder in step_dirs)


def _require_usable_work_dir(settings: TrainSettings, record: dict[str, Any]) -> None:
    """Raise InputError if the folder holds a run that is not to be resumed, or not with these settings."""
    work_dir = Path(settings.work_dir)
    if not _holds_training(work_dir):
        return
    if not settings.resume:
        raise InputError(
            f"work_dir={work_dir}: already contains a training run; add resume=true to resume it, or name another "
            "work_dir"
        )
    try:
        old = json.loads((work_dir / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{work_dir / SETTINGS_FILE}: cannot be read; start again in another work_dir") from error
    new = json.loads(encode_json(record))
    # Earlier versions did not record the images.
    for name, images in new.pop(IMAGES).items():
        if old.get(IMAGES, {}).get(name, images) != images:
            raise InputError(
                f"{settings.root_setting(name)}={settings.folders()[name].root}: images or masks differ from those "
                f"that the training in {work_dir} started with; resume with those, or name another work_dir"
            )
    for name, value in new.items():
        before, now = (_without_roots(content) if name == "data" else content for content in (old.get(name), value))
        if name not in FREE_ON_RESUME and before != now:
            raise InputError(
                f"{name}={now}: the training in {work_dir} has {name}={before}; "
                "resume with that, or name another work_dir"
            )


def _is_relabelled(source: Source, sources: Sequence[Source]) -> bool:
    """Whether self-training makes new masks for a source: among several, real images keep their masks."""
    return len(sources) == 1 or source.data.described


def _without_roots(data: Any) -> Any:
    """The folders without their paths: they may have been moved."""
    folders = (data or {}).get("train", {})
    return {name: {**folder, "root": None} for name, folder in folders.items()}


def _remove_unfinished_files(folder: Path) -> None:
    """Remove the files that a run was writing when it was killed; a checkpoint's can be large."""
    if folder.is_dir():
        for file in filter(is_temporary, folder.iterdir()):
            file.unlink()


class _Training:
    """The steps of a training run, each of which resumes where it stopped."""

    def __init__(self, settings: TrainSettings, device: torch.device) -> None:
        self._settings = settings
        self._device = device
        self._sources = open_sources(settings)
        self._labels = self._sources[0].data.labels
        self._validation = open_validation(settings, self._labels)
        self._work_dir = Path(settings.work_dir)

    def run(self) -> Path:
        if not self._settings.self_training:
            return self._train(self._sources, self._work_dir, "training")
        first = self._train(self._sources, self._work_dir / "first_training", "first training")
        relabelled = self._relabel(first)
        second = self._train(relabelled, self._work_dir / "second_training", "second training")
        exported = self._work_dir / SEGMENTOR_FILE
        if is_main_process():
            write_atomically(exported, second.read_bytes())
        return exported

    def _relabel(self, teacher_file: Path) -> list[Source]:
        """The sources with new masks; among several, real images keep their masks, which are better."""
        teacher = load_segmentor(teacher_file, str(self._device))
        relabelled = []
        for source in self._sources:
            if not _is_relabelled(source, self._sources):
                relabelled.append(source)
                continue
            masks_dir = self._relabelled_dir(teacher_file, source.data.root)
            relabel(teacher, source.data, masks_dir, self._settings.self_training_threshold)
            masks = tuple(masks_dir / f"{sample_id}.png" for sample_id in source.data.ids)
            relabelled.append(replace(source, data=replace(source.data, masks=masks)))
            if is_main_process():
                print(f"relabelled masks: {masks_dir}", flush=True)
        barrier()
        return relabelled

    def _relabelled_dir(self, teacher_file: Path, root: Path) -> Path:
        """Next to the original masks; each teacher and threshold has its own folder, so masks are never mixed."""
        teacher = hashlib.sha256(teacher_file.read_bytes())
        teacher.update(repr(self._settings.self_training_threshold).encode())
        return root / f"{RELABELLED_DIR}_{teacher.hexdigest()[:8]}"

    def _train(self, sources: Sequence[Source], folder: Path, name: str) -> Path:
        """Train in a separate folder; returns the path of the segmentor exported to it."""
        exported = folder / SEGMENTOR_FILE
        if exported.is_file():
            return exported
        if is_main_process():
            _remove_unfinished_files(folder)
        network = plan_network(self._settings, len(self._labels.names))
        config = Config(
            mmseg_config(
                self._settings,
                network.architecture,
                self._labels,
                bfloat16=uses_bfloat16(self._settings.precision, self._device),
                sync_batch_norm=get_world_size() > 1 and self._device.type == "cuda",
            ),
            # mmengine formats it for its log and for each checkpoint, half a second each; once, for a file, is enough.
            format_python_code=False,
        )
        torch.manual_seed(self._settings.seed)
        model: Any = build_segmentor(config.model)
        init_weights(model)
        network.load_pretrained(model)
        if self._settings.compile:
            network.compile(model)
        self._runner(model, config, sources, folder, name).train()
        if is_main_process():
            self._export(folder, network.architecture, (folder / CONFIG_FILE).read_text(encoding="utf-8"))
        barrier()
        return exported

    def _export(self, folder: Path, architecture: AnyArchitecture, config: str) -> None:
        """Write the averaged weights of the best checkpoint, or of the last one if there was no validation."""
        checkpoint = folder / BEST_CHECKPOINT_FILE if self._validation else latest_checkpoint(folder)
        assert checkpoint is not None  # the end of a training saves one
        state_dict = load_strictly(checkpoint)["state_dict"]
        segmentor = SegmentorFile(
            state_dict,
            architecture,
            self._labels.names,
            self._labels.palette,
            config,
            protocol=self._settings.protocol,
        )
        save_segmentor(segmentor, folder / SEGMENTOR_FILE)

    def _runner(
        self, model: Any, config: Config, sources: Sequence[Source], folder: Path, name: str
    ) -> SegmentationRunner:
        settings = self._settings
        resumed = latest_checkpoint(folder)
        # mmengine hands out loggers and visualizers by name: two runners in one process must not share them.
        unique_name = f"training_{uuid.uuid4().hex}"
        loader = training_loader(
            sources,
            crop_size=settings.crop_size,
            scale_range=settings.scale_range,
            batch_size=settings.images_per_process(get_world_size()),
            num_processes=get_world_size(),
            seed=settings.seed,
            num_workers=settings.num_workers,
            copy_paste=settings.copy_paste,
            pin_memory=self._device.type == "cuda",
        )
        validation = {}
        if self._validation:
            validation = {
                "val_dataloader": validation_loader(
                    self._validation,
                    protocol=settings.protocol,
                    num_workers=settings.num_workers,
                ),
                "val_cfg": {"type": "ValLoop"},
                "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
            }
        return SegmentationRunner(
            device=self._device,
            model=model,
            work_dir=str(folder),
            train_dataloader=loader,
            train_cfg=config.train_cfg,
            optim_wrapper=config.optim_wrapper,
            param_scheduler=config.param_scheduler,
            **validation,
            default_hooks={
                "checkpoint": None,
                "sampler_seed": None,
                "logger": LoggerHook(interval=LOG_INTERVAL, log_metric_by_epoch=False),
            },
            custom_hooks=[
                IterationSeedHook(settings.seed),
                EMAHook(momentum=ema_momentum(settings), update_buffers=True, strict_load=True),
                ProgressHook(name),
                CheckpointHook(folder, settings.checkpoint_interval, settings.val_interval if validation else None),
            ],
            load_from=str(resumed) if resumed else None,
            resume=resumed is not None,
            launcher="pytorch" if torch.distributed.is_initialized() else "none",
            log_processor={"by_epoch": False},
            visualizer=Visualizer(
                name=unique_name, vis_backends=[{"type": "TensorboardVisBackend"}], save_dir=str(folder)
            ),
            default_scope="mmseg",
            randomness={"seed": settings.seed},
            experiment_name=unique_name,
            cfg=config,
        )

"""Build what mmengine calls a config from the settings."""

from typing import Any

from dataset_diffusion.labelled.label_names import Labels
from dataset_diffusion.segmentation.architectures import AnyArchitecture, model_config
from dataset_diffusion.segmentation.data import training_steps, validation_steps
from dataset_diffusion.settings.train import TrainSettings

POLY_POWER = 0.9


def mmseg_config(
    settings: TrainSettings, architecture: AnyArchitecture, labels: Labels, *, bfloat16: bool, sync_batch_norm: bool
) -> dict[str, Any]:
    """The config of a training run: the runner is built from it, and its text goes with the exported segmentor.

    It holds no paths. mmsegmentation's `init_model` accepts it and then predicts with the segmentor's state dict.
    """
    parts = settings.accumulation_steps
    return {
        "default_scope": "mmseg",
        "model": model_config(
            architecture,
            crop_size=settings.crop_size,
            avg_non_ignore=settings.avg_non_ignore,
            sync_batch_norm=sync_batch_norm,
            protocol=settings.protocol,
        ),
        "metainfo": {"classes": list(labels.names), "palette": [list(colour) for colour in labels.palette]},
        "train_pipeline": training_steps(settings.crop_size, settings.scale_range),
        "test_pipeline": validation_steps(settings.protocol),
        "train_cfg": {
            **({"type": "PartsTrainLoop", "parts": parts} if parts > 1 else {"type": "IterBasedTrainLoop"}),
            "max_iters": settings.iterations,
            "val_interval": settings.val_interval,
        },
        "optim_wrapper": _optim_wrapper(settings, bfloat16),
        "param_scheduler": [
            {
                "type": "PolyLR",
                "power": POLY_POWER,
                "eta_min": 0.0,
                "begin": 0,
                # mmengine reaches the minimum one step before the end, so the last iteration would learn nothing.
                "end": settings.iterations + 1,
                "by_epoch": False,
            }
        ],
        "copy_paste": settings.copy_paste,
        "ema": {"momentum": ema_momentum(settings)},
        "batch_size": settings.batch_size,
        "randomness": {"seed": settings.seed},
    }


def ema_momentum(settings: TrainSettings) -> float:
    """The share of the newest weights in the average, chosen so that it reaches back over `ema_horizon` of the run.

    A fixed momentum would leave a short run's average at its random start, or have no effect in a long run.
    """
    return 1 / (1 + settings.ema_horizon * settings.iterations)


def _optim_wrapper(settings: TrainSettings, bfloat16: bool) -> dict[str, Any]:
    wrapper: dict[str, Any] = {
        "type": "Bfloat16OptimWrapper" if bfloat16 else "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": settings.lr, "weight_decay": settings.weight_decay},
        "clip_grad": {"max_norm": settings.clip_norm, "norm_type": 2},
    }
    if settings.accumulation_steps > 1:
        wrapper["accumulative_counts"] = settings.accumulation_steps
        if not bfloat16:
            wrapper["type"] = "PartsOptimWrapper"
    if settings.backbone_lr_mult != 1:
        wrapper["paramwise_cfg"] = {"custom_keys": {"backbone": {"lr_mult": settings.backbone_lr_mult}}}
    return wrapper

"""Architectures, which determine a network's layers: turn them into models, and write and read them."""

import ast
from dataclasses import asdict
from typing import Any

from dataset_diffusion.segmentation.mmseg_configs import MmsegArchitecture, mmseg_model_config, require_known_types
from dataset_diffusion.segmentation.model import Architecture, architecture_from_json, segmentor_config
from dataset_diffusion.settings.protocol import TestProtocol

AnyArchitecture = Any
"""An Architecture (DeepLabV3), an MmsegArchitecture or a Mask2FormerArchitecture: they share `num_labels`."""


def model_config(
    architecture: AnyArchitecture,
    *,
    crop_size: int | None = None,
    avg_non_ignore: bool = False,
    sync_batch_norm: bool = False,
    protocol: TestProtocol = TestProtocol(),  # noqa: B008 (it is frozen)
) -> dict[str, Any]:
    """The model part of an mmengine config. `crop_size` is None if the model is only used for prediction."""
    if isinstance(architecture, Architecture):
        return segmentor_config(
            architecture,
            crop_size=crop_size,
            avg_non_ignore=avg_non_ignore,
            sync_batch_norm=sync_batch_norm,
            protocol=protocol,
        )
    if isinstance(architecture, MmsegArchitecture):
        return mmseg_model_config(architecture, protocol, crop_size=crop_size, sync_batch_norm=sync_batch_norm)
    from dataset_diffusion.segmentation.mask2former import mask2former_config

    return mask2former_config(architecture, protocol, crop_size=crop_size, sync_batch_norm=sync_batch_norm)


def describe_architecture(architecture: AnyArchitecture) -> str | dict[str, Any]:
    """Plain values that `read_architecture` reads: JSON for DeepLabV3, as always; for others a mapping with a kind."""
    if isinstance(architecture, Architecture):
        return architecture.to_json()
    if isinstance(architecture, MmsegArchitecture):
        # Python's notation, because JSON turns tuples, which some parts insist on, into lists.
        return {
            "kind": "mmseg",
            "name": architecture.name,
            "model": repr(architecture.model),
            "num_labels": architecture.num_labels,
        }
    return {"kind": "mask2former", **asdict(architecture)}


def read_architecture(content: Any) -> AnyArchitecture:
    """Read an architecture. Raises ValueError, TypeError or KeyError if `describe_architecture` did not write it."""
    if isinstance(content, str):
        return architecture_from_json(content)
    values = dict(content)
    kind = values.pop("kind")
    if kind == "mask2former":
        from dataset_diffusion.segmentation.mask2former import Mask2FormerArchitecture

        return Mask2FormerArchitecture(**values)
    if kind != "mmseg":
        raise ValueError(f"not a kind of segmentor: {kind}")
    try:
        model = ast.literal_eval(values["model"])
    except SyntaxError as error:
        raise ValueError("not a model") from error
    require_known_types(model)
    return MmsegArchitecture(values["name"], model, int(values["num_labels"]))

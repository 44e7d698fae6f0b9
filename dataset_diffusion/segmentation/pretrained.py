"""ImageNet weights for the backbone, whatever library wrote them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.segmentation.checkpoints import load_strictly

MIN_SHARE = 0.9
POSITIONS = "pos_embed"
OPEN_MMLAB = "open-mmlab://"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
WRAPPER_PREFIXES = ("module.", "backbone.")
# timm's deep stem has convolutions conv1.{0,3,6} and norms conv1.{1,4} and bn1; mmseg's is one sequence, stem.{0-8}.
DEEP_STEM = re.compile(r"conv1\.(\d)\.")


@dataclass(frozen=True)
class BackboneWeights:
    """A ResNet's tensors under mmsegmentation's names; `deep_stem` says which of the two stems they have."""

    source: str
    state_dict: dict[str, Tensor]
    deep_stem: bool


def read_backbone(pretrained: str, any_backbone: bool = False) -> BackboneWeights | None:
    """The weights that `segmentor.pretrained` names: a file, open-mmlab://NAME, a URL, or a hub id; None for "none".

    Raises InputError if there are none or, unless `any_backbone` is set, if they are not a ResNet's.
    """
    if pretrained == "none":
        return None
    if pretrained.startswith(OPEN_MMLAB):
        path = _download(pretrained)
    elif pretrained.startswith("https://"):
        path = _fetch(pretrained, pretrained)
    elif HUB_ID.fullmatch(pretrained) and not Path(pretrained).exists() and not pretrained.endswith(WEIGHT_SUFFIXES):
        path = _from_hub(pretrained)
    else:
        path = Path(pretrained)
    if not path.is_file():
        raise InputError(
            f"segmentor.pretrained={pretrained}: no such file; name one, or write none or open-mmlab://NAME"
        )
    return recognise(pretrained, load_strictly(path), any_backbone)


def recognise(source: str, content: object, any_backbone: bool = False) -> BackboneWeights:
    """Extract a ResNet's tensors from what mmsegmentation, torchvision or timm saved (a whole model or its backbone).

    With `any_backbone`, the tensors keep their names, which must be mmsegmentation's.
    """
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"segmentor.pretrained={source}: contains no state dict; name a file with a ResNet's weights")
    state = {str(name): tensor for name, tensor in content.items()}
    for prefix in WRAPPER_PREFIXES:
        if any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if any_backbone:
        return BackboneWeights(source, state, deep_stem=False)
    if any(re.match(r"layer\d\.\d+\.downsample\.2\.", name) for name in state):
        raise InputError(
            f"segmentor.pretrained={source}: is a ResNet-D, whose shortcuts average; use a ResNet, or a ResNet-C"
        )
    if "stem.0.weight" in state:
        return BackboneWeights(source, state, deep_stem=True)
    if "conv1.0.weight" in state:
        return BackboneWeights(source, _renamed(state, _from_timm_deep_stem), deep_stem=True)
    if "conv1.weight" in state:
        return BackboneWeights(source, state, deep_stem=False)
    raise InputError(f"segmentor.pretrained={source}: contains no ResNet weights; name a file that does")


def _renamed(state: Mapping[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    return {rename(name): tensor for name, tensor in state.items()}


def _from_timm_deep_stem(name: str) -> str:
    if name.startswith("bn1."):
        return name.replace("bn1.", "stem.7.", 1)
    return DEEP_STEM.sub(r"stem.\1.", name, count=1) if name.startswith("conv1.") else name


def load_backbone(backbone: nn.Module, weights: BackboneWeights) -> float:
    """Copy the tensors that match the backbone's by name and shape; returns their share of the backbone's tensors.

    Position embeddings for another grid are resized. Raises InputError if the share is below `MIN_SHARE`, or if a
    parameter would silently stay random; new norms (all ones or all zeros) can be missing.
    """
    # Batch counters are not needed, and old files have none.
    own = {name: value for name, value in backbone.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = _with_fitting_positions(weights.state_dict, backbone)
    matching = {
        name: given[name] for name, tensor in own.items() if name in given and given[name].shape == tensor.shape
    }
    share = len(matching) / len(own)
    found = f"{len(matching)} of the backbone's {len(own)} tensors ({share:.0%})"
    if share < MIN_SHARE:
        raise InputError(
            f"segmentor.pretrained={weights.source}: has {found}, but needs {MIN_SHARE:.0%}; "
            "name the weights of a backbone of the segmentor's kind and size"
        )
    random = [
        name
        for name, value in backbone.named_parameters()
        if name in own and name not in matching and value.min() != value.max()
    ]
    if random:
        raise InputError(
            f"segmentor.pretrained={weights.source}: has {found}, but no {random[0]} of the right shape, so it would "
            "stay random; name the weights of a backbone of the segmentor's kind and size"
        )
    backbone.load_state_dict(matching, strict=False)
    print(f"pretrained backbone: {weights.source} has {found}", flush=True)
    return share


def _with_fitting_positions(state: Mapping[str, Tensor], backbone: nn.Module) -> Mapping[str, Tensor]:
    """Resize a vision transformer's position embeddings [1, 1 + h * w, C] to its grid, as mmsegmentation does."""
    own, given = getattr(backbone, POSITIONS, None), state.get(POSITIONS)
    resize = getattr(backbone, "resize_pos_embed", None)
    if own is None or given is None or resize is None or given.shape == own.shape or given.ndim != 3:
        return state
    old, new = (isqrt(embedding.shape[1] - 1) for embedding in (given, own))
    return {**state, POSITIONS: resize(given, (new, new), (old, old), "bicubic")}


def _download(pretrained: str) -> Path:
    from mmengine.runner.checkpoint import get_external_models

    models: dict[str, str] = get_external_models()
    name = pretrained.removeprefix(OPEN_MMLAB)
    if name not in models:
        known = ", ".join(sorted(model for model in models if re.fullmatch(r"resnet\d+_v1c", model)))
        raise InputError(f"segmentor.pretrained={pretrained}: no such model; use one of {known}, or a file")
    return _fetch(pretrained, models[name])


def _fetch(pretrained: str, url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        print(f"pretrained backbone: downloading {url}", flush=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (URLError, OSError) as error:
            raise InputError(
                f"segmentor.pretrained={pretrained}: cannot be downloaded ({error}); fetch {url} and name the file, "
                "or train from scratch with segmentor.pretrained=none"
            ) from error
    return path


def _from_hub(pretrained: str) -> Path:
    """A model's weights file from the Hugging Face Hub, or its cache: safetensors if there is one, else PyTorch's."""
    from huggingface_hub import hf_hub_download

    reason = ""
    for name in ("model.safetensors", "pytorch_model.bin"):
        try:
            return Path(hf_hub_download(pretrained, name))
        # The client raises many kinds of errors: network, names, permissions.
        except Exception as error:
            reason = reason or first_line(error)
    raise InputError(
        f"segmentor.pretrained={pretrained}: no such file, and no weights on the hub ({reason}); name a file, a hub "
        "id, or none"
    )

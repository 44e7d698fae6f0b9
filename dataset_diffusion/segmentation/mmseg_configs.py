"""Any segmentor that mmsegmentation ships a config for, fitted to the labels and the crop size of a training run.

Refused, by name: models that are not an encoder-decoder (promptable, depth), parts of mmdet or mmpretrain, and parts
that need mmcv's compiled operators, which this project does without.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.settings.protocol import TestProtocol
from dataset_diffusion.types import IGNORE_INDEX

SEGMENTORS = ("EncoderDecoder", "CascadeEncoderDecoder")
BOUNDARY_HEADS = ("STDCHead",)
"""Auxiliary heads whose classes are edge and non-edge, whatever the labels are."""
PADDING = {"size_divisor": 32}
"""For networks that only accept some image sizes: images are padded, and the padding's scores are dropped."""
Node = dict[str, Any]


@dataclass(frozen=True)
class MmsegArchitecture:
    """`model` is the model part of an mmengine config, as plain values, fitted to `num_labels`."""

    name: str
    model: Node = field(repr=False)
    num_labels: int


@dataclass(frozen=True)
class Published:
    """The pretrained weights that a config names: where they are, and the type of the network that they are for.

    That network is the backbone, or one that the backbone is built around (ICNet's ResNet).
    """

    source: str
    part: str


def read_mmseg_config(name: str) -> tuple[Node, Published | None]:
    """The model of a shipped config ("segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512") or of a file.

    Returns the model as plain values without pretrained weights, and the pretrained weights that the config names for
    its backbone, if any. Raises InputError if the config is unknown or cannot be trained here.
    """
    import_mmseg()
    import mmseg
    from mmengine.config import Config

    shipped = Path(mmseg.__file__).parent / ".mim" / "configs"
    path = Path(name) if name.endswith(".py") else shipped / f"{name}.py"
    setting = f"segmentor.config={name}"
    if not path.is_file():
        raise InputError(
            f"{setting}: no such config; name a .py file, or one of mmsegmentation's{_near(name, shipped)}"
        )
    try:
        config = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:
        raise InputError(f"{setting}: cannot be read ({first_line(error)})") from error
    model = config.get("model")
    if not isinstance(model, Mapping):
        raise InputError(f"{setting}: has no model; name the config of a segmentor")
    content: Node = _plain(model)
    _require_trainable(setting, content, config.get("custom_imports"))
    return content, _strip_pretrained(content)


def fit(
    name: str, model: Node, *, num_labels: int, crop_size: int, avg_non_ignore: bool, sync_batch_norm: bool
) -> MmsegArchitecture:
    """A config's architecture for `num_labels` labels.

    It is tried on two crops and on an image of an odd size, which some networks only accept when it is padded. Raises
    InputError if it cannot be built, trained or tested.
    """
    fitted = copy.deepcopy(model)
    if "data_preprocessor" in fitted:
        fitted["data_preprocessor"].pop("test_cfg", None)
    _fit_heads(fitted, num_labels, avg_non_ignore)
    _fit_sizes(fitted, crop_size)
    architecture = MmsegArchitecture(name, fitted, num_labels)
    from dataset_diffusion.segmentation.model import build_segmentor

    try:
        build_segmentor(mmseg_model_config(architecture, TestProtocol(), sync_batch_norm=sync_batch_norm))
    except Exception as error:
        # Parts fail in many ways when an operator or a library is missing; the reason is always in the first line.
        raise InputError(
            f"segmentor.config={name}: cannot be built here ({first_line(error)}); use a config that needs neither "
            "compiled operators nor another library"
        ) from error
    with torch.random.fork_rng(devices=[]):
        try:
            _try_loss(architecture, crop_size)
        except Exception as error:
            raise InputError(
                f"segmentor.config={name}: cannot be trained on crops of crop_size={crop_size} ({first_line(error)}); "
                "use another config, or larger crops"
            ) from error
        try:
            _try_prediction(architecture, crop_size)
        except Exception:
            fitted["data_preprocessor"] = {**(fitted.get("data_preprocessor") or {}), "test_cfg": PADDING}
            try:
                _try_prediction(architecture, crop_size)
            except Exception as error:
                raise InputError(
                    f"segmentor.config={name}: cannot be tested on images of any size ({first_line(error)}); "
                    "use another config"
                ) from error
    return architecture


def _try_loss(architecture: MmsegArchitecture, crop_size: int) -> None:
    model = _trial_model(architecture, crop_size)
    labels = torch.randint(architecture.num_labels, (1, crop_size, crop_size))
    images = [_trial_image(crop_size, crop_size, labels) for _ in range(2)]
    batch = {name: [image[name] for image in images] for name in images[0]}
    model.train()
    model(**model.data_preprocessor(batch, True), mode="loss")


@torch.inference_mode()
def _try_prediction(architecture: MmsegArchitecture, crop_size: int) -> None:
    image = _trial_image(crop_size - 3, crop_size + 29)
    _trial_model(architecture, None).eval().test_step({name: [value] for name, value in image.items()})


def _trial_model(architecture: MmsegArchitecture, crop_size: int | None) -> Any:
    from dataset_diffusion.segmentation.model import build_segmentor

    config = mmseg_model_config(architecture, TestProtocol(), crop_size=crop_size, sync_batch_norm=False)
    return build_segmentor(config)


def _trial_image(height: int, width: int, labels: Tensor | None = None) -> dict[str, Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo={"ori_shape": (height, width), "img_shape": (height, width)})
    if labels is not None:
        sample.gt_sem_seg = PixelData(data=labels)
    return {"inputs": torch.zeros(3, height, width, dtype=torch.uint8), "data_samples": sample}


def mmseg_model_config(
    architecture: MmsegArchitecture, protocol: TestProtocol, *, crop_size: int | None = None, sync_batch_norm: bool
) -> Node:
    """The model part of an mmengine config."""
    from dataset_diffusion.segmentation.model import test_config

    model: Node = copy.deepcopy(architecture.model)
    for node in _nodes(model):
        if sync_batch_norm and node.get("type") == "BN":
            node["type"] = "SyncBN"
    preprocessor = dict(model.get("data_preprocessor") or {"type": "SegDataPreProcessor"})
    preprocessor |= {"type": "mmseg.SegDataPreProcessor", "seg_pad_val": IGNORE_INDEX, "size_divisor": None}
    preprocessor["size"] = (crop_size, crop_size) if crop_size else None
    model["data_preprocessor"] = preprocessor
    model["type"] = f"mmseg.{model['type'].removeprefix('mmseg.')}"
    model["test_cfg"] = test_config(protocol)
    return model


def require_known_types(model: Node) -> None:
    """Raise ValueError unless all parts are registered: mmengine would import whatever any other name points to."""
    import_mmseg()
    from mmseg.registry import MODELS

    for node in _nodes(model, without_initialisers=True):
        kind = node.get("type")
        if kind is None:
            continue
        if not isinstance(kind, str) or "." in kind.removeprefix("mmseg."):
            raise ValueError(f"not a part of mmsegmentation: {kind}")
        if not _is_registered(kind.removeprefix("mmseg."), MODELS):
            raise ValueError(f"not a part of mmsegmentation: {kind}")


def _is_registered(kind: str, registry: Any) -> bool:
    while registry is not None:
        if kind in registry.module_dict:
            return True
        registry = registry.parent
    # Samplers, assigners and activations have registries in mmengine that hold only such parts.
    from mmseg.registry import TASK_UTILS

    return kind in TASK_UTILS.module_dict or kind in _sampler_types()


def _sampler_types() -> tuple[str, ...]:
    return ("OHEMPixelSampler",)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value


def _nodes(value: Any, without_initialisers: bool = False) -> Iterator[Node]:
    """All mappings in a config, outermost first. Initialisers can be left out: they are not built with a model."""
    entries: Iterable[Any] = value if isinstance(value, list | tuple) else ()
    if isinstance(value, dict):
        yield value
        entries = [entry for key, entry in value.items() if key != "init_cfg" or not without_initialisers]
    for entry in entries:
        yield from _nodes(entry, without_initialisers)


def _require_trainable(setting: str, model: Node, custom_imports: Any) -> None:
    kinds = [node["type"] for node in _nodes(model) if isinstance(node.get("type"), str)]
    imports = list((custom_imports or {}).get("imports", []))
    for library in ("mmdet", "mmpretrain"):
        if foreign := [kind for kind in (*kinds, *imports) if kind.startswith(f"{library}.")]:
            raise InputError(f"{setting}: needs {foreign[0]}, a part of {library}, which is not used here; use another")
    if model.get("type") not in SEGMENTORS or "decode_head" not in model:
        raise InputError(
            f"{setting}: is a {model.get('type')}, not an encoder with a segmentation head ({', '.join(SEGMENTORS)})"
        )
    try:
        require_known_types(model)
    except ValueError as error:
        raise InputError(f"{setting}: {error}; use a shipped config, or a file with only such parts") from error
    heads = [node["type"] for node in _heads(model)]
    if no_labels := [kind for kind in heads if kind.endswith("DepthHead")]:
        raise InputError(f"{setting}: its head {no_labels[0]} predicts depth, not labels; name a segmentor")


def _heads(model: Node) -> Iterator[Node]:
    for name in ("decode_head", "auxiliary_head"):
        heads = model.get(name) or []
        yield from heads if isinstance(heads, list | tuple) else [heads]


def _strip_pretrained(model: Node) -> Published | None:
    """Remove all weights to download; return those that the backbone, or the network in it, was to start from."""
    backbone = model.get("backbone", {})
    published = [Published(model["pretrained"], backbone["type"])] if model.get("pretrained") else []
    inside = [id(node) for node in _nodes(backbone)]
    for node in _nodes(model):
        init = node.get("init_cfg")
        sources = [node.pop("pretrained", None)]
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            sources.append(node.pop("init_cfg").get("checkpoint"))
        if id(node) in inside:
            published.extend(Published(source, node["type"]) for source in sources if source)
    return published[0] if published else None


def _fit_heads(model: Node, num_labels: int, avg_non_ignore: bool) -> None:
    for node in _nodes(model):
        # Only runs on several GPUs need synchronised layers; they get them back when the model is built.
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
    for head in _heads(model):
        if head["type"] in BOUNDARY_HEADS:
            continue
        for node in _nodes(head):
            if "num_classes" in node:
                node["num_classes"] = num_labels
            if node.get("type") == "CrossEntropyLoss" and not node.get("use_sigmoid"):
                node["avg_non_ignore"] = avg_non_ignore
            # Class weights for another dataset.
            if node.get("class_weight") is not None:
                node["class_weight"] = None
        if "num_classes" in head:
            head["ignore_index"] = IGNORE_INDEX
        head.pop("out_channels", None)


def _fit_sizes(model: Node, crop_size: int) -> None:
    backbone = model.get("backbone", {})
    as_given: Callable[[Any], Any] = lambda old: crop_size if isinstance(old, int) else (crop_size, crop_size)  # noqa: E731
    if "img_size" in backbone:
        backbone["img_size"] = as_given(backbone["img_size"])


def _near(name: str, shipped: Path) -> str:
    import difflib

    known = [str(file.relative_to(shipped).with_suffix("")) for file in shipped.glob("*/*.py")]
    known = [entry for entry in known if not entry.startswith("_base_")]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f", such as {near[0]}" if near else ""

"""Weight files: read strictly, written atomically."""

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dataset_diffusion import __version__
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically
from dataset_diffusion.segmentation.architectures import AnyArchitecture, describe_architecture, read_architecture
from dataset_diffusion.settings.protocol import TEST_MODES, TestProtocol

SEGMENTOR_FILE = "segmentor.pth"
LAST_CHECKPOINT_FILE = "last_checkpoint"
ITERATION_FILE = re.compile(r"iter_(\d+)\.pth")
# PyTorch's messages about a pickle that names a class or function other than those that build tensors.
FORBIDDEN_CONTENT = re.compile(
    r"Unsupported (?:global|class|operand)|unsupported GLOBAL|Trying to instantiate|is blocked"
)
# torch documents no exceptions for broken files: it raises whatever its reader stumbles on.
UNREADABLE = (
    *(RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError),
    *(zipfile.BadZipFile, SafetensorError),
)


@dataclass(frozen=True)
class SegmentorFile:
    """The content of `segmentor.pth`: everything needed to predict, and nothing of the training state.

    `label_names` has a name for each label, and `palette` an RGB colour. `config` is the text of the training settings,
    for the reader; nothing in it is ever run. `protocol` says how the network sees an image; older files without one
    are for images at their own size.
    """

    state_dict: dict[str, Tensor]
    architecture: AnyArchitecture
    label_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    config: str
    version: str = __version__
    protocol: TestProtocol = field(default_factory=TestProtocol)


def load_strictly(path: Path, map_location: str | torch.device = "cpu") -> Any:
    """`torch.load` of tensors and plain Python values; a file that holds anything else is refused unread.

    A `.safetensors` file, which can hold nothing but tensors, is read as a state dict. Raises InputError if the file
    is missing, is not a checkpoint, or would run code when unpickled.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device=str(map_location))
        return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; name a checkpoint") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; name the checkpoint file in it") from error
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read; change its permissions") from error
    except pickle.UnpicklingError as error:
        if FORBIDDEN_CONTENT.search(str(error)):
            raise InputError(
                f"{path}: contains more than weights and could run code, so it was not read; "
                "use a file with only tensors"
            ) from error
        raise _not_a_checkpoint(path) from error
    except UNREADABLE as error:
        raise _not_a_checkpoint(path) from error


def _not_a_checkpoint(path: Path) -> InputError:
    return InputError(f"{path}: is not a checkpoint, or is damaged; name a complete .pth file")


def save_atomically(content: Any, path: Path) -> None:
    """`torch.save` that writes the file atomically: a killed process leaves the old file, or none."""
    stream = io.BytesIO()
    torch.save(content, stream)
    write_atomically(path, stream.getvalue())


def save_segmentor(segmentor: SegmentorFile, path: Path) -> None:
    """Write the slim file: plain values and tensors only, so that `torch.load(path, weights_only=True)` reads it."""
    content = {
        "state_dict": {name: tensor.detach().cpu() for name, tensor in segmentor.state_dict.items()},
        "architecture": describe_architecture(segmentor.architecture),
        "label_names": list(segmentor.label_names),
        "palette": [list(colour) for colour in segmentor.palette],
        "config": segmentor.config,
        "version": segmentor.version,
        "protocol": asdict(segmentor.protocol),
    }
    save_atomically(content, path)


def read_segmentor(path: Path) -> SegmentorFile:
    """Read a slim file. Raises InputError if `save_segmentor` did not write it."""
    content = load_strictly(path)
    try:
        architecture = read_architecture(content["architecture"])
        segmentor = SegmentorFile(
            state_dict=dict(content["state_dict"]),
            architecture=architecture,
            label_names=tuple(str(name) for name in content["label_names"]),
            palette=tuple((int(red), int(green), int(blue)) for red, green, blue in content["palette"]),
            config=str(content["config"]),
            version=str(content["version"]),
            protocol=_read_protocol(content.get("protocol", {})),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path}: is not a segmentor that dd-train exported; name its {SEGMENTOR_FILE}, not a training checkpoint"
        ) from error
    if not len(segmentor.label_names) == len(segmentor.palette) == architecture.num_labels:
        raise InputError(f"{path}: its names, colours and weights disagree on the number of labels; export it again")
    return segmentor


def _read_protocol(content: Mapping[str, Any]) -> TestProtocol:
    protocol = TestProtocol(**content)
    if protocol.mode not in TEST_MODES or protocol.window < 1 or (protocol.scale and len(protocol.scale) != 2):
        raise ValueError(f"not a test protocol: {protocol}")
    return protocol


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to resume from, or None.

    `last_checkpoint` holds a bare name, so that a moved folder works; of a path that another tool wrote into it, only
    the file name counts. If that file is missing, the checkpoint with the most iterations is used.
    """
    pointer = folder / LAST_CHECKPOINT_FILE
    if pointer.is_file():
        named = folder / Path(pointer.read_text(encoding="utf-8").strip()).name
        if named.is_file():
            return named
    found = checkpoint_iterations(folder)
    return found[max(found)] if found else None


def checkpoint_iterations(folder: Path) -> dict[int, Path]:
    """The checkpoints `iter_N.pth` in a folder, keyed by N."""
    matches = ((ITERATION_FILE.fullmatch(file.name), file) for file in folder.glob("iter_*.pth"))
    return {int(match[1]): file for match, file in matches if match}


def to_plain(value: Any) -> Any:
    """The same value with NumPy scalars as Python numbers and mappings as dicts. Raises TypeError for other kinds.

    A checkpoint of such values can be read with `weights_only=True`, without allowing any more types.
    """
    if isinstance(value, Tensor | str | bool | int | float) or value is None:
        # bool and float subclasses (np.float64 is a float) become what they derive from.
        return float(value) if isinstance(value, float) else value
    if isinstance(value, Mapping):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_plain(entry) for entry in value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a checkpoint cannot hold {type(value)}")

"""`evidence/<id>.npy`: a sample's class evidence, from which masks with other settings are made without sampling.

A float16 array [len(POWERS), K, h, w]: the evidence of each class at each power of the self-attention, at the
self-attention's resolution, divided by its largest value (masks do not depend on its scale). 32 x 32 maps take 8 KiB
per class.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically

EVIDENCE_FOLDER = "evidence"
POWERS = (0, 1, 2, 4)


def evidence_path(folder: Path, sample_id: str) -> Path:
    """The path of a sample's evidence."""
    return folder / EVIDENCE_FOLDER / f"{sample_id}.npy"


def write_evidence(folder: Path, sample_id: str, evidence: Sequence[Tensor]) -> None:
    """Write the evidence [K, h, w] at each of POWERS; the folder `evidence` must exist."""
    stacked = torch.stack(list(evidence)).float().cpu()
    largest = stacked.abs().amax(dim=(2, 3), keepdim=True)
    stream = io.BytesIO()
    np.save(stream, (stacked / torch.where(largest > 0, largest, 1)).half().numpy())
    write_atomically(evidence_path(folder, sample_id), stream.getvalue(), make_folder=False)


def read_evidence(folder: Path, sample_id: str, power: int) -> Tensor:
    """A sample's evidence [K, h, w] at one of POWERS, float32. Raises InputError if it cannot be read."""
    path = evidence_path(folder, sample_id)
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False)[POWERS.index(power)]).float()
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: cannot be read; masks can be remade only from folders made with keep_evidence=true"
        ) from error

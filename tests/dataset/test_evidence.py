from pathlib import Path

import pytest
import torch

from dataset_diffusion.attention.aggregate import class_evidence, evidence_at_powers
from dataset_diffusion.dataset.evidence import POWERS, read_evidence, write_evidence
from dataset_diffusion.errors import InputError
from dataset_diffusion.types import AttentionMaps

MAPS = AttentionMaps(torch.rand(5, 4, 6), torch.rand(96, 96).softmax(dim=1))
SPANS = [(1,), (2, 3)]


def test_evidence_at_powers_equals_class_evidence() -> None:
    for power, evidence in zip(POWERS, evidence_at_powers(MAPS, SPANS, POWERS), strict=True):
        if power:
            torch.testing.assert_close(evidence, class_evidence(MAPS, SPANS, power))
        assert evidence.shape == (2, 8, 12)


def test_evidence_survives_writing_except_for_its_scale(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    kept = evidence_at_powers(MAPS, SPANS, POWERS)
    write_evidence(tmp_path, "a", kept)
    for power, evidence in zip(POWERS, kept, strict=True):
        scaled = evidence / evidence.abs().amax(dim=(1, 2), keepdim=True)
        torch.testing.assert_close(read_evidence(tmp_path, "a", power), scaled, atol=1e-3, rtol=0)
    assert (tmp_path / "evidence/a.npy").stat().st_size == 128 + len(POWERS) * 2 * 96 * 2


def test_missing_evidence_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"evidence/a\.npy: cannot be read; .* keep_evidence=true"):
        read_evidence(tmp_path, "a", 1)

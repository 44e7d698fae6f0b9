import pytest
import torch

from dataset_diffusion.hardware import bfloat16_is_fast


@pytest.mark.parametrize(("half_time", "fast"), [(0.5, True), (0.9, False), (2.0, False)])
def test_bfloat16_must_be_clearly_faster_on_a_cpu(monkeypatch, half_time: float, fast: bool) -> None:
    times = {torch.bfloat16: half_time, torch.float32: 1.0}
    monkeypatch.setattr("dataset_diffusion.hardware._product_time", times.__getitem__)
    assert bfloat16_is_fast(torch.device("cpu")) is fast

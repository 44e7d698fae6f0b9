import pytest
import torch

from dataset_diffusion.errors import InputError
from dataset_diffusion.hardware import bfloat16_is_fast, find_device


@pytest.mark.parametrize(("half_time", "fast"), [(0.5, True), (0.9, False), (2.0, False), (50.0, False)])
def test_bfloat16_must_be_clearly_faster_on_a_cpu(monkeypatch, half_time: float, fast: bool) -> None:
    def product_time(dtype: torch.dtype, size: int) -> float:
        asked.append(size)
        return half_time if dtype == torch.bfloat16 else 1.0

    asked: list[int] = []
    monkeypatch.setattr("dataset_diffusion.hardware._product_time", product_time)
    assert bfloat16_is_fast(torch.device("cpu")) is fast
    # The large product would take seconds if bfloat16 is emulated.
    assert (max(asked) < 1000) is (half_time > 10)


def test_auto_is_the_first_available_kind(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert find_device("auto") == torch.device("cpu")
    assert find_device("auto", kinds=("cuda", "mps", "cpu")) == torch.device("mps")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda")
    assert find_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["", "gpu", "tpu0", "meta", "mps", "cuda:", "cuda:x", "cuda:-1", "cpu cuda"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"^a\.device={name}: must be auto, cuda, cpu, or a GPU by its number"):
        find_device(name, "a.device")


@pytest.mark.parametrize("name", ["cuda:77", "cpu:1"])
def test_missing_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"^device={name}: this machine, .* has no such device; try auto"):
        find_device(name)

"""A batch across all processes, processed in parts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper

from dataset_diffusion.errors import InputError
from dataset_diffusion.segmentation.runner import PartsTrainLoop
from dataset_diffusion.segmentation.train import train
from tests.segmentation.outcome import require_equal
from tests.segmentation.test_train import load_strictly
from tests.segmentation.tiny_voc import tiny_settings


class Line(BaseModel):
    """Mean squared error of a line: a batch's gradient is the mean of its parts' gradients."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, inputs: torch.Tensor, mode: str = "loss") -> dict[str, torch.Tensor]:
        return {"loss": self.layer(inputs).square().mean()}


class FakeRunner:
    """The parts of a runner that the loop uses."""

    def __init__(self, parts: int) -> None:
        self.model = Line()
        settings: dict[str, Any] = {"type": "PartsOptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}}
        if parts > 1:
            settings["accumulative_counts"] = parts
        self.optim_wrapper = build_optim_wrapper(self.model, settings)

    def call_hook(self, name: str, **_: Any) -> None:
        pass


@pytest.mark.parametrize("start", [0, 5])
def test_a_batch_in_parts_gives_the_same_step_as_a_whole_one(start: int) -> None:
    weights = []
    for parts in (1, 2, 4):
        runner = FakeRunner(parts)
        loop = object.__new__(PartsTrainLoop)
        loop._runner, loop._iter, loop._max_iters, loop._parts = runner, start, start + 3, parts
        # Parts must not be counted as iterations when resuming at an odd iteration.
        runner.optim_wrapper.initialize_count_status(runner.model, start, start + 3)
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            loop.run_iter({"inputs": torch.randn(8, 3, generator=generator)})
        weights.append(runner.model.layer.weight.detach().clone())
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0])


def test_a_training_in_parts_counts_iterations_not_parts(dataset_dir: Path, work_dir: Path) -> None:
    changes: dict[str, Any] = {"batch_size": 4, "accumulation_steps": 2, "iterations": 3, "checkpoint_interval": 1}
    train(tiny_settings(dataset_dir, work_dir / "whole", **changes))
    whole = load_strictly(work_dir / "whole/iter_3.pth")
    assert {int(state["step"]) for state in whole["optimizer"]["state"].values()} == {3}
    require_equal(whole["optimizer"]["param_groups"][0]["lr"], 0.0)


def test_a_batch_that_cannot_be_divided_is_refused(dataset_dir: Path, work_dir: Path, monkeypatch) -> None:
    settings = tiny_settings(dataset_dir, work_dir, batch_size=6)
    assert [settings.images_per_process(count) for count in (1, 3)] == [6, 2]
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match=r"^batch_size=6: must be a multiple of 4, for 4 processes with accumulation_"):
        train(settings)
    monkeypatch.setenv("WORLD_SIZE", "6")
    with pytest.raises(InputError, match=r"^batch_size=6: must be 12 or more: batch normalisation"):
        train(settings)

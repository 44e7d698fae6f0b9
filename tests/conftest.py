"""Applies to every test: no network, one thread, fixed seeds, and the markers `gpu` and `slow`."""

import os

# The libraries read these when first imported, here and in the processes that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import random

import numpy as np
import pytest
import torch

from tests.labelled_folders import make_coco, make_voc  # noqa: F401  (fixtures for several test folders)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without_gpu = pytest.mark.skip(reason="needs a CUDA GPU")
    without_slow = pytest.mark.skip(reason="takes minutes; set RUN_SLOW=1 to run it")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(without_gpu)
        if item.get_closest_marker("slow") and os.environ.get("RUN_SLOW") != "1":
            item.add_marker(without_slow)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Each test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

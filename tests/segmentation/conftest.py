import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.segmentation.tiny_voc import write_tiny_voc


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_voc(tmp_path_factory.mktemp("data") / "voc")


@pytest.fixture
def work_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder to train in, deleted right after the test because checkpoints are large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path)

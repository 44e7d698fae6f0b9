"""The settings of `dd-train`, and its command line up to where a model would be built."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from dataset_diffusion.cli.train import main
from dataset_diffusion.errors import InputError
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.fields import setting_names
from dataset_diffusion.settings.train import TrainSettings
from tests.segmentation.tiny_voc import write_tiny_voc


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(configs_dir() / "train"), version_base="1.3"):
        return compose("config", list(overrides))


def settings(*overrides: str) -> TrainSettings:
    return to_settings(TrainSettings, composed(*overrides))


@pytest.mark.parametrize("experiment", ["toy", "voc", "coco", "voc_real", "voc_mixed", "coco_real", "coco_mixed"])
def test_experiments_are_complete_and_valid(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    to_settings(TrainSettings, config)
    # Settings missing from the files could not be given on the command line. Other segmentors' settings are exempt.
    names = [name for name in setting_names(TrainSettings) if not name.startswith("segmentor.")]
    missing = [name for name in names if OmegaConf.select(config, name, default="?") == "?"]
    assert missing == []


def test_the_toy_experiment_is_the_default() -> None:
    assert composed() == composed("experiment=toy")


def test_the_commands_find_each_others_files() -> None:
    toy = settings()
    with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
        assert toy.dataset_dir == compose("config").output_dir
    with initialize_config_dir(str(configs_dir() / "eval"), version_base="1.3"):
        assert compose("config").checkpoint == f"{toy.work_dir}/segmentor.pth"


@pytest.mark.parametrize(("experiment", "iterations"), [("voc", 20_000), ("coco", 40_000)])
def test_the_papers_experiments_have_its_schedule(experiment: str, iterations: int) -> None:
    paper = settings(f"experiment={experiment}")
    assert paper.iterations == iterations
    assert (paper.lr, paper.backbone_lr_mult, paper.weight_decay, paper.clip_norm) == (1e-4, 0.1, 1e-4, 0.01)
    assert (paper.crop_size, paper.batch_size, paper.scale_range) == (512, 8, [0.5, 2.0])
    assert (paper.segmentor.base_channels, paper.segmentor.output_stride) == (64, 8)
    assert paper.segmentor.depth == 101
    assert paper.segmentor.aspp_dilations == [1, 12, 24, 36]
    assert paper.segmentor.pretrained == "open-mmlab://resnet101_v1c"
    assert not paper.self_training
    assert paper.protocol.scale == (2048, 512)


@pytest.mark.parametrize("depth", [18, 50, 101])
def test_segmentors_are_chosen_by_name(depth: int) -> None:
    chosen = settings("experiment=voc", f"segmentor=deeplabv3_r{depth}").segmentor
    assert chosen.depth == depth
    assert chosen.pretrained == f"open-mmlab://resnet{depth}_v1c"
    assert settings("experiment=voc", f"segmentor=deeplabv3_r{depth}", "segmentor.pretrained=none").iterations == 20_000


def test_the_toy_network_is_small_and_starts_from_scratch() -> None:
    toy = settings()
    assert toy.protocol.scale is None
    assert (toy.segmentor.depth, toy.segmentor.pretrained, toy.crop_size) == (18, "none", 128)
    assert settings("segmentor=deeplabv3_r50").segmentor.depth == 50


def test_self_training_is_one_setting() -> None:
    assert settings("self_training=true").self_training


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("iterations=0", "iterations=0: must be 1 or more"),
        ("batch_size=1", "batch_size=1: must be 2 or more"),
        ("accumulation_steps=3", "batch_size=8: must be a multiple of 3, for 1 process with accumulation_steps=3"),
        ("lr=0", "lr=0.0: must be more than 0"),
        ("lr=fast", "lr=fast: must be a number"),
        ("clip_norm=-1", "clip_norm=-1.0: must be more than 0"),
        ("weight_decay=-1", "weight_decay=-1.0: must be 0 or more"),
        ("ema_horizon=0", r"ema_horizon=0.0: must lie in \(0, 1\]"),
        ("self_training_threshold=1.5", r"self_training_threshold=1.5: must lie in \[0, 1\]"),
        ("precision=float16", "precision=float16: must be one of auto, float32, bfloat16"),
        ("crop_size=8", "crop_size=8: must be 32 or more"),
        ("test_scale=512", "test_scale=512: must be own, or the longer and the shorter side"),
        ("test_scale=512x2048", "test_scale=512x2048: must be own, or the longer"),
        ("test_mode=crop", "test_mode=crop: must be one of whole, slide"),
        ("segmentor=mmseg", "segmentor.config=null: name one of mmsegmentation's"),
        ("segmentor.depth=34", "segmentor.depth=34: must be one of 18, 50, 101"),
        ("segmentor.base_channels=33", "segmentor.base_channels=33: must be even, in 8 ... 256"),
        ("segmentor.output_stride=32", "segmentor.output_stride=32: must be one of 8, 16"),
        ("scale_range=[2,1]", r"scale_range=\[2.0, 1.0\]: must be the smallest and the largest"),
        ("scale_range=[1]", r"scale_range=\[1.0\]: must be the smallest and the largest"),
        ("segmentor.aspp_dilations=[]", r"segmentor.aspp_dilations=\[\]: must be a list"),
        ("+learning_rate=1", "learning_rate: no such setting"),
        ("dataset_dir=''", "dataset_dir=: name a folder"),
    ],
)
def test_wrong_settings_are_named(override: str, complaint: str) -> None:
    with pytest.raises(InputError, match=rf"^{complaint}"):
        settings(override)


@pytest.fixture
def dd_train(monkeypatch, tmp_path, capsys) -> Callable[..., tuple[int, str]]:
    """Runs `dd-train` with the given arguments in an empty folder; returns its status and stderr."""
    working_dir = tmp_path / "working_dir"
    working_dir.mkdir()
    monkeypatch.chdir(working_dir)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dd-train", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert list(working_dir.iterdir()) == []
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


def test_wrong_input_ends_with_one_line(dd_train, tmp_path: Path) -> None:
    data = write_tiny_voc(tmp_path / "voc", num_images=2)
    assert dd_train("lr=-1") == (2, "dd-train: error: lr=-1.0: must be more than 0\n")
    status, errors = dd_train("segmentor.num_queries=3")
    assert (status, errors.count("\n")) == (2, 1)
    assert "segmentor.num_queries: is not a setting of the chosen configs" in errors
    status, errors = dd_train("data.train.real.root=none", f"dataset_dir={data}")
    assert (status, errors.count("\n")) == (2, 1)
    assert "data.train.real.root=none: no such folder" in errors
    status, errors = dd_train("segmentor=unet")
    assert (status, errors.count("\n")) == (2, 1)
    assert "deeplabv3_r101, deeplabv3_r18, deeplabv3_r50, mask2former_r50, mmseg" in errors
    status, errors = dd_train(f"dataset_dir={data}", "segmentor.pretrained=none.pth")
    assert status == 2
    assert (
        errors
        == "dd-train: error: segmentor.pretrained=none.pth: no such file; name one, or write none or open-mmlab://NAME\n"
    )


def test_all_faults_in_the_data_are_listed(dd_train, tmp_path: Path) -> None:
    data = write_tiny_voc(tmp_path / "voc", num_images=3)
    for number in (0, 2):
        (data / f"SegmentationClass/image_{number}.png").unlink()
    status, errors = dd_train(f"dataset_dir={data}")
    assert status == 2
    *faults, last = errors.splitlines()
    assert [number for number in range(3) if any(f"image_{number}.png" in fault for fault in faults)] == [0, 2]
    assert last.startswith(f"dd-train: error: {data}: 2 faults")


def test_help_does_not_import_torch() -> None:
    code = "import sys, dataset_diffusion.cli.train as t; sys.argv = ['dd-train', '--help']; t.main()"
    check = "; assert not {'torch', 'mmengine', 'mmseg'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", f"{code}{check}"], capture_output=True, text=True, check=True)
    for part in ("self_training=", "torchrun", "resume=", "segmentor.pretrained="):
        assert part in result.stdout

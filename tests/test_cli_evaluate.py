import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.cli.evaluate import main
from dataset_diffusion.segmentation.checkpoints import SegmentorFile, save_segmentor
from dataset_diffusion.segmentation.model import Architecture, build_segmentor, init_weights, segmentor_config
from dataset_diffusion.vocabulary import load_vocabulary


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {}
    for name in ("voc", "coco"):
        vocabulary = load_vocabulary(name)
        torch.manual_seed(0)
        architecture = Architecture(18, True, (1, 2), len(vocabulary.label_names))
        model = build_segmentor(segmentor_config(architecture))
        init_weights(model)
        paths[name] = folder / f"{name}.pth"
        save_segmentor(
            SegmentorFile(model.state_dict(), architecture, vocabulary.label_names, vocabulary.palette, ""), paths[name]
        )
    return paths


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    Image.fromarray(image).save(root / "JPEGImages/2007_000033.jpg")
    Image.fromarray(np.full((40, 48), 15, dtype=np.uint8)).save(root / "SegmentationClass/2007_000033.png")
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000033\n")
    return tmp_path


@pytest.fixture
def dd_eval(monkeypatch, tmp_path, capsys):
    """Runs `dd-eval` with the given arguments in an empty folder; returns its status, stdout and stderr."""
    working_dir = tmp_path / "working_dir"
    working_dir.mkdir()
    monkeypatch.chdir(working_dir)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dd-eval", *arguments])
        status = 0
        try:
            main()
        except SystemExit as error:
            status = int(error.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_results_are_written_next_to_the_checkpoint(dd_eval, checkpoints, voc):
    status, out, _ = dd_eval(f"checkpoint={checkpoints['voc']}", "dataset=voc", f"data_root={voc}", "device=cpu")

    assert status == 0
    assert "aeroplane" in out
    record = json.loads((checkpoints["voc"].parent / "eval_voc" / "metrics.json").read_text())
    assert record["num_images"] == 1
    assert record["num_pixels"] == 40 * 48
    assert record["settings"]["data_root"] == str(voc)
    assert list(Path.cwd().iterdir()) == [], "something else was written"


def test_tta_results_have_their_own_folder(dd_eval, checkpoints, voc):
    arguments = (f"checkpoint={checkpoints['voc']}", "dataset=voc", f"data_root={voc}", "device=cpu")
    status, _, _ = dd_eval(*arguments, "tta=true", "save_predictions=true")
    assert status == 0
    folder = checkpoints["voc"].parent / "eval_voc_tta"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "overlay.png", "predictions"]


def test_help_shows_the_settings(dd_eval):
    status, out, _ = dd_eval("--help")
    assert status == 0
    assert "dataset=coco|folder|toy|voc" in out
    assert "checkpoint=runs/toy/segmentor.pth" in out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((), "checkpoint=runs/toy/segmentor.pth: no such file; run dd-train"),
        (("dataset=cityscapes",), "dataset=cityscapes: must be one of coco, folder, toy, voc"),
        (("dataset=null",), "dataset=null: must be one of coco, folder, toy, voc"),
        (("tta=maybe",), "tta=maybe: must be true or false"),
        (("dataset=voc",), "data_root=null: name the folder of dataset=voc"),
        (("dataset.split=train",), "dataset.split=train: the toy dataset only has the split val"),
        (("chekpoint=x",), "did you mean checkpoint?"),
        (("checkpoint={voc}", "dataset=voc", "data_root=/nowhere"), "data_root=/nowhere: no such folder"),
        (("checkpoint={voc}", "dataset=voc", "data_root=."), "has no VOCdevkit/VOC2012/ImageSets/Segmentation"),
        (("checkpoint={voc}", "dataset=coco", "data_root=."), "instances_val2017.json: is missing; unpack val2017.zip"),
        (("checkpoint={voc}", "dataset=folder", "data_root=."), "val.txt: no such file"),
        (("checkpoint={coco}", "dataset=voc", "data_root={root}"), "coco.pth has 81 labels, but dataset=voc has 21"),
        (("checkpoint={junk}", "dataset=voc", "data_root={root}"), "junk.pth: "),
        (("checkpoint={voc}", "dataset=voc", "data_root={root}", "device=tpu9"), "device=tpu9"),
        # Refused before the first image is predicted, not after the last, so no progress bar is shown.
        (
            ("checkpoint={voc}", "dataset=voc", "data_root={root}", "output_dir={junk}"),
            "junk.pth: is a file; name a folder",
        ),
        (("checkpoint={voc}", "dataset=voc", "data_root={root}", "output_dir={junk}/a"), "a: cannot be written: Not a"),
    ],
)
def test_errors_take_one_line(dd_eval, checkpoints, voc, arguments, fault):
    junk = voc / "junk.pth"
    junk.write_bytes(b"no checkpoint")
    places = {**checkpoints, "root": voc, "junk": junk}
    status, out, err = dd_eval(*(argument.format(**places) for argument in arguments))
    assert status == 2
    assert err.startswith("dd-eval: error: ")
    assert fault in err
    assert err.count("\n") == 1
    assert out == ""
    assert list(Path.cwd().iterdir()) == []

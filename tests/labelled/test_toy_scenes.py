import shutil

import numpy as np
import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.labelled import toy_scenes
from dataset_diffusion.labelled.toy_scenes import toy_class_ids, toy_validation_set
from dataset_diffusion.labelled.voc_style import VocDataset
from dataset_diffusion.toy.scenes import ALL_CLASSES, TRAINING_SEEDS, VALIDATION_SEEDS, render_scene
from dataset_diffusion.vocabulary import load_vocabulary

SEEDS = VALIDATION_SEEDS[:4]


def test_the_folder_has_the_scenes_of_its_seeds(tmp_path):
    root = toy_validation_set(tmp_path / "cache", ALL_CLASSES, SEEDS)

    folder = VocDataset("toy", root, "val", load_vocabulary("voc").label_names)
    assert len(folder.ids) == 4
    for index, seed in enumerate(SEEDS):
        image, labels = folder.load(index)
        scene = render_scene(seed)
        assert np.array_equal(labels, scene.label_mask)
        assert np.abs(image.astype(int) - scene.image).mean() < 6, "JPEG loses too much"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [root.name]


def test_chosen_classes_get_scenes_without_the_others(tmp_path):
    names = ("background", "dining table", "cat")
    class_ids = toy_class_ids("dataset=toy", names)
    assert class_ids == (11, 8)
    folder = VocDataset("toy", toy_validation_set(tmp_path, class_ids, SEEDS), "val", names)
    seen = set()
    for index, seed in enumerate(SEEDS):
        image, labels = folder.load(index)
        scene = render_scene(seed, among=class_ids)
        assert np.abs(image.astype(int) - scene.image).mean() < 6
        for label, class_id in enumerate(class_ids, start=1):
            assert np.array_equal(labels == label, scene.label_mask == class_id)
        seen |= set(np.unique(labels))
    assert seen == {0, 1, 2}


def test_vocs_own_names_are_known():
    assert toy_class_ids("val=toy", load_vocabulary("voc").label_names) == tuple(ALL_CLASSES)


def test_a_class_that_the_toy_world_cannot_draw_is_named():
    with pytest.raises(InputError, match=r"^dataset=toy: the toy world does not draw 'zebra' \(label 2 in"):
        toy_class_ids("dataset=toy", ("background", "cat", "zebra"))


def test_the_folder_is_made_only_once(tmp_path, monkeypatch):
    root = toy_validation_set(tmp_path, ALL_CLASSES, SEEDS)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    drawn = []
    monkeypatch.setattr(toy_scenes, "render_scene", lambda seed, among: drawn.append(seed) or render_scene(seed))
    assert toy_validation_set(tmp_path, ALL_CLASSES, SEEDS) == root
    assert drawn == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert toy_validation_set(tmp_path, ALL_CLASSES, VALIDATION_SEEDS[:2]) != root
    assert drawn == list(VALIDATION_SEEDS[:2])


def test_changed_drawings_get_another_folder(tmp_path, monkeypatch):
    digest = toy_scenes._digest(ALL_CLASSES, SEEDS)
    assert digest == toy_scenes._digest(ALL_CLASSES, SEEDS)
    package = tmp_path / "package"
    shutil.copytree(toy_scenes.PACKAGE_DIR / "toy", package / "toy", ignore=shutil.ignore_patterns("model"))
    monkeypatch.setattr(toy_scenes, "PACKAGE_DIR", package)
    assert toy_scenes._digest(ALL_CLASSES, SEEDS) == digest
    (package / "toy" / "drawings" / "people.py").write_text("# another way to draw people\n")
    assert toy_scenes._digest(ALL_CLASSES, SEEDS) != digest


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
    def render_one(seed: int, among: range) -> None:
        if seed == SEEDS[2]:
            raise KeyboardInterrupt
        return render_scene(seed)

    monkeypatch.setattr(toy_scenes, "render_scene", render_one)
    with pytest.raises(KeyboardInterrupt):
        toy_validation_set(tmp_path, ALL_CLASSES, SEEDS)
    assert list(tmp_path.iterdir()) == []


def test_another_run_can_finish_first(tmp_path, monkeypatch):
    move = toy_scenes._move_unless_there

    def move_later(unfinished, root):
        (root / "made by the other run").mkdir(parents=True)
        move(unfinished, root)

    monkeypatch.setattr(toy_scenes, "_move_unless_there", move_later)
    root = toy_validation_set(tmp_path, ALL_CLASSES, SEEDS)
    assert [path.name for path in root.iterdir()] == ["made by the other run"]
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


def test_the_500_default_scenes_are_never_trained_on():
    (default,) = toy_validation_set.__defaults__
    assert len(default) == 500
    assert not any(seed in TRAINING_SEEDS for seed in default)


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match=r"cache_dir=.*cache: cannot be written .*; choose another"):
        toy_validation_set(tmp_path / "cache", ALL_CLASSES, SEEDS)

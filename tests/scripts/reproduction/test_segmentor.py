"""Training sets for the second metric, and a whole job with a few iterations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataset_diffusion.files import write_atomically
from dataset_diffusion.images import encode_image
from dataset_diffusion.settings.generate import GenerateSettings
from dataset_diffusion.toy.scenes import render_scene
from scripts.reproduction.archive import CLASS_PROMPT, ArchivedAttention
from scripts.reproduction.images import decode_scenes, plan_decoding
from scripts.reproduction.masks import Thresholds
from scripts.reproduction.scale import Scale
from scripts.reproduction.segmentor import (
    SegmentorJob,
    most_confident,
    run_job,
    training_items,
    training_settings,
)
from scripts.reproduction.training_sets import TrainingItem, rendered_seeds
from scripts.reproduction.variants import REFERENCE, Variant

SCALE = Scale(
    seeds=1, groups=1, scenes=1, calibration=1, images=4, iterations=2, validation=2, judge_scenes=2, judge_iterations=2
)


def upper_half(num_classes: int = 1) -> ArchivedAttention:
    """Attention that places each class in the upper half."""
    scores = np.linspace(1, 0, 16, dtype=np.float32)[:, None].repeat(16, axis=1)
    return ArchivedAttention(
        {(CLASS_PROMPT, 16): np.stack([scores] * num_classes)[None, None]},
        {16: np.eye(256, dtype=np.float32)[None, None]},
        [1],
    )


def make_generated(folder: Path, count: int) -> None:
    """Images as GeneratedImages stores them, with attention on the upper half."""
    folder = folder / "generated" / "caption_and_classes" / "seed0"
    for index in range(count):
        name = f"{index:06d}"
        write_atomically(folder / "JPEGImages" / f"{name}.jpg", encode_image(render_scene(index).image))
        write_atomically(folder / "facts" / f"{name}.json", json.dumps({"class_ids": [index % 2 + 1]}).encode())
        upper_half().write(folder / "attention" / f"{name}.npz")


def settings() -> GenerateSettings:
    return GenerateSettings(output_dir="unused", num_images=1, seed=0, batch_size=2)


def job(folder: Path, *variants: Variant) -> SegmentorJob:
    return SegmentorJob(folder, variants, 0, Thresholds(0.5), SCALE)


@pytest.mark.parametrize(
    ("variant", "names"),
    [
        (REFERENCE, ["000000", "000001", "000002", "000003"]),
        (Variant("a", images=0.5), ["000000", "000001"]),
        (Variant("b", source="rendered", images=0.5), ["scene_100000", "scene_100001"]),
        (Variant("c", source="both", images=0.5), ["000000", "000001", "scene_100000", "scene_100001"]),
        (Variant("d", soft=True, images=0.25), ["000000low", "000000middle", "000000high"]),
    ],
)
def test_training_sets_take_images_from_their_source(tmp_path: Path, variant: Variant, names: list[str]) -> None:
    make_generated(tmp_path, 5)
    items = training_items(job(tmp_path, variant))
    assert [item.name for item in items] == names


def test_small_regions_of_training_masks_are_ignored(tmp_path: Path) -> None:
    make_generated(tmp_path, 1)
    recipe = replace(REFERENCE.recipe, least_region=0.6)  # a share of the image; the upper half is smaller
    (item,) = training_items(job(tmp_path, Variant("f", recipe=recipe, images=0.25)))
    assert set(np.unique(item.labels)) == {0, 255}


def test_recorded_scenes_pair_the_image_with_the_mask_of_its_attention(tmp_path: Path) -> None:
    seeds = rendered_seeds(0, 2)
    scenes = [render_scene(seed) for seed in seeds]
    for seed, scene in zip(seeds, scenes, strict=True):
        class_ids = {placed.class_id for placed in scene.objects}
        upper_half(len(class_ids)).write(tmp_path / "scenes" / "caption_and_classes" / f"{seed}.npz")
    items = training_items(job(tmp_path, Variant("e", source="recorded", images=0.5)))
    assert [item.name for item in items] == [f"scene_{seed}" for seed in seeds]
    for item, scene in zip(items, scenes, strict=True):
        assert np.array_equal(item.image, scene.image)
        assert 0 not in item.labels[:48]
        assert not item.labels[-48:].any()


def test_scenes_passed_through_the_autoencoder_keep_their_masks(tmp_path: Path) -> None:
    seeds = rendered_seeds(0, 2)
    for decoding in plan_decoding(settings(), tmp_path, seeds):
        decode_scenes(decoding)
    assert plan_decoding(settings(), tmp_path, seeds) == []
    items = training_items(job(tmp_path, Variant("f", source="decoded", images=0.5)))
    for item, seed in zip(items, seeds, strict=True):
        scene = render_scene(seed)
        assert np.array_equal(item.labels, scene.label_mask)
        error = np.abs(item.image.astype(float) - scene.image)
        assert 1 < error.mean() < 15  # blurred, but the same picture


def test_generated_masks_have_a_band_and_soft_ones_three_thresholds(tmp_path: Path) -> None:
    make_generated(tmp_path, 4)
    (item, *_) = training_items(job(tmp_path, REFERENCE))
    assert set(np.unique(item.labels)) == {0, 1, 255}
    soft = training_items(job(tmp_path, Variant("soft", soft=True, band=0.0)))
    low, middle, high = (np.count_nonzero(entry.labels == 1) for entry in soft[:3])
    assert low > middle > high
    assert all(set(np.unique(entry.labels)) <= {0, 1, 2} for entry in soft)


def test_the_least_confident_images_of_each_class_are_left_out() -> None:
    labels = np.zeros((1, 1), np.uint8)
    confidences = [(1, 0.9), (1, 0.5), (2, 0.2), (2, 0.3), (1, 0.8), (2, 0.1), (1, 0.7), (1, 0.6)]
    black = np.zeros((1, 1, 3), np.uint8)
    items = [TrainingItem(str(i), black, labels, (class_id,), value) for i, (class_id, value) in enumerate(confidences)]
    assert [item.name for item in most_confident(items, 0.8)] == ["0", "2", "3", "4", "6", "7"]
    assert most_confident(items, 1.0) == items


def test_training_settings_follow_the_variant(tmp_path: Path) -> None:
    plain = training_settings(job(tmp_path, REFERENCE), tmp_path)
    assert (plain.iterations, plain.segmentor.depth, plain.segmentor.base_channels) == (2, 18, 16)
    assert not plain.avg_non_ignore
    assert plain.crop_size == 64
    changed = Variant("x", avg_non_ignore=True, ema=False, self_training=True)
    settings = training_settings(job(tmp_path, changed), tmp_path)
    assert settings.avg_non_ignore
    assert settings.self_training
    assert settings.ema_horizon < 1e-6 < plain.ema_horizon


def test_a_job_trains_once_tests_each_variant_and_keeps_only_its_results(tmp_path: Path) -> None:
    make_generated(tmp_path, 4)
    one = job(tmp_path, REFERENCE, Variant("TTA", tta=True))
    assert not one.is_finished()
    run_job(one)
    assert one.is_finished()
    for variant in one.variants:
        result = one.result(variant)
        assert result is not None
        assert 0 <= result["miou"] <= 1
        assert len(result["iou"]) == 21
    others = (
        replace(one, thresholds=Thresholds(0.6)),
        replace(one, scale=replace(SCALE, iterations=3)),
        replace(one, seed=1),
    )
    assert not any(other.is_finished() for other in others)
    assert not list((tmp_path / "trainings").iterdir())

"""Scenes: the same on every machine, with correct masks and visible objects."""

import hashlib
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dataset_diffusion.toy.draw import FUR, PAINT, Pen
from dataset_diffusion.toy.drawings import CLASS_DRAWINGS, colour_words, draw_object
from dataset_diffusion.toy.drawings.backgrounds import BACKGROUND_HABITS, BACKGROUND_NAMES
from dataset_diffusion.toy.drawings.layout import Drawn, arrange, draw_placed
from dataset_diffusion.toy.scenes import (
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    VALIDATION_SEEDS,
    VOC_WORDS,
    Scene,
    SceneObject,
    choose_background,
    render_scene,
)

CLASS_IDS = range(1, 21)


@pytest.fixture(scope="module")
def some_scenes() -> list[Scene]:
    return [render_scene(seed) for seed in range(200)]


def test_a_scene_depends_only_on_its_seed(some_scenes: list[Scene]) -> None:
    again = render_scene(7)
    assert again.image.tobytes() == some_scenes[7].image.tobytes()
    assert again.label_mask.tobytes() == some_scenes[7].label_mask.tobytes()
    assert again.objects == some_scenes[7].objects
    assert again.image.tobytes() != some_scenes[8].image.tobytes()


def test_scenes_equal_those_that_models_were_trained_on() -> None:
    # Changing any drawing or choice changes this digest and makes every model and figure of the toy world stale.
    digest = hashlib.sha256()
    for seed in (0, 1, 20_000_000, 30_000_000):
        digest.update(render_scene(seed).label_mask.tobytes())
    assert digest.hexdigest() == "e589dc08f4b06eec27f2bbe6e094d212a42691f97d5f31b74cf0272a1a57be08"


def test_image_and_mask_have_the_promised_shapes_and_types() -> None:
    for size in (64, 128, 200):
        scene = render_scene(3, size=size)
        assert scene.image.shape == (size, size, 3)
        assert scene.image.dtype == np.uint8
        assert scene.label_mask.shape == (size, size)
        assert scene.label_mask.dtype == np.uint8


def test_a_scene_shows_the_same_content_at_every_size() -> None:
    small, large = render_scene(11, size=64), render_scene(11, size=128)
    assert [item.class_id for item in small.objects] == [item.class_id for item in large.objects]
    assert np.mean(small.label_mask == large.label_mask[::2, ::2]) > 0.95


@pytest.mark.parametrize("class_id", CLASS_IDS)
def test_every_class_is_rendered_at_a_recognisable_size(class_id: int) -> None:
    for seed in range(4):
        scene = render_scene(seed, class_ids=[class_id])
        assert [item.class_id for item in scene.objects] == [class_id]
        assert np.mean(scene.label_mask == class_id) > 0.03


@pytest.mark.parametrize("class_id", CLASS_IDS)
def test_every_design_exactly_fills_the_unit_square(class_id: int) -> None:
    paint = next(iter(CLASS_DRAWINGS[class_id].palette.values()))
    for design in CLASS_DRAWINGS[class_id].designs:
        for seed in range(5):
            pen = Pen()
            design(pen, random.Random(seed), paint)
            corners = np.concatenate([corners for corners, _ in pen.shapes])
            assert np.abs(corners).max() < 0.62
            assert np.ptp(corners, axis=0).max() > 0.7


def test_labels_equal_the_objects_classes(some_scenes: list[Scene]) -> None:
    for scene in some_scenes:
        assert set(np.unique(scene.label_mask)) - {0} == {item.class_id for item in scene.objects}
        assert 0 in scene.label_mask


def test_enough_of_every_object_is_visible() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        drawn = [Drawn(class_id, *draw_object(class_id, rng)) for class_id in rng.sample(CLASS_IDS, 3)]
        placed, owners = arrange(drawn, 128, 0.5, rng)
        for owner, item in enumerate(placed, start=1):
            stencil = Image.new("L", (384, 384), 0)
            draw_placed(ImageDraw.Draw(stencil), item, 384, fill=1)
            alone = np.asarray(stencil)[1::3, 1::3]
            assert np.count_nonzero(owners == owner) >= 0.4 * np.count_nonzero(alone)


def test_objects_are_mostly_inside_the_frame() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        drawn = [Drawn(class_id, *draw_object(class_id, rng)) for class_id in rng.sample(CLASS_IDS, 2)]
        for item in arrange(drawn, 64, 0.5, rng)[0]:
            margin_x, margin_y = 0.06 * (item.right - item.left), 0.06 * (item.bottom - item.top)
            assert item.left >= -margin_x
            assert item.right <= 1 + margin_x
            assert item.top >= -margin_y
            assert item.bottom <= 1 + margin_y


def test_an_object_is_where_its_pixels_are(some_scenes: list[Scene]) -> None:
    for scene in some_scenes:
        if len({item.class_id for item in scene.objects}) == len(scene.objects):
            for item in scene.objects:
                columns = np.nonzero(scene.label_mask == item.class_id)[1]
                assert item.x == pytest.approx((columns.mean() + 0.5) / 128)


def test_position_words_are_clearly_true() -> None:
    places = [(0.1, "left"), (0.35, "left"), (0.39, ""), (0.5, "middle"), (0.6, ""), (0.9, "right")]
    for x, position in places:
        assert SceneObject(7, "red", x).position == position


@pytest.mark.parametrize("class_id", [class_id for class_id in CLASS_IDS if colour_words(class_id)])
def test_the_colour_word_matches_the_visible_colour(class_id: int) -> None:
    palette = CLASS_DRAWINGS[class_id].palette
    for seed in range(6):
        scene = render_scene(seed, class_ids=[class_id], background="grass")
        named = np.array(palette[scene.objects[0].colour], dtype=np.float64)
        pixels = scene.image[scene.label_mask == class_id].astype(np.float64)
        # The named colour, in any light from deep shade to full sun.
        tones = named * np.linspace(0.45, 1.3, 24)[:, None]
        nearest = np.abs(pixels[:, None, :] - tones[None]).max(axis=2).min(axis=1)
        assert np.mean(nearest < 28) > 0.2


def test_animals_have_only_fur_colours() -> None:
    for word in ("cat", "cow", "dog", "horse", "sheep"):
        assert set(colour_words(VOC_WORDS.index(word) + 1)) <= set(FUR)
    for word in ("dining table", "person", "potted plant", "tv monitor"):
        assert colour_words(VOC_WORDS.index(word) + 1) == ()
    assert {colour for class_id in CLASS_IDS for colour in colour_words(class_id)} == set(PAINT)


def test_scenes_have_one_to_three_objects_and_rarely_repeat_a_class(some_scenes: list[Scene]) -> None:
    counts = [len(scene.objects) for scene in some_scenes]
    assert set(counts) == {1, 2, 3}
    assert counts.count(3) < counts.count(1)
    twice = [len({item.class_id for item in scene.objects}) < len(scene.objects) for scene in some_scenes]
    assert 0 < np.mean(twice) < 0.1


def test_objects_mostly_appear_in_their_usual_places() -> None:
    boat = VOC_WORDS.index("boat") + 1
    backgrounds = [choose_background([boat], random.Random(seed)) for seed in range(300)]
    assert 0.5 < backgrounds.count("sea") / 300 < 0.75
    assert len(set(backgrounds)) == len(BACKGROUND_NAMES)
    for word, habits in BACKGROUND_HABITS.items():
        assert word in VOC_WORDS
        assert set(habits) <= set(BACKGROUND_NAMES)


def test_background_and_classes_can_be_requested() -> None:
    for background in BACKGROUND_NAMES:
        scene = render_scene(5, class_ids=[7, 7, 15], background=background)
        assert scene.background == background
        assert sorted(item.class_id for item in scene.objects) == [7, 7, 15]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"seed": -1}, "not be negative"),
        ({"seed": 0, "size": 8}, "at least 32"),
        ({"seed": 0, "class_ids": []}, "1 to 3 objects"),
        ({"seed": 0, "class_ids": [1, 2, 3, 4]}, "1 to 3 objects"),
        ({"seed": 0, "class_ids": [0]}, "numbered"),
        ({"seed": 0, "class_ids": [21]}, "numbered"),
        ({"seed": 0, "background": "moon"}, "no background"),
    ],
)
def test_impossible_scenes_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        render_scene(**arguments)


def test_seed_ranges_are_disjoint() -> None:
    assert TRAINING_SEEDS.stop <= HELD_OUT_SEEDS.start
    assert HELD_OUT_SEEDS.stop <= VALIDATION_SEEDS.start

import random
from collections import Counter
from itertools import islice

import pytest

from dataset_diffusion.prompts import scenery
from dataset_diffusion.prompts.company import common_scenes, draw_classes, scene_masks
from dataset_diffusion.vocabulary import SCENES, Vocabulary, VocabularyClass, load_vocabulary

WEIGHTS = (0.6, 0.3, 0.1)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 20, 80])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classes_stay_balanced_after_every_image(num_classes: int, seed: int) -> None:
    counts = dict.fromkeys(range(1, num_classes + 1), 0)
    for image in islice(draw_classes(list(counts), WEIGHTS, random.Random(seed)), 500):
        assert 1 <= len(image) <= 3
        assert len(set(image)) == len(image)
        for class_id in image:
            counts[class_id] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


def test_numbers_of_classes_follow_the_weights() -> None:
    sizes = Counter(len(image) for image in islice(draw_classes(range(1, 21), WEIGHTS, random.Random(0)), 20_000))
    assert sizes[1] / 20_000 == pytest.approx(0.6, abs=0.02)
    assert sizes[2] / 20_000 == pytest.approx(0.3, abs=0.02)
    assert sizes[3] / 20_000 == pytest.approx(0.1, abs=0.02)
    pairs = islice(draw_classes(range(1, 21), [0, 1], random.Random(0)), 100)
    assert {len(image) for image in pairs} == {2}


def test_any_two_classes_can_share_an_image() -> None:
    met = {
        frozenset(pair) for pair in islice(draw_classes(range(1, 6), WEIGHTS, random.Random(0)), 2000) if len(pair) == 2
    }
    assert len(met) == 10


def test_images_combine_only_classes_that_go_together() -> None:
    others = range(4, 10)
    together = {1: {2: 3.0, 3: 1.0}, 2: {1: 3.0}, 3: {1: 1.0}}
    together |= {class_id: {other: 1.0 for other in others if other != class_id} for class_id in others}
    pairs = Counter()
    counts = Counter()
    for image in islice(draw_classes(range(1, 10), [0, 1], random.Random(0), together), 4000):
        counts.update(image)
        assert max(counts.values()) - min(counts[class_id] for class_id in range(1, 10)) <= 1
        pairs[frozenset(image)] += 1
    for first, second in (sorted(pair) for pair in pairs if len(pair) == 2):
        assert second in together[first]
    assert pairs[frozenset({2})] > 0
    # From a full deck, the first class chooses its partner by weight.
    firsts = [next(draw_classes(range(1, 10), [0, 1], random.Random(seed), together)) for seed in range(9000)]
    chosen = Counter(second for first, *others in firsts if first == 1 for second in others)
    assert set(chosen) == {2, 3}
    assert chosen[2] / chosen.total() == pytest.approx(0.75, abs=0.05)


def test_classes_of_an_image_share_a_scene() -> None:
    entries = [("sofa", ("home",)), ("tv", ("home", "office")), ("desk", ("office",)), ("cow", ("farm",)), ("cat", ())]
    vocabulary = Vocabulary("own", tuple(VocabularyClass(name, name, scenes=scenes) for name, scenes in entries))
    met: Counter[frozenset[str]] = Counter()
    counts: Counter[int] = Counter()
    images = draw_classes(vocabulary.class_ids, [0, 0.5, 0.5], random.Random(0), scenes=scene_masks(vocabulary))
    for image in islice(images, 3000):
        assert len(set(image)) == len(image)
        assert common_scenes(image, vocabulary) != []
        counts.update(image)
        assert max(counts.values()) - min(counts[class_id] for class_id in vocabulary.class_ids) <= 3
        met[frozenset(vocabulary[class_id].name for class_id in image)] += 1
    # The television goes with the sofa and the desk, which do not go together; the cat goes with everything.
    assert {frozenset({"sofa", "tv", "cat"}), frozenset({"desk", "tv", "cat"}), frozenset({"cow", "cat"})} <= met.keys()


def test_indoors_includes_every_room_of_a_house() -> None:
    vocabulary = load_vocabulary("coco")
    assert common_scenes([vocabulary.class_id("oven"), vocabulary.class_id("person")], vocabulary) == ["kitchen"]
    assert set(SCENES["indoors"]) > {"kitchen", "bathroom"}
    assert set(scenery.PLACES) == set(scenery.WITH) == set(SCENES)
    assert common_scenes([], vocabulary) is None

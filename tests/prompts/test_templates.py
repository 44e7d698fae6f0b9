import random
from collections import Counter
from itertools import islice

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.templates import (
    TemplateWriter,
    draw_classes,
    template_prompts,
    with_article,
)
from dataset_diffusion.toy.scenes import VOC_WORDS
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass, load_vocabulary

VOC = load_vocabulary("voc")
COCO = load_vocabulary("coco")
WEIGHTS = (0.6, 0.3, 0.1)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 20, 80])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classes_stay_balanced_at_every_image(num_classes: int, seed: int) -> None:
    counts = dict.fromkeys(range(1, num_classes + 1), 0)
    for image in islice(draw_classes(list(counts), WEIGHTS, random.Random(seed)), 500):
        assert 1 <= len(image) <= 3
        assert len(set(image)) == len(image)
        for class_id in image:
            counts[class_id] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


def test_images_have_one_to_three_classes_as_weighted() -> None:
    sizes = Counter(len(image) for image in islice(draw_classes(range(1, 21), WEIGHTS, random.Random(0)), 20_000))
    assert sizes[1] / 20_000 == pytest.approx(0.6, abs=0.02)
    assert sizes[2] / 20_000 == pytest.approx(0.3, abs=0.02)
    assert sizes[3] / 20_000 == pytest.approx(0.1, abs=0.02)
    pairs = islice(draw_classes(range(1, 21), [0, 1], random.Random(0)), 100)
    assert {len(image) for image in pairs} == {2}


def test_any_two_classes_meet() -> None:
    met = {
        frozenset(pair) for pair in islice(draw_classes(range(1, 6), WEIGHTS, random.Random(0)), 2000) if len(pair) == 2
    }
    assert len(met) == 10


@pytest.mark.parametrize("template", ["generic", "toy"])
def test_shorter_plan_is_the_beginning_of_a_longer_one(template: str) -> None:
    longest = template_prompts(VOC, template, WEIGHTS, 100, seed=3)
    for num_images in (1, 2, 37, 99):
        assert template_prompts(VOC, template, WEIGHTS, num_images, seed=3) == longest[:num_images]
    assert [prompt.sample_id for prompt in longest[:2]] == ["000000", "000001"]
    assert len({prompt.seed for prompt in longest}) == 100


@pytest.mark.parametrize("template", ["generic", "toy"])
def test_another_seed_gives_another_plan(template: str) -> None:
    first, second = (template_prompts(VOC, template, WEIGHTS, 50, seed=seed) for seed in (0, 1))
    assert [p.class_ids for p in first] != [p.class_ids for p in second]
    assert not {p.seed for p in first} & {p.seed for p in second}


@pytest.mark.parametrize("vocabulary", [VOC, COCO], ids=["voc", "coco"])
def test_generic_captions_name_just_their_classes(vocabulary: Vocabulary) -> None:
    finder = ClassFinder(vocabulary)
    for prompt in template_prompts(vocabulary, "generic", WEIGHTS, 400, seed=0):
        assert finder.find(prompt.caption) == prompt.class_ids, prompt.caption
        assert "  " not in prompt.caption


@pytest.mark.parametrize("vocabulary", [VOC, COCO], ids=["voc", "coco"])
def test_each_class_has_thousands_of_captions(vocabulary: Vocabulary) -> None:
    writer = TemplateWriter(vocabulary, "generic")
    for class_id in vocabulary.class_ids:
        rng = random.Random(class_id)
        assert len({writer.caption((class_id,), rng) for _ in range(5000)}) > 2000


def test_places_suit_all_classes_of_an_image() -> None:
    writer = TemplateWriter(VOC, "generic")
    indoors, outdoors = ("in a kitchen", "in a house"), ("on a beach", "in the snow")

    def captions(*names: str) -> str:
        class_ids = [VOC.class_id(name) for name in names]
        return "\n".join(writer.caption(class_ids, random.Random(seed)) for seed in range(300))

    sofas, buses, people = captions("sofa", "person"), captions("bus"), captions("person")
    assert all(place in sofas for place in indoors)
    assert not any(place in sofas for place in outdoors)
    assert all(place in buses for place in outdoors)
    assert not any(place in buses for place in indoors)
    assert all(place in people for place in indoors + outdoors)
    assert not any(place in captions("sofa", "bus") for place in indoors + outdoors)


def test_captions_name_no_class_of_ones_own_by_the_way() -> None:
    words = ("beach", "snow", "window", "shop", "light", "cat")
    vocabulary = Vocabulary("mine", tuple(VocabularyClass(word, word) for word in words))
    finder = ClassFinder(vocabulary)
    for prompt in template_prompts(vocabulary, "generic", WEIGHTS, 500, seed=0):
        assert finder.find(prompt.caption) == prompt.class_ids, prompt.caption


def test_classes_that_come_together_share_images() -> None:
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
    # Of a whole deck, the first class chooses as it is weighted.
    firsts = [next(draw_classes(range(1, 10), [0, 1], random.Random(seed), together)) for seed in range(9000)]
    chosen = Counter(second for first, *others in firsts if first == 1 for second in others)
    assert set(chosen) == {2, 3}
    assert chosen[2] / chosen.total() == pytest.approx(0.75, abs=0.05)


def test_toy_captions_say_synonyms_for_a_third_of_the_classes() -> None:
    prompts = template_prompts(VOC, "toy", WEIGHTS, 1500, seed=0)
    mentions = [(prompt.caption, VOC[class_id].word) for prompt in prompts for class_id in prompt.class_ids]
    share = sum(word in caption for caption, word in mentions) / len(mentions)
    assert 0.6 < share < 0.75


def test_toy_captions_need_vocs_classes() -> None:
    assert tuple(entry.word for entry in VOC.classes) == VOC_WORDS
    with pytest.raises(InputError, match=r"prompts\.template=toy"):
        template_prompts(COCO, "toy", WEIGHTS, 1, seed=0)
    other = Vocabulary("voc", tuple(VocabularyClass(f"thing {i}", f"thing {i}") for i in range(20)))
    with pytest.raises(InputError, match=r"prompts\.template=toy"):
        template_prompts(other, "toy", WEIGHTS, 1, seed=0)


@pytest.mark.parametrize(
    ("words", "mention"),
    [
        ("car", "a car"),
        ("aeroplane", "an aeroplane"),
        ("Umbrella", "an Umbrella"),
        ("unicycle", "a unicycle"),
        ("hourglass", "an hourglass"),
        ("small aeroplane", "a small aeroplane"),
        ("skis", "a pair of skis"),
        ("wine glass", "a wine glass"),
        ("bus", "a bus"),
    ],
)
def test_articles(words: str, mention: str) -> None:
    assert with_article(words) == mention


def test_generic_plan_is_pinned() -> None:
    # A change here changes every dataset made with these captions.
    plan = template_prompts(VOC, "generic", WEIGHTS, 3, seed=0)
    assert [(prompt.caption, prompt.class_ids) for prompt in plan] == [
        ("a snapshot of a bicycle in the countryside", (2,)),
        ("a snapshot of a large bird in the mountains, seen from behind", (3,)),
        ("an image of a cow in front of a motorbike under a blue sky", (10, 14)),
    ]

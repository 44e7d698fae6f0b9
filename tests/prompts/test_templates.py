import hashlib
import random
import re

import pytest

from dataset_diffusion.dataset.plan import plan_lines
from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.company import common_scenes
from dataset_diffusion.prompts.english import with_article
from dataset_diffusion.prompts.plan import plan_prompts
from dataset_diffusion.prompts.templates import TemplateWriter
from dataset_diffusion.settings.generate import PromptSettings
from dataset_diffusion.toy.captions import toy_captions
from dataset_diffusion.toy.scenes import VOC_WORDS
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass, load_vocabulary

VOC = load_vocabulary("voc")
COCO = load_vocabulary("coco")


def plan(vocabulary: Vocabulary, template: str, num_images: int, seed: int) -> tuple[Prompt, ...]:
    write_caption = toy_captions(vocabulary) if template == "toy" else None
    return plan_prompts(PromptSettings(template=template), vocabulary, num_images, seed, write_caption).prompts


@pytest.mark.parametrize("template", ["generic", "toy"])
def test_a_shorter_plan_is_the_start_of_a_longer_one(template: str) -> None:
    longest = plan(VOC, template, 100, seed=3)
    for num_images in (1, 2, 37, 99):
        assert plan(VOC, template, num_images, seed=3) == longest[:num_images]
    assert [prompt.sample_id for prompt in longest[:2]] == ["000000", "000001"]
    assert len({prompt.seed for prompt in longest}) == 100


@pytest.mark.parametrize("template", ["generic", "toy"])
def test_another_seed_gives_another_plan(template: str) -> None:
    first, second = (plan(VOC, template, 50, seed=seed) for seed in (0, 1))
    assert [p.class_ids for p in first] != [p.class_ids for p in second]
    assert not {p.seed for p in first} & {p.seed for p in second}


@pytest.mark.parametrize("vocabulary", [VOC, COCO], ids=["voc", "coco"])
def test_generic_captions_name_exactly_their_classes(vocabulary: Vocabulary) -> None:
    finder = ClassFinder(vocabulary)
    for prompt in plan(vocabulary, "generic", 400, seed=0):
        assert finder.find(prompt.caption) == prompt.class_ids, prompt.caption
        assert "  " not in prompt.caption


@pytest.mark.parametrize("vocabulary", [VOC, COCO], ids=["voc", "coco"])
def test_each_class_has_hundreds_of_captions(vocabulary: Vocabulary) -> None:
    writer = TemplateWriter(vocabulary)
    for class_id in vocabulary.class_ids:
        rng = random.Random(class_id)
        assert len({writer.caption((class_id,), rng) for _ in range(2000)}) > 500


def captions_of(vocabulary: Vocabulary, *names: str) -> str:
    writer = TemplateWriter(vocabulary)
    class_ids = [class_id for name in names if (class_id := vocabulary.class_id(name))]
    return "\n".join(writer.caption(class_ids, random.Random(seed)) for seed in range(400))


def test_places_suit_all_classes_in_an_image() -> None:
    assert "in a living room" in captions_of(VOC, "sofa", "person")
    assert not any(place in captions_of(VOC, "sofa", "person") for place in ("beach", "street", "kitchen"))
    assert "on a beach" in captions_of(VOC, "boat", "person")
    assert all(place in captions_of(VOC, "person") for place in ("in a kitchen", "on a beach", "in a park"))
    # These share no scene, but a co-occurrence table can combine them.
    assert not any(place in captions_of(VOC, "sofa", "bus") for place in ("living room", "street", "office", "road"))


@pytest.mark.parametrize(
    ("names", "phrases"),
    [
        (("dog",), ("a fluffy dog", "two dogs", "dog sleeping", "dog running", "seen from above", "at sunset")),
        (("person", "horse"), ("riding a", "several people", "a man with a beard")),
        (("bottle",), ("glass bottle", "plastic bottle", "three bottles", "by candlelight")),
        (("sheep",), ("two sheep", "sheep grazing", "on a foggy morning")),
        (("sofa",), ("leather sofa",)),
    ],
)
def test_captions_have_actions_materials_numbers_weather_and_cameras(names: tuple[str, ...], phrases: tuple) -> None:
    captions = captions_of(VOC, *names)
    assert [phrase for phrase in phrases if phrase not in captions] == []


def test_captions_do_not_contradict_themselves() -> None:
    captions = captions_of(VOC, "cow") + captions_of(COCO, "oven") + captions_of(VOC, "aeroplane")
    assert all(phrase in captions for phrase in ("a lone cow", "several cows", "bright kitchen", "by candlelight"))
    for wrong in ("(two|three|several|a few) lone", "bright kitchen.* (dim|candle)", "blue sky.* (night|rainy|cloudy)"):
        assert re.search(wrong, captions) is None


def test_custom_classes_are_never_put_in_a_guessed_plural() -> None:
    entries = (VocabularyClass("fish", "goldfish in a bowl", scenes=("home",)), VocabularyClass("unicorn", "unicorn"))
    captions = captions_of(Vocabulary("own", entries), "fish") + captions_of(Vocabulary("own", entries), "unicorn")
    assert "in a living room" in captions
    assert not any(f"{number} " in captions for number in ("two", "three", "several"))


def test_custom_words_get_their_irregular_plurals() -> None:
    words = {"dog": "puppy", "person": "child", "horse": "pony", "cow": "calf"}
    vocabulary = Vocabulary("own", tuple(VocabularyClass(name, word) for name, word in words.items()))
    captions = "\n".join(captions_of(vocabulary, name) for name in words)
    assert all(plural in captions for plural in ("puppies", "children", "ponies", "calves"))
    assert not any(wrong in captions for wrong in ("puppys", "childs", "ponys", "calfs"))


@pytest.mark.parametrize(("vocabulary", "before"), [(VOC, 1900), (COCO, 3730)], ids=["voc", "coco"])
def test_captions_are_1_5_times_as_varied_as_with_random_co_occurrence(vocabulary: Vocabulary, before: int) -> None:
    """Compares distinct 3-grams in 2,000 captions; `before` was counted at revision 852f9cb."""
    prompts = plan(vocabulary, "generic", 2000, seed=0)
    texts = [prompt.caption.replace(",", "").split() for prompt in prompts]
    assert len({tuple(text[i : i + 3]) for text in texts for i in range(len(text) - 2)}) >= 1.5 * before
    for prompt in prompts:
        assert common_scenes(prompt.class_ids, vocabulary), prompt.caption


def test_captions_name_no_custom_class_in_passing() -> None:
    words = ("beach", "snow", "window", "shop", "light", "cat")
    vocabulary = Vocabulary("mine", tuple(VocabularyClass(word, word) for word in words))
    finder = ClassFinder(vocabulary)
    for prompt in plan(vocabulary, "generic", 500, seed=0):
        assert finder.find(prompt.caption) == prompt.class_ids, prompt.caption


def test_toy_captions_use_synonyms_for_a_third_of_the_classes() -> None:
    prompts = plan(VOC, "toy", 1500, seed=0)
    mentions = [(prompt.caption, VOC[class_id].word) for prompt in prompts for class_id in prompt.class_ids]
    share = sum(word in caption for caption, word in mentions) / len(mentions)
    assert 0.6 < share < 0.75


def test_toy_captions_need_vocs_classes() -> None:
    assert tuple(entry.word for entry in VOC.classes) == VOC_WORDS
    with pytest.raises(InputError, match=r"prompts\.template=toy"):
        plan(COCO, "toy", 1, seed=0)
    other = Vocabulary("voc", tuple(VocabularyClass(f"thing {i}", f"thing {i}") for i in range(20)))
    with pytest.raises(InputError, match=r"prompts\.template=toy"):
        plan(other, "toy", 1, seed=0)


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


def test_toy_plan_is_pinned() -> None:
    # A change here changes every dataset made with the toy model.
    encoded = b"".join(plan_lines(plan(VOC, "toy", 200, seed=0), VOC))
    assert hashlib.sha256(encoded).hexdigest() == "6fab0c0d7431de81820f3bdaf9adbe717832dd89143d45ea1da9d4897794ef1c"

import random

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.classes import ClassFinder
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
    return plan_prompts(PromptSettings(), vocabulary, num_images, seed, write_caption).prompts


@pytest.mark.parametrize("template", ["generic", "toy"])
def test_shorter_plan_is_the_beginning_of_a_longer_one(template: str) -> None:
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
def test_generic_captions_name_just_their_classes(vocabulary: Vocabulary) -> None:
    finder = ClassFinder(vocabulary)
    for prompt in plan(vocabulary, "generic", 400, seed=0):
        assert finder.find(prompt.caption) == prompt.class_ids, prompt.caption
        assert "  " not in prompt.caption


@pytest.mark.parametrize("vocabulary", [VOC, COCO], ids=["voc", "coco"])
def test_each_class_has_thousands_of_captions(vocabulary: Vocabulary) -> None:
    writer = TemplateWriter(vocabulary)
    for class_id in vocabulary.class_ids:
        rng = random.Random(class_id)
        assert len({writer.caption((class_id,), rng) for _ in range(5000)}) > 2000


def test_places_suit_all_classes_of_an_image() -> None:
    writer = TemplateWriter(VOC)
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
    for prompt in plan(vocabulary, "generic", 500, seed=0):
        assert finder.find(prompt.caption) == prompt.class_ids, prompt.caption


def test_toy_captions_say_synonyms_for_a_third_of_the_classes() -> None:
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


def test_generic_plan_is_pinned() -> None:
    # A change here changes every dataset made with these captions.
    prompts = plan(VOC, "generic", 3, seed=0)
    assert [(prompt.caption, prompt.class_ids) for prompt in prompts] == [
        ("a snapshot of a bicycle in the countryside", (2,)),
        ("a snapshot of a large bird in the mountains, seen from behind", (3,)),
        ("an image of a cow in front of a motorbike under a blue sky", (10, 14)),
    ]

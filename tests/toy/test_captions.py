"""Captions: true, varied and short."""

import pickle
import random
import re

import pytest
from transformers import CLIPTokenizer

from dataset_diffusion.paths import toy_model_dir
from dataset_diffusion.settings.generate import VocabularySettings
from dataset_diffusion.toy.captions import (
    BACKGROUND_PHRASES,
    SYNONYMS,
    random_caption,
    toy_captions,
    write_caption,
)
from dataset_diffusion.toy.draw import PAINT
from dataset_diffusion.toy.drawings import colour_words
from dataset_diffusion.toy.drawings.backgrounds import BACKGROUND_NAMES
from dataset_diffusion.toy.scenes import VOC_WORDS, SceneObject, render_scene
from dataset_diffusion.vocabulary import choose_vocabulary

OPENINGS = ("a photo of ", "an image of ", "a picture of ")
POSITIONS = {"on the left": "left", "in the middle": "middle", "on the right": "right"}


def made_up_scene(rng: random.Random) -> tuple[list[SceneObject], str]:
    """One to three objects at random, without the time it takes to render them."""
    objects = []
    for _ in range(rng.randint(1, 3)):
        class_id = rng.randint(1, 20)
        objects.append(SceneObject(class_id, rng.choice(colour_words(class_id) or ("",)), rng.random()))
    return objects, rng.choice(BACKGROUND_NAMES)


def mentions_in(caption: str) -> list[tuple[str, str, str]]:
    """(colour word, noun, position) of each mention in a caption; "" for each part it lacks."""
    for opening in OPENINGS:
        caption = caption.removeprefix(opening)
    for phrases in BACKGROUND_PHRASES.values():
        for phrase in phrases:
            caption = caption.removesuffix(" " + phrase)
    found = []
    for mention in re.split(" and | next to | with ", caption):
        parts = re.fullmatch(rf"an? (?:({'|'.join(PAINT)}) )?(.+?)(?: ({'|'.join(POSITIONS)}))?", mention)
        assert parts, caption
        found.append((parts[1] or "", parts[2], POSITIONS.get(parts[3] or "", "")))
    return found


def can_mean(noun: str, item: SceneObject) -> bool:
    return noun == VOC_WORDS[item.class_id - 1] or noun in SYNONYMS[item.class_id]


def test_every_mention_is_true_of_an_object_in_the_scene() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        objects, background = made_up_scene(rng)
        mentions = mentions_in(write_caption(objects, background, rng))
        assert len(mentions) == len(objects)
        for colour, noun, position in mentions:
            assert any(
                can_mean(noun, item) and colour in ("", item.colour) and position in ("", item.position)
                for item in objects
            )


def test_captions_of_rendered_scenes_are_true() -> None:
    rng = random.Random(1)
    for seed in range(100):
        scene = render_scene(seed, size=64)
        for colour, noun, position in mentions_in(write_caption(scene.objects, scene.background, rng)):
            assert any(
                can_mean(noun, item) and colour in ("", item.colour) and position in ("", item.position)
                for item in scene.objects
            )


def test_the_background_is_true_and_mostly_mentioned() -> None:
    rng = random.Random(2)
    said = 0
    for _ in range(1000):
        objects, background = made_up_scene(rng)
        caption = write_caption(objects, background, rng)
        said += any(caption.endswith(phrase) for phrase in BACKGROUND_PHRASES[background])
        for other in set(BACKGROUND_NAMES) - {background}:
            assert not any(caption.endswith(" " + phrase) for phrase in BACKGROUND_PHRASES[other])
    assert said / 1000 > 0.75


def test_synonyms_colours_and_positions_have_the_expected_frequencies() -> None:
    rng = random.Random(3)
    synonyms = colours = coloured = positions = mentions = 0
    for _ in range(3000):
        objects, background = made_up_scene(rng)
        coloured += sum(bool(item.colour) for item in objects)
        for colour, noun, position in mentions_in(write_caption(objects, background, rng)):
            mentions += 1
            synonyms += noun not in VOC_WORDS
            colours += bool(colour)
            positions += bool(position)
    assert synonyms / mentions == pytest.approx(1 / 3, abs=0.03)
    assert colours / coloured == pytest.approx(0.6, abs=0.03)
    assert 0.03 < positions / mentions < 0.2


def test_articles_are_right() -> None:
    rng = random.Random(4)
    for _ in range(1000):
        caption = write_caption(*made_up_scene(rng), rng)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption), caption


def test_appended_class_words_follow_the_sentence_in_the_order_of_mention() -> None:
    rng = random.Random(5)
    for _ in range(500):
        objects, background = made_up_scene(rng)
        sentence, words = write_caption(objects, background, rng, style="appended").split("; ")
        mentions = [noun for _, noun, _ in mentions_in(sentence)]
        spoken = [VOC_WORDS[item.class_id - 1] for item in objects]
        assert words in {" ".join(dict.fromkeys(order)) for order in _orders(spoken)}
        first = next(word for word in VOC_WORDS if words.startswith(word))
        assert mentions[0] in (first, *SYNONYMS[VOC_WORDS.index(first) + 1])


def _orders(words: list[str]) -> list[list[str]]:
    if len(words) < 2:
        return [words]
    return [
        [words[index], *rest] for index in range(len(words)) for rest in _orders(words[:index] + words[index + 1 :])
    ]


def test_style_classes_gives_an_opening_and_class_words() -> None:
    rng = random.Random(6)
    objects = [SceneObject(11, "", 0.2), SceneObject(11, "", 0.5), SceneObject(8, "grey", 0.8)]
    for _ in range(50):
        caption = write_caption(objects, "room", rng, style="classes")
        for opening in OPENINGS:
            caption = caption.removeprefix(opening)
        assert caption in ("dining table cat", "cat dining table")


def test_a_caption_without_a_scene_mentions_only_its_classes() -> None:
    rng = random.Random(7)
    for _ in range(500):
        class_ids = rng.sample(range(1, 21), rng.randint(1, 4))
        mentions = mentions_in(random_caption(class_ids, rng))
        assert len(mentions) == len(class_ids)
        for colour, noun, _ in mentions:
            assert any(
                can_mean(noun, SceneObject(class_id, "", 0.5)) and colour in ("", *colour_words(class_id))
                for class_id in class_ids
            )


def test_custom_classes_are_found_among_the_twenty_by_their_words() -> None:
    vocabulary = choose_vocabulary(VocabularySettings(classes=["dog", "cat"]))
    write = pickle.loads(pickle.dumps(toy_captions(vocabulary)))
    for seed in range(50):
        assert write([2, 1], random.Random(seed)) == random_caption([8, 12], random.Random(seed))


def test_a_caption_depends_only_on_its_generator() -> None:
    assert random_caption([3, 9], random.Random(8)) == random_caption([3, 9], random.Random(8))


def test_captions_are_short() -> None:
    rng = random.Random(9)
    longest = max(len(write_caption(*made_up_scene(rng), rng, style="appended").split()) for _ in range(2000))
    assert longest <= 34


def test_appended_captions_fit_the_tokenizer() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(toy_model_dir() / "tokenizer")
    rng = random.Random(10)
    captions = [write_caption(*made_up_scene(rng), rng, style="appended") for _ in range(2000)]
    lengths = [len(ids) for ids in tokenizer(captions, truncation=False)["input_ids"]]
    assert sum(length <= tokenizer.model_max_length for length in lengths) / len(lengths) > 0.995

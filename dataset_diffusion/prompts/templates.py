"""Template captions: written only from class words, in scenes where the classes can be together."""

import random
from collections.abc import Sequence

from dataset_diffusion.prompts import scenery
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.company import draw_scene
from dataset_diffusion.prompts.english import is_pair, plurals, with_article
from dataset_diffusion.vocabulary import INDOOR_SCENES, Vocabulary

_ATTRIBUTE_CHANCE = 0.5
_NUMBER_CHANCE = 0.15
_ACTION_CHANCE = 0.5
_TOGETHER_CHANCE = 0.75
_WITH_CHANCE = 0.3
_OPENING_CHANCE = 0.6
_PLACE_CHANCE = 0.9
_LIGHT_CHANCE = 0.3
_CAMERA_CHANCE = 0.25
_KIND_OF = {word: kind for kind, words in scenery.KINDS.items() for word in words}


class TemplateWriter:
    """Writes captions for a vocabulary's classes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._finder = finder = ClassFinder(vocabulary)
        self._indoors = frozenset({"indoors", *INDOOR_SCENES})
        harmless = finder.harmless
        self._places = {scene: harmless(phrases) for scene, phrases in scenery.PLACES.items()}
        self._with = {scene: harmless(phrases) for scene, phrases in scenery.WITH.items()}
        self._attributes = {kind: harmless(words) for kind, words in scenery.ATTRIBUTES.items()}
        self._actions = {
            kind: {scene: harmless(words) for scene, words in by_scene.items()}
            for kind, by_scene in scenery.ACTIONS.items()
        }
        self._together = {kinds: harmless(words) for kinds, words in scenery.TOGETHER.items()}
        self._anywhere, self._openings = harmless(scenery.ANYWHERE), harmless(scenery.OPENINGS)
        self._weather, self._wintry = harmless(scenery.WEATHER), harmless(scenery.WINTRY)
        self._light, self._camera = harmless(scenery.LIGHT), harmless(scenery.CAMERA)
        self._next_to = harmless(scenery.NEXT_TO)
        self._kinds = {class_id: _kind(vocabulary, class_id) for class_id in vocabulary.class_ids}
        self._words = {class_id: self._spoken(class_id) for class_id in vocabulary.class_ids}
        self._plurals = {class_id: self._plural(class_id) for class_id in vocabulary.class_ids}
        self._people = {
            class_id: tuple(phrase for phrase in scenery.PEOPLE if finder.find(phrase) == (class_id,))
            for class_id, kind in self._kinds.items()
            if kind == "person"
        }

    def caption(self, class_ids: Sequence[int], rng: random.Random) -> str:
        """A caption that mentions these classes in their order: "a photo of a brown dog lying on a sofa at home"."""
        scene = draw_scene(class_ids, self._vocabulary, rng)
        if len(class_ids) > 2 or (len(class_ids) == 2 and rng.random() < _WITH_CHANCE):
            caption = self._list(class_ids, scene, rng)
        else:
            caption = self._sentence(class_ids, scene, rng)
        caption += _maybe(_LIGHT_CHANCE, " {}", self._light_of(scene, caption), rng)
        return caption + _maybe(_CAMERA_CHANCE, ", {}", self._camera, rng)

    def _list(self, class_ids: Sequence[int], scene: str | None, rng: random.Random) -> str:
        """ "a photo of a kitchen with a white sink, two bowls and an oven"."""
        *others, last = (self._mention(class_id, rng) for class_id in class_ids)
        things = f"{', '.join(others)} and {last}"
        beginnings = self._with.get(scene or "", ())
        if beginnings and rng.random() < 0.6:
            return self._opened(f"{rng.choice(beginnings)} {things}", rng)
        return self._opened(things, rng) + self._place(scene, rng)

    def _sentence(self, class_ids: Sequence[int], scene: str | None, rng: random.Random) -> str:
        """ "a photo of two cars next to a bus on a city street"."""
        first, *others = class_ids
        if not others:
            caption = self._mention(first, rng) + _maybe(_ACTION_CHANCE, " {}", self._actions_of(first, scene), rng)
        else:
            caption = f"{self._mention(first, rng)} {self._relation(first, others[0], rng)} "
            caption += self._mention(others[0], rng)
        return self._opened(caption, rng) + self._place(scene, rng)

    def _relation(self, first: int, second: int, rng: random.Random) -> str:
        kinds = self._kinds[first], self._kinds[second]
        phrases = self._together.get((kinds[0], self._vocabulary[second].word)) or self._together.get(kinds)
        chosen = phrases if phrases and rng.random() < _TOGETHER_CHANCE else self._next_to
        return rng.choice(chosen) if chosen else "and"

    def _opened(self, words: str, rng: random.Random) -> str:
        opening = _maybe(_OPENING_CHANCE, "{} ", self._openings, rng)
        return f"{opening}{words}"

    def _mention(self, class_id: int, rng: random.Random) -> str:
        word, kind = self._words[class_id], self._kinds[class_id]
        chance, attribute = rng.random(), ""
        if self._vocabulary[class_id].word not in scenery.UNDESCRIBED_WORDS and rng.random() < _ATTRIBUTE_CHANCE:
            attribute = _maybe(1, "{} ", self._attributes[kind], rng)
        plural = self._plurals[class_id]
        if plural and chance < _NUMBER_CHANCE:
            attribute = "" if attribute.strip() in scenery.SINGLE_ATTRIBUTES else attribute
            return f"{rng.choice(scenery.NUMBERS)} {attribute}{plural}"
        if kind == "person" and self._people[class_id]:
            return rng.choice(self._people[class_id])
        if word == "broccoli":
            return rng.choice(("broccoli", "fresh broccoli", "steamed broccoli"))
        return with_article(attribute + word)

    def _actions_of(self, class_id: int, scene: str | None) -> tuple[str, ...]:
        by_scene = self._actions.get(self._kinds[class_id], {})
        if scene is None:
            return ()
        return by_scene.get(scene) or by_scene.get("indoors" if scene in self._indoors else "outdoors", ())

    def _place(self, scene: str | None, rng: random.Random) -> str:
        return _maybe(_PLACE_CHANCE, " {}", self._places[scene] if scene else self._anywhere, rng)

    def _light_of(self, scene: str | None, caption: str) -> tuple[str, ...]:
        """Phrases for a scene's light or weather that do not contradict the caption so far."""
        wrong = [phrase for words, phrases in scenery.CONTRADICTIONS.items() if words in caption for phrase in phrases]
        phrases = self._wintry if scene == "snow" else self._weather
        if scene is None or scene in self._indoors:
            phrases = self._light
        return tuple(phrase for phrase in phrases if phrase not in wrong)

    def _spoken(self, class_id: int) -> str:
        word = self._vocabulary[class_id].word
        spoken = scenery.SPOKEN.get(word, word)
        return spoken if self._finder.find(spoken) == (class_id,) else word

    def _plural(self, class_id: int) -> str | None:
        """The plural of a class's word; None if it is not good English or names another class."""
        word = self._vocabulary[class_id].word
        if self._kinds[class_id] in scenery.SINGLE_KINDS or word in scenery.SINGLE_WORDS or is_pair(word):
            return None
        plural = plurals(word)[0]
        return plural if self._finder.find(plural) == (class_id,) else None


def _kind(vocabulary: Vocabulary, class_id: int) -> str:
    entry = vocabulary[class_id]
    return next((_KIND_OF[text] for text in (entry.word, entry.name) if text in _KIND_OF), "thing")


def _maybe(chance: float, form: str, phrases: Sequence[str], rng: random.Random) -> str:
    """`form` filled with one of the phrases, or an empty string."""
    return form.format(rng.choice(phrases)) if phrases and rng.random() < chance else ""

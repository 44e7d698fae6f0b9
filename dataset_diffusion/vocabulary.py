"""The classes of a dataset: their names, the words that stand for them in a prompt, and their colours."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dataset_diffusion.errors import InputError
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.generate import VocabularySettings
from dataset_diffusion.types import IGNORE_INDEX

MAX_CLASSES = IGNORE_INDEX - 1
OWN = "own"
"""The name of a vocabulary whose classes are given as a list."""

Colour = tuple[int, int, int]
INDOOR_SCENES = ("home", "bedroom", "kitchen", "table", "restaurant", "bathroom", "office")
OUTDOOR_SCENES = (
    *("street", "road", "railway", "airfield", "water", "beach", "park", "garden", "farm", "field", "forest"),
    *("savanna", "snow", "sky"),
)
SCENES = {
    **{scene: (scene,) for scene in (*INDOOR_SCENES, *OUTDOOR_SCENES)},
    "indoors": ("indoors", *INDOOR_SCENES),
    "outdoors": ("outdoors", *OUTDOOR_SCENES),
}
"""What a vocabulary can say of a class, and the scenes that it stands for: "indoors" goes with anything in a kitchen.

"table" is a tabletop, "field" a sports field.
"""
_FILE_KEYS = ("classes", "other_phrases", "ignore_index")
_CLASS_KEYS = ("name", "word", "synonyms", "scene", "colour")


@dataclass(frozen=True)
class VocabularyClass:
    """`name` is the dataset's own ("diningtable"), `word` is what a prompt says ("dining table").

    `synonyms` are other words in captions that mean this class ("desk"). `scenes` are where template captions put it:
    classes that share a scene appear together; () means anywhere, with any other class. `colour` is the RGB colour of
    its label in palette PNGs; None means VOC's colour of that label.
    """

    name: str
    word: str
    synonyms: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    colour: Colour | None = None


@dataclass(frozen=True)
class Vocabulary:
    """Classes in label order: `classes[0]` has label 1; label 0 is the background.

    `other_phrases` contain a class's word but mean something else ("hot dog" where only "dog" is a class): a caption
    that says one of them does not name that class.
    """

    name: str
    classes: tuple[VocabularyClass, ...]
    other_phrases: tuple[str, ...] = ()

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The labels of the classes, 1 ... number of classes."""
        return tuple(range(1, len(self.classes) + 1))

    def __getitem__(self, class_id: int) -> VocabularyClass:
        if not 1 <= class_id <= len(self.classes):
            raise KeyError(class_id)
        return self.classes[class_id - 1]

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Names by label, "background" first."""
        return ("background", *(entry.name for entry in self.classes))

    @cached_property
    def palette(self) -> tuple[Colour, ...]:
        """An RGB colour for each label, background (black) first; every label has its own.

        Classes that name none get PASCAL VOC's (VOClabelcolormap of the VOC2012 development kit).
        """
        colours = (entry.colour or voc_colour(label) for label, entry in enumerate(self.classes, start=1))
        return (voc_colour(0), *colours)

    def class_prompt(self, class_ids: Sequence[int]) -> str:
        """The words of classes, joined by spaces: "person dining table"."""
        return " ".join(self[class_id].word for class_id in class_ids)

    def class_id(self, text: str) -> int | None:
        """The label that has `text` as its name, word or synonym (ignoring case and surrounding space), or None."""
        return self._by_text.get(normalise(text))

    @cached_property
    def _by_text(self) -> dict[str, int]:
        by_text: dict[str, int] = {}
        # Words win over synonyms: a word that is another class's synonym ("couch", say) stays with its own class.
        for class_id, entry in zip(self.class_ids, self.classes, strict=True):
            for text in (entry.name, entry.word):
                by_text.setdefault(normalise(text), class_id)
        for class_id, entry in zip(self.class_ids, self.classes, strict=True):
            for text in entry.synonyms:
                by_text.setdefault(normalise(text), class_id)
        return by_text


def normalise(text: str) -> str:
    """Lower case, with single spaces: the form in which class words are compared."""
    return re.sub(r"\s+", " ", text.strip().lower())


def voc_colour(label: int) -> Colour:
    """The colour of a label in PASCAL VOC's palette: the label's bits, dealt to R, G, B from the top bit down."""
    red = green = blue = 0
    for position in range(8):
        bits = label >> (3 * position)
        red |= (bits & 1) << (7 - position)
        green |= (bits >> 1 & 1) << (7 - position)
        blue |= (bits >> 2 & 1) << (7 - position)
    return red, green, blue


def choose_vocabulary(settings: VocabularySettings) -> Vocabulary:
    """The vocabulary that the settings describe: their own classes, or those of a name or file, with their words.

    Raises InputError naming the setting, or the file and the entry.
    """
    if settings.classes is None:
        vocabulary = load_vocabulary(settings.name)
    else:
        vocabulary = _parse_vocabulary("vocabulary.classes", OWN, {"classes": settings.classes})
    return _with_words(vocabulary, settings.words) if settings.words else vocabulary


def load_vocabulary(name_or_path: str) -> Vocabulary:
    """Read a vocabulary that comes with the package ("voc", "coco") or your YAML file.

    The file has `classes:`, a list whose entries are a name, or `{name, word, synonyms, scene, colour}` of which only
    `name` is required. It can also have `other_phrases:`, a list of phrases that contain a class's word but name no
    class, and `ignore_index: 255`. Raises InputError naming the file and the entry.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        shipped = {file.stem: file for file in (configs_dir() / "vocabulary").glob("*.yaml")}
        if name_or_path not in shipped:
            raise InputError(
                f"vocabulary.name={name_or_path}: not one of {', '.join(sorted(shipped))}; name one of them or a .yaml "
                "file, or list your classes: vocabulary.classes='[cat,hot air balloon]'"
            )
        return _read_shipped(shipped[name_or_path])
    return _read_vocabulary(path)


def _read_vocabulary(path: Path) -> Vocabulary:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except FileNotFoundError as error:
        raise InputError(f"vocabulary.name={path}: no such file") from error
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path}: not a readable YAML file ({str(error).splitlines()[0]})") from error
    return _parse_vocabulary(str(path), path.stem, content if isinstance(content, dict) else {})


_read_shipped = cache(_read_vocabulary)
"""Cached: reading one takes longer than a mask does, and the package's own do not change while it runs."""


def _parse_vocabulary(where: str, name: str, content: dict[Any, Any]) -> Vocabulary:
    """`where` starts the error messages: a file, or the setting."""
    entries = content.get("classes")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where}: has no list `classes:`; write one class name per line under it")
    if unknown := sorted(map(str, content.keys() - set(_FILE_KEYS))):
        raise InputError(f"{where}: unknown key {unknown[0]!r}; the keys are {', '.join(_FILE_KEYS)}")
    if len(entries) > MAX_CLASSES:
        raise InputError(f"{where}: {len(entries)} classes; an 8-bit mask holds at most {MAX_CLASSES}")
    if content.get("ignore_index", IGNORE_INDEX) != IGNORE_INDEX:
        raise InputError(
            f"{where}: ignore_index: {content['ignore_index']}: masks use {IGNORE_INDEX} for ignored pixels; write that"
        )
    classes = tuple(_parse_class(where, position, entry) for position, entry in enumerate(entries, start=1))
    _require_distinct(where, classes)
    vocabulary = Vocabulary(name, classes, _parse_words(f"{where}: other_phrases", content.get("other_phrases", [])))
    _require_distinct_colours(where, vocabulary)
    return vocabulary


def _parse_class(where: str, position: int, entry: object) -> VocabularyClass:
    if isinstance(entry, str):
        entry = {"name": entry}
    where = f"{where}: class {position}"
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must be a name or {{{', '.join(_CLASS_KEYS)}}}, but is {entry!r}")
    if unknown := sorted(map(str, entry.keys() - set(_CLASS_KEYS))):
        raise InputError(f"{where}: unknown key {unknown[0]!r}; the keys are {', '.join(_CLASS_KEYS)}")
    name = entry.get("name")
    word = entry.get("word", name)
    if not (isinstance(name, str) and name.strip() and isinstance(word, str) and word.strip()):
        raise InputError(f"{where}: name and word must be text (quote words such as 'no' or '7')")
    synonyms = _parse_words(f"{where} ({name}): synonyms", entry.get("synonyms", []))
    scenes = _parse_scenes(f"{where} ({name}): scene", entry.get("scene"))
    colour = _parse_colour(f"{where} ({name}): colour", entry.get("colour"))
    return VocabularyClass(name.strip(), normalise(word), synonyms, scenes, colour)


def _parse_words(where: str, words: object) -> tuple[str, ...]:
    if not isinstance(words, list) or not all(isinstance(text, str) and text.strip() for text in words):
        raise InputError(f"{where} must be a list of words")
    return tuple(normalise(text) for text in words)


def _parse_scenes(where: str, scenes: object) -> tuple[str, ...]:
    """The scenes that a name, or a list of names, stands for."""
    names: list[Any] = [] if scenes is None else scenes if isinstance(scenes, list) else [scenes]
    unknown = [name for name in names if not isinstance(name, str) or name not in SCENES]
    if unknown:
        raise InputError(f"{where} {unknown[0]!r} is unknown; leave it out, or name some of {', '.join(SCENES)}")
    return tuple(dict.fromkeys(scene for name in names for scene in SCENES[name]))


def _parse_colour(where: str, colour: object) -> Colour | None:
    if colour is None:
        return None
    if (
        not isinstance(colour, list)
        or [type(part) for part in colour] != [int] * 3
        or not all(0 <= part <= 255 for part in colour)
    ):
        raise InputError(f"{where} must be [red, green, blue], each 0 ... 255")
    red, green, blue = colour
    return red, green, blue


def _require_distinct(where: str, classes: tuple[VocabularyClass, ...]) -> None:
    """No text may be the name or the word of two classes: `class_id` would find only the first."""
    owners: dict[str, int] = {"background": 0}
    for position, entry in enumerate(classes, start=1):
        for what in ("name", "word"):
            text = normalise(getattr(entry, what))
            owner = owners.setdefault(text, position)
            if owner != position:
                other = f"class {owner}" if owner else "the background (label 0)"
                raise InputError(f"{where}: class {position} has the {what} {text!r}, which already belongs to {other}")


def _require_distinct_colours(where: str, vocabulary: Vocabulary) -> None:
    owners: dict[Colour, str] = {}
    for name, colour in zip(vocabulary.label_names, vocabulary.palette, strict=True):
        owner = owners.setdefault(colour, name)
        if owner != name:
            raise InputError(
                f"{where}: {name} has the colour {list(colour)}, which already belongs to {owner}; "
                "give each class its own"
            )


def _with_words(vocabulary: Vocabulary, words: Mapping[str, str]) -> Vocabulary:
    """The vocabulary with other words in prompts, by class name: {"aeroplane": "airplane"}."""
    if unknown := next((name for name in words if name not in vocabulary.label_names[1:]), None):
        raise InputError(f"vocabulary.words.{unknown}: no class of vocabulary {vocabulary.name} has that name")
    if empty := next((name for name, word in words.items() if not word.strip()), None):
        raise InputError(f"vocabulary.words.{empty}: is empty; give a word")
    classes = tuple(
        # Its original word stays one that captions can say.
        replace(entry, word=normalise(words[entry.name]), synonyms=(*entry.synonyms, entry.word))
        if entry.name in words
        else entry
        for entry in vocabulary.classes
    )
    _require_distinct("vocabulary.words", classes)
    return replace(vocabulary, classes=classes)

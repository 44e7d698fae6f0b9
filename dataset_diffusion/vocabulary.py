"""The classes of a dataset: their names, the words that stand for them in a prompt, and their colours."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dataset_diffusion.errors import InputError
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.types import IGNORE_INDEX

MAX_CLASSES = IGNORE_INDEX - 1


@dataclass(frozen=True)
class VocabularyClass:
    """`name` is the dataset's own ("diningtable"), `word` is what a prompt says ("dining table").

    `synonyms` are other words of a caption that mean this class ("desk").
    """

    name: str
    word: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """Classes in label order: `classes[0]` has label 1; label 0 is the background.

    `other_phrases` hold a class's word and mean something else ("hot dog" where only "dog" is a class): a caption that
    says one of them does not name that class.
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
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """An RGB colour for each label, background first; every label has its own, whatever the number of classes.

        They are PASCAL VOC's (VOClabelcolormap of the VOC2012 development kit).
        """
        return tuple(voc_colour(label) for label in range(len(self.classes) + 1))

    def class_id(self, text: str) -> int | None:
        """The label whose name, word or synonym `text` is (case and outer space do not matter), or None."""
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


def voc_colour(label: int) -> tuple[int, int, int]:
    """The colour of a label in PASCAL VOC's palette: the label's bits, dealt to R, G, B from the top bit down."""
    red = green = blue = 0
    for position in range(8):
        bits = label >> (3 * position)
        red |= (bits & 1) << (7 - position)
        green |= (bits >> 1 & 1) << (7 - position)
        blue |= (bits >> 2 & 1) << (7 - position)
    return red, green, blue


def load_vocabulary(name_or_path: str) -> Vocabulary:
    """Read a vocabulary that comes with the package ("voc", "coco") or a YAML file of one's own.

    The file has `classes:`, a list whose entries are a name, or `{name, word, synonyms}` of which only `name` is
    needed, and may have `other_phrases:`, a list of phrases that are no class although they hold a class's word.
    Raises InputError that names the file and the entry.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        shipped = {file.stem: file for file in (configs_dir() / "vocabulary").glob("*.yaml")}
        if name_or_path not in shipped:
            raise InputError(
                f"vocabulary={name_or_path}: not one of {', '.join(sorted(shipped))}; name one of them or a .yaml file"
            )
        path = shipped[name_or_path]
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except FileNotFoundError as error:
        raise InputError(f"vocabulary={name_or_path}: no such file") from error
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path}: not a readable YAML file ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        content = {}
    entries = content.get("classes")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: has no list `classes:`; write one class name per line under it")
    if len(entries) > MAX_CLASSES:
        raise InputError(f"{path}: {len(entries)} classes; a mask of bytes holds at most {MAX_CLASSES}")
    classes = tuple(_parse_class(path, position, entry) for position, entry in enumerate(entries, start=1))
    _require_distinct(path, classes)
    return Vocabulary(path.stem, classes, _parse_words(f"{path}: other_phrases", content.get("other_phrases", [])))


def _parse_class(path: Path, position: int, entry: object) -> VocabularyClass:
    if isinstance(entry, str):
        entry = {"name": entry}
    where = f"{path}: class {position}"
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must be a name or {{name, word, synonyms}}, is {entry!r}")
    if unknown := sorted(map(str, entry.keys() - {"name", "word", "synonyms"})):
        raise InputError(f"{where}: unknown key {unknown[0]!r}; the keys are name, word, synonyms")
    name = entry.get("name")
    word = entry.get("word", name)
    if not (isinstance(name, str) and name.strip() and isinstance(word, str) and word.strip()):
        raise InputError(f"{where}: name and word must be text (quote words such as 'no' or '7')")
    synonyms = _parse_words(f"{where} ({name}): synonyms", entry.get("synonyms", []))
    return VocabularyClass(name.strip(), normalise(word), synonyms)


def _parse_words(where: str, words: object) -> tuple[str, ...]:
    if not isinstance(words, list) or not all(isinstance(text, str) and text.strip() for text in words):
        raise InputError(f"{where} must be a list of words")
    return tuple(normalise(text) for text in words)


def _require_distinct(path: Path, classes: tuple[VocabularyClass, ...]) -> None:
    """No text may be the name or the word of two classes: `class_id` would find only the first."""
    owners: dict[str, int] = {"background": 0}
    for position, entry in enumerate(classes, start=1):
        for what in ("name", "word"):
            text = normalise(getattr(entry, what))
            owner = owners.setdefault(text, position)
            if owner != position:
                other = f"class {owner}" if owner else "the background, which is label 0 by itself"
                raise InputError(f"{path}: class {position} has the {what} {text!r} of {other}")

"""Which classes a text names."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from dataset_diffusion.prompts.english import plurals
from dataset_diffusion.vocabulary import Vocabulary

Words = tuple[str, ...]


class ClassFinder:
    """Finds a vocabulary's names, words and synonyms in texts: whole words, singular or plural, the longest first.

    "hot dogs" is the class "hot dog", never "dog", if the vocabulary knows the phrase; case and hyphens do not
    matter. A vocabulary's `other_phrases` ("hot dog" in VOC) are also read as a whole, and mean no class.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._phrases = _phrases(vocabulary)
        self._longest = max(map(len, self._phrases), default=1)

    def find(self, caption: str) -> tuple[int, ...]:
        """The distinct classes that a caption names, in the order of their first mention."""
        return tuple(dict.fromkeys(self.mentions(caption)))

    def mentions(self, caption: str) -> tuple[int, ...]:
        """The class of each mention in a caption, in order and with repeats: "two men and a dog" has two mentions."""
        return tuple(class_id for _, class_id in self._match(caption) if class_id is not None)

    def parse(self, class_prompt: str) -> tuple[tuple[int, ...], str | None]:
        """The classes in a text that should contain nothing else, with repeats, and its first word of no class."""
        matches = list(self._match(class_prompt))
        unknown = next((words for words, class_id in matches if class_id is None), None)
        return tuple(class_id for _, class_id in matches if class_id is not None), unknown

    def harmless(self, phrases: Iterable[str]) -> tuple[str, ...]:
        """The phrases that name no class, and so can be in any image's text.

        If "beach" is a class, "on a beach" would put one into an image that is not labelled with it.
        """
        return tuple(phrase for phrase in phrases if not self.find(phrase))

    def _match(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Split a text into known phrases with their class, and other single words with None."""
        words = _split(text)
        start = 0
        while start < len(words):
            # The longest phrase that begins here, or else one word.
            length = next(
                (n for n in range(self._longest, 0, -1) if words[start : start + n] in self._phrases),
                1,
            )
            phrase = words[start : start + length]
            yield " ".join(phrase), self._phrases.get(phrase)
            start += length


def _phrases(vocabulary: Vocabulary) -> dict[Words, int | None]:
    """Phrases as words -> class, or None for a phrase that means something else."""
    phrases: dict[Words, int | None] = {}
    own = [(text, class_id) for class_id in vocabulary.class_ids for text in _own_texts(vocabulary, class_id)]
    synonyms = [(text, class_id) for class_id in vocabulary.class_ids for text in vocabulary[class_id].synonyms]
    others = [(text, None) for text in vocabulary.other_phrases]
    known = [(words, class_id) for text, class_id in (*own, *synonyms, *others) if (words := _split(text))]
    # The first entry wins: a class keeps its own word whatever another class's synonym or plural says.
    for words, class_id in known:
        phrases.setdefault(words, class_id)
    for words, class_id in known:
        for plural in plurals(" ".join(words)):
            phrases.setdefault(tuple(plural.split()), class_id)
    return phrases


def _own_texts(vocabulary: Vocabulary, class_id: int) -> tuple[str, str]:
    return vocabulary[class_id].word, vocabulary[class_id].name


def _split(text: str) -> Words:
    """Words in lower case: runs of letters and digits, whatever lies between them."""
    return tuple(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text).lower()))

"""How varied captions are: numbers for comparing two plans."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

MOST_CAPTIONS = 40_000
"""How many captions are measured at most: more would take time and tell no more."""
_FILLERS = frozenset(
    (
        *(
            "a",
            "an",
            "the",
            "of",
            "in",
            "on",
            "at",
            "by",
            "to",
            "and",
            "with",
            "from",
            "near",
            "next",
            "beside",
            "close",
        ),
        *("is", "are", "its", "it", "his", "her", "their", "this", "that", "some", "photo", "photograph", "picture"),
        *("image", "snapshot", "shot", "view", "seen"),
    )
)


@dataclass(frozen=True)
class Variety:
    """Figures for the first `num_captions` captions of a plan.

    `num_distinct`, `num_bigrams` and `num_trigrams` count the distinct captions, word bigrams and word trigrams.
    `near_duplicates` is the share, in [0, 1], of captions that have the same words as an earlier one, in any order and
    ignoring articles, prepositions and words for a picture. `mean_words` is the mean number of words in a caption;
    `num_pairs` is the number of pairs of classes that share an image.
    """

    num_captions: int
    num_distinct: int
    num_bigrams: int
    num_trigrams: int
    near_duplicates: float
    mean_words: float
    num_pairs: int


def measure_variety(captions: Sequence[str], class_sets: Iterable[Sequence[int]]) -> Variety:
    """The figures for the first MOST_CAPTIONS captions and for the classes (labels) of each."""
    bigrams: set[tuple[str, ...]] = set()
    trigrams: set[tuple[str, ...]] = set()
    contents: set[frozenset[str]] = set()
    num_words = 0
    captions = captions[:MOST_CAPTIONS]
    for caption in captions:
        words = re.findall(r"[^\W_]+", caption.lower())
        num_words += len(words)
        bigrams.update(pairwise(words))
        trigrams.update(zip(words, words[1:], words[2:], strict=False))
        contents.add(frozenset(words) - _FILLERS)
    pairs = {
        frozenset(pair) for classes, _ in zip(class_sets, captions, strict=False) for pair in combinations(classes, 2)
    }
    number = len(captions)
    return Variety(
        num_captions=number,
        num_distinct=len({caption.lower() for caption in captions}),
        num_bigrams=len(bigrams),
        num_trigrams=len(trigrams),
        near_duplicates=1 - len(contents) / number if number else 0.0,
        mean_words=num_words / number if number else 0.0,
        num_pairs=len(pairs),
    )


def variety_table(columns: dict[str, Variety]) -> list[str]:
    """Lines of a table with one column for each name."""
    rows = {
        "captions": [f"{variety.num_captions}" for variety in columns.values()],
        "distinct captions": [f"{variety.num_distinct}" for variety in columns.values()],
        "near-duplicates": [f"{100 * variety.near_duplicates:.1f}%" for variety in columns.values()],
        "words per caption": [f"{variety.mean_words:.1f}" for variety in columns.values()],
        "distinct 2-grams": [f"{variety.num_bigrams}" for variety in columns.values()],
        "distinct 3-grams": [f"{variety.num_trigrams}" for variety in columns.values()],
        "pairs of classes": [f"{variety.num_pairs}" for variety in columns.values()],
    }
    width = max(8, *map(len, columns))
    head = f"{'variety':18}" + "".join(f" {name:>{width}}" for name in columns)
    return [head, *(f"{name:18}" + "".join(f" {text:>{width}}" for text in texts) for name, texts in rows.items())]

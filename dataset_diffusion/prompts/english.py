"""English that texts made from class words need."""

# Words that are plural in form: "a scissors" is not English.
_PAIRS = frozenset({"scissors", "skis", "glasses", "sunglasses", "trousers", "jeans", "shorts", "pliers", "headphones"})
# Spelt with one sound and spoken with the other: "a unicycle", "an hourglass".
_CONSONANT_SOUNDS = ("uni", "use", "uti", "uk", "eu", "ewe", "one")
_VOWEL_SOUNDS = ("hour", "honest", "heir")


def is_pair(words: str) -> bool:
    """Whether a thing is plural in form: "scissors"."""
    return words.split()[-1].lower() in _PAIRS


def with_article(words: str) -> str:
    """ "car" -> "a car", "orange" -> "an orange", "unicycle" -> "a unicycle", "skis" -> "a pair of skis"."""
    if is_pair(words):
        return f"a pair of {words}"
    first = words.lower()
    vowel = first.startswith(_VOWEL_SOUNDS) or (first[0] in "aeiou" and not first.startswith(_CONSONANT_SOUNDS))
    return f"{'an' if vowel else 'a'} {words}"

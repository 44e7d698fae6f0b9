"""The English grammar that texts made from class words need."""

# Words that are plural in form: "a scissors" is not English.
_PAIRS = frozenset({"scissors", "skis", "glasses", "sunglasses", "trousers", "jeans", "shorts", "pliers", "headphones"})
# Spelt with a vowel but spoken with a consonant, or the other way round: "a unicycle", "an hourglass".
_CONSONANT_SOUNDS = ("uni", "use", "uti", "uk", "eu", "ewe", "one")
_VOWEL_SOUNDS = ("hour", "honest", "heir")
_PLURALS = {
    **{word: word for word in ("sheep", "deer", "moose", "bison", "aircraft", "fish", "goldfish", "jellyfish")},
    **{word: f"{word}s" for word in ("human", "ottoman", "roman", "shaman", "talisman")},
    **{word: f"{word}es" for word in ("echo", "hero", "potato", "tomato", "mango", "volcano")},
    "goose": "geese",
    "passerby": "passersby",
    "ox": "oxen",
    "die": "dice",
    "cactus": "cacti",
    "axis": "axes",
    "quiz": "quizzes",
}
# Plurals by the word's ending: "policeman", "grandchild", "eyetooth", "salesperson".
_PLURAL_ENDINGS = (
    *(("man", "men"), ("child", "children"), ("person", "people"), ("mouse", "mice"), ("tooth", "teeth")),
    ("foot", "feet"),
)
# The other words in -f and -fe only take an s: roofs, chefs, giraffes, safes.
_TO_VES = ("calf", "elf", "half", "hoof", "knife", "leaf", "life", "loaf", "scarf", "thief", "wife", "wolf")


def is_pair(words: str) -> bool:
    """Whether a thing is plural in form: "scissors"."""
    return words.split()[-1].lower() in _PAIRS


def plurals(words: str) -> tuple[str, ...]:
    """The plural of a noun, or of words that end in one, and then every other form that it could have.

    The other forms are for finding a plural in a text: those that are not words ("childs") do no harm there.
    """
    before, space, noun = words.rpartition(" ")
    forms = [_plural(noun), f"{noun}s", f"{noun}es"]
    if noun.endswith("y"):
        forms.append(f"{noun[:-1]}ies")
    if noun.endswith(("f", "fe")):
        forms.append(f"{noun.removesuffix('e').removesuffix('f')}ves")
    return tuple(before + space + form for form in dict.fromkeys(forms))


def _plural(noun: str) -> str:
    if noun in _PLURALS:
        return _PLURALS[noun]
    for ending, plural in _PLURAL_ENDINGS:
        if noun.endswith(ending):
            return noun.removesuffix(ending) + plural
    if noun.endswith(_TO_VES):
        return noun.removesuffix("e").removesuffix("f") + "ves"
    if noun.endswith("y") and not noun.endswith(("ay", "ey", "oy", "uy")):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "sh", "ch", "x", "z")) else f"{noun}s"


def with_article(words: str) -> str:
    """ "car" -> "a car", "orange" -> "an orange", "unicycle" -> "a unicycle", "skis" -> "a pair of skis"."""
    if is_pair(words):
        return f"a pair of {words}"
    first = words.lower()
    vowel = first.startswith(_VOWEL_SOUNDS) or (first[0] in "aeiou" and not first.startswith(_CONSONANT_SOUNDS))
    return f"{'an' if vowel else 'a'} {words}"

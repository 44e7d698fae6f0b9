import pytest

from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.english import plurals
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass, load_vocabulary

VOC = load_vocabulary("voc")
COCO = load_vocabulary("coco")
VOCABULARIES = {"voc": VOC, "coco": COCO}


def names(vocabulary: Vocabulary, class_ids: tuple[int, ...]) -> list[str]:
    return [vocabulary[class_id].name for class_id in class_ids]


@pytest.mark.parametrize(
    ("vocabulary", "caption", "found"),
    [
        ("coco", "a hot dog on a plate", ["hot dog"]),
        ("voc", "a man eating a hot dog", ["person"]),
        ("voc", "a dog eating a hot dog", ["dog"]),
        ("voc", "a hot day for a dog", ["dog"]),
        ("coco", "a teddy bear beside a bear", ["teddy bear", "bear"]),
        ("coco", "two hot dogs and wine glasses", ["hot dog", "wine glass"]),
        ("coco", "sandwiches on benches, puppies and knives", ["sandwich", "bench", "dog", "knife"]),
        ("voc", "buses, horses, ponies and calves", ["bus", "horse", "cow"]),
        ("voc", "people watch the television", ["person", "tvmonitor"]),
        ("voc", "a TV monitor; a tvmonitor", ["tvmonitor"]),
        ("voc", "a woman's dog", ["person", "dog"]),
        ("voc", "a baby on a couch and a policeman on a horse", ["person", "sofa", "horse"]),
        ("voc", "a record player, baby carrots, a man-made lake and a jet ski", []),
        ("voc", "a train car behind a baby cow", ["train", "cow"]),
        ("coco", "a surfer and skiers, a football player", ["person"]),
        (
            "coco",
            "baby elephants, a passenger train, a DVD player, a catcher's mitt",
            ["elephant", "train", "baseball glove"],
        ),
        ("coco", "a toilet bowl, a train car, a pickup truck bed, a cup cake", ["toilet", "train", "truck", "cake"]),
        ("coco", "a flower bed, jet skis, a remote village, black and orange", []),
        ("coco", "an orange, an orange and white kitten, an orange cat", ["orange", "cat"]),
        ("coco", "a cellphone beside a hairdryer", ["cell phone", "hair drier"]),
        ("voc", "a motor-bike and a potted-plant", ["motorbike", "pottedplant"]),
        ("voc", "scared carpets with catalogues", []),
        ("voc", "train tracks near a bus stop", []),
        ("voc", "a train on train tracks", ["train"]),
        ("voc", "A CAT\nunder a Dining   Table.", ["cat", "diningtable"]),
        ("coco", "a couch", ["couch"]),
        ("voc", "a couch", ["sofa"]),
        ("voc", "a dog and a cat and a dog", ["dog", "cat"]),
        ("voc", "", []),
        ("voc", "?!", []),
    ],
)
def test_classes_are_found_in_a_caption(vocabulary: str, caption: str, found: list[str]) -> None:
    vocabulary = VOCABULARIES[vocabulary]
    assert names(vocabulary, ClassFinder(vocabulary).find(caption)) == found


@pytest.mark.parametrize("vocabulary", [VOC, COCO], ids=["voc", "coco"])
def test_each_name_word_and_synonym_means_its_class(vocabulary: Vocabulary) -> None:
    finder = ClassFinder(vocabulary)
    for class_id in vocabulary.class_ids:
        entry = vocabulary[class_id]
        for text in (entry.name, entry.word, *entry.synonyms):
            assert vocabulary.class_id(text) == class_id
            assert finder.find(f"a {text.upper()}, seen") == (class_id,)
            assert finder.parse(text) == ((class_id,), None)


@pytest.mark.parametrize(
    ("vocabulary", "class_prompt", "found", "unknown"),
    [
        ("coco", "hot dog teddy bear", ["hot dog", "teddy bear"], None),
        ("coco", "hot dog dog bear teddy bear", ["hot dog", "dog", "bear", "teddy bear"], None),
        ("voc", "tv monitor dining table chair", ["tvmonitor", "diningtable", "chair"], None),
        ("voc", "tvmonitor diningtable", ["tvmonitor", "diningtable"], None),
        ("voc", "person person sofa", ["person", "person", "sofa"], None),
        ("voc", "dog, cat", ["dog", "cat"], None),
        ("voc", "dog unicorn cat dragon", ["dog", "cat"], "unicorn"),
        ("voc", "person hot dog", ["person"], "hot dog"),
        ("coco", "hot", [], "hot"),
        ("voc", "", [], None),
    ],
)
def test_class_prompts_are_parsed(vocabulary: str, class_prompt: str, found: list[str], unknown: str | None) -> None:
    vocabulary = VOCABULARIES[vocabulary]
    class_ids, first_unknown = ClassFinder(vocabulary).parse(class_prompt)
    assert names(vocabulary, class_ids) == found
    assert first_unknown == unknown


def test_a_classs_word_wins_over_synonyms_and_plurals() -> None:
    vocabulary = Vocabulary(
        "mine",
        (
            VocabularyClass("new", "new", ("couch", "glas")),
            VocabularyClass("news", "news"),
            VocabularyClass("couch", "couch"),
            VocabularyClass("glass", "glass"),
        ),
    )
    assert ClassFinder(vocabulary).find("news couch glass new") == (2, 3, 4, 1)


def test_unusual_vocabulary() -> None:
    vocabulary = Vocabulary(
        "mine",
        (
            VocabularyClass("???", "???"),
            VocabularyClass("traffic_cone", "traffic-cone"),
            VocabularyClass("Café", "cafe\u0301 terrace", ("猫",)),
        ),
    )
    assert ClassFinder(vocabulary).find("??? traffic cones, a CAFÉ terrace") == (2, 3)
    assert ClassFinder(vocabulary).find("a 猫") == (3,)
    assert ClassFinder(Vocabulary("mine", (VocabularyClass("?", "?"),))).find("a dog?") == ()


def test_mentions_keep_order_and_repeats() -> None:
    finder = ClassFinder(load_vocabulary("voc"))
    words = [
        load_vocabulary("voc")[label].word for label in finder.mentions("A man and two women on a couch with two dogs")
    ]
    assert words == ["person", "person", "sofa", "dog"]


@pytest.mark.parametrize(
    ("word", "plural"),
    [
        *(("man", "men"), ("woman", "women"), ("policeman", "policemen"), ("human", "humans"), ("child", "children")),
        *(("mouse", "mice"), ("goose", "geese"), ("ox", "oxen"), ("tooth", "teeth"), ("foot", "feet")),
        *(("cactus", "cacti"), ("quiz", "quizzes"), ("axis", "axes"), ("hero", "heroes"), ("fish", "fish")),
        *(("puppy", "puppies"), ("toy", "toys"), ("calf", "calves"), ("bookshelf", "bookshelves"), ("roof", "roofs")),
        *(
            ("giraffe", "giraffes"),
            ("bus", "buses"),
            ("sandwich", "sandwiches"),
            ("box", "boxes"),
            ("waltz", "waltzes"),
        ),
        *(("old tennis shoe", "old tennis shoes"), ("book of verse", "book of verses"), ("piano", "pianos")),
    ],
)
def test_plurals_are_correct_and_found(word: str, plural: str) -> None:
    assert plurals(word)[0] == plural
    finder = ClassFinder(Vocabulary("own", (VocabularyClass(word, word), VocabularyClass("end", "end"))))
    assert finder.find(f"two {plural} at the end") == (1, 2)

from pathlib import Path

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import VocabularySettings
from dataset_diffusion.vocabulary import VocabularyClass, choose_vocabulary, load_vocabulary

# PASCAL VOC's published colours, background first.
VOC_PALETTE = (
    (0, 0, 0),
    (128, 0, 0),
    (0, 128, 0),
    (128, 128, 0),
    (0, 0, 128),
    (128, 0, 128),
    (0, 128, 128),
    (128, 128, 128),
    (64, 0, 0),
    (192, 0, 0),
    (64, 128, 0),
    (192, 128, 0),
    (64, 0, 128),
    (192, 0, 128),
    (64, 128, 128),
    (192, 128, 128),
    (0, 64, 0),
    (128, 64, 0),
    (0, 192, 0),
    (128, 192, 0),
    (0, 64, 128),
)
VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus"),
    *("car", "cat", "chair", "cow", "diningtable", "dog", "horse"),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_voc_has_its_published_names_and_colours() -> None:
    voc = load_vocabulary("voc")
    assert voc.name == "voc"
    assert voc.label_names == VOC_NAMES
    assert voc.class_ids == tuple(range(1, 21))
    assert voc.palette == VOC_PALETTE
    assert voc[20].word == "tv monitor"


def test_coco_has_80_gapless_labels() -> None:
    coco = load_vocabulary("coco")
    assert len(coco.label_names) == 81
    assert len(set(coco.palette)) == 81
    assert coco.palette[:21] == VOC_PALETTE
    # COCO's category ids 1, 13, 14, 44, 70, 90 have gaps; labels have none.
    names = {1: "person", 12: "stop sign", 13: "parking meter", 40: "bottle", 62: "toilet", 80: "toothbrush"}
    assert {label: coco[label].name for label in names} == names


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_no_word_in_a_shipped_vocabulary_means_two_classes(name: str) -> None:
    vocabulary = load_vocabulary(name)
    texts = [text for entry in vocabulary.classes for text in {entry.name, entry.word, *entry.synonyms}]
    assert len(texts) == len(set(texts))
    assert not set(vocabulary.other_phrases) & set(texts)


@pytest.mark.parametrize("class_id", [0, -1, 21])
def test_ids_outside_the_labels_have_no_class(class_id: int) -> None:
    with pytest.raises(KeyError):
        load_vocabulary("voc")[class_id]


@pytest.mark.parametrize(
    ("text", "class_id"),
    [("dog", 12), (" Dog ", 12), ("puppy", 12), ("dining \t table", 11), ("DININGTABLE", 11), ("unicorn", None)],
)
def test_class_id_of_a_text(text: str, class_id: int | None) -> None:
    assert load_vocabulary("voc").class_id(text) == class_id


def test_a_custom_vocabulary_is_read(write) -> None:
    vocabulary = load_vocabulary(
        write(
            "classes:\n- Cat\n- {name: roadSign, word: Road  Sign, synonyms: [SIGN]}\nother_phrases: [sign  language]\n"
        )
    )
    assert vocabulary.name == "mine"
    assert vocabulary.label_names == ("background", "Cat", "roadSign")
    assert vocabulary.classes == (VocabularyClass("Cat", "cat"), VocabularyClass("roadSign", "road sign", ("sign",)))
    assert vocabulary.other_phrases == ("sign language",)


def test_a_word_wins_over_another_classs_synonym(write) -> None:
    vocabulary = load_vocabulary(write("classes:\n- {name: sofa, synonyms: [couch]}\n- couch\n"))
    assert vocabulary.class_id("couch") == 2


def test_the_largest_vocabulary_has_distinct_colours(write) -> None:
    vocabulary = load_vocabulary(write("classes:\n" + "".join(f"- thing {i}\n" for i in range(254))))
    assert len(set(vocabulary.palette)) == 255
    with pytest.raises(InputError, match="255 classes; an 8-bit mask holds at most 254"):
        load_vocabulary(write("classes:\n" + "".join(f"- thing {i}\n" for i in range(255))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no list `classes:`"),
        ("classes: []", "has no list `classes:`"),
        ("classes: dog", "has no list `classes:`"),
        ("- dog", "has no list `classes:`"),
        ("dog", "has no list `classes:`"),
        ("classes: [dog", "not a readable YAML file"),
        ("classes: ['${missing}']", "not a readable YAML file"),
        ("classes: [no]", "class 1: must be a name"),
        ("classes: [dog, [cat]]", "class 2: must be a name"),
        ("classes: ['']", "class 1: name and word must be text"),
        ("classes: [{word: dog}]", "class 1: name and word must be text"),
        ("classes: [{name: 7}]", "class 1: name and word must be text"),
        ("classes: [{name: dog, word: null}]", "class 1: name and word must be text"),
        ("classes: [{name: dog, color: red}]", "class 1: unknown key 'color'"),
        (
            "classes: [{name: dog, scene: somewhere}]",
            r"class 1 \(dog\): scene 'somewhere' is unknown; leave it out, or",
        ),
        ("classes: [{name: dog, scene: [park, 3]}]", r"class 1 \(dog\): scene 3 is unknown"),
        (
            "classes: [{name: dog, colour: red}]",
            r"class 1 \(dog\): colour must be \[red, green, blue\], each 0 ... 255",
        ),
        ("classes: [{name: dog, colour: [1, 2]}]", "colour must be"),
        ("classes: [{name: dog, colour: [1, 2, 256]}]", "colour must be"),
        ("classes: [{name: dog, colour: [1, 2, true]}]", "colour must be"),
        ("classes: [{name: dog, colour: [0, 0, 0]}]", r"dog has the colour \[0, 0, 0\], .* background"),
        ("classes: [dog, {name: cat, colour: [128, 0, 0]}]", r"cat has the colour \[128, 0, 0\], .* dog"),
        ("classes: [dog]\nignore_index: 0", "ignore_index: 0: masks use 255"),
        ("classes: [{name: dog, synonyms: puppy}]", r"class 1 \(dog\): synonyms must be a list of words"),
        ("classes: [{name: dog, synonyms: [1]}]", r"class 1 \(dog\): synonyms must be a list of words"),
        ("classes: [dog]\nother_phrases: hot dog", "other_phrases must be a list of words"),
        ("classes: [dog]\nother_phrase: [hot dog]", "unknown key 'other_phrase'; the keys are classes, other_phrases"),
        ("classes: [dog, cat, Dog]", "class 3 has the name 'dog', .* class 1"),
        ("classes: [dog, {name: hound, word: dog}]", "class 2 has the word 'dog', .* class 1"),
        ("classes: [{name: hound, word: dog}, dog]", "class 2 has the name 'dog', .* class 1"),
        ("classes: [Background]", "class 1 has the name 'background', .* the background"),
        ("classes: [{name: sky, word: background}]", "class 1 has the word 'background', .* the background"),
    ],
)
def test_malformed_vocabularies_are_named(write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(InputError, match=message) as error:
        load_vocabulary(path)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["imagenet", "voc2012", "folder/voc"])
def test_an_unknown_vocabulary_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=f"vocabulary.name={name}: not one of coco, voc"):
        load_vocabulary(name)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: no such file"):
        load_vocabulary(str(tmp_path / "absent.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match=r"folder\.yaml: not a readable YAML file"):
        load_vocabulary(str(tmp_path / "folder.yaml"))


def test_colours_can_be_chosen(write) -> None:
    vocabulary = load_vocabulary(write("classes:\n- {name: cat, colour: [1, 2, 3]}\n- dog\nignore_index: 255\n"))
    assert vocabulary.palette == ((0, 0, 0), (1, 2, 3), VOC_PALETTE[2])


def test_a_list_of_classes_replaces_the_file() -> None:
    classes = ["cat", {"name": "Balloon", "word": "hot air balloon", "synonyms": ["airship"]}]
    vocabulary = choose_vocabulary(VocabularySettings(name="coco", classes=classes))
    assert vocabulary.name == "own"
    assert vocabulary.label_names == ("background", "cat", "Balloon")
    assert vocabulary.class_id("airship") == 2
    assert choose_vocabulary(VocabularySettings("coco")) == load_vocabulary("coco")


def test_classes_can_be_given_other_words() -> None:
    voc = choose_vocabulary(VocabularySettings(words={"aeroplane": "Airplane", "diningtable": "table"}))
    assert voc[1].word == "airplane"
    assert voc.label_names == VOC_NAMES
    assert voc.class_prompt([11, 1, 2]) == "table airplane bicycle"
    # The original words are still recognised in captions.
    assert (voc.class_id("aeroplane"), voc.class_id("dining table"), voc.class_id("desk")) == (1, 11, 11)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["cat", "dog", "Cat"]}, "vocabulary.classes: class 3 has the name 'cat', .* class 1"),
        ({"classes": ["cat", ""]}, "vocabulary.classes: class 2: name and word must be text"),
        ({"classes": ["cat", 7]}, "vocabulary.classes: class 2: must be a name or"),
        ({"classes": [f"thing {i}" for i in range(255)]}, "vocabulary.classes: 255 classes"),
        ({"words": {"unicorn": "horse"}}, r"vocabulary\.words\.unicorn: no class of vocabulary voc has that name"),
        ({"words": {"background": "sky"}}, r"vocabulary\.words\.background: no class"),
        ({"words": {"sofa": " "}}, r"vocabulary\.words\.sofa: is empty; give a word"),
        ({"words": {"sofa": "chair"}}, r"vocabulary\.words: class 18 has the word 'chair', .* class 9"),
    ],
)
def test_impossible_vocabulary_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_vocabulary(VocabularySettings(**settings))

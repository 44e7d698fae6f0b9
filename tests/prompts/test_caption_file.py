import json
from pathlib import Path

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.caption_file import read_caption_file
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.vocabulary import load_vocabulary

VOC = load_vocabulary("voc")
COCO = load_vocabulary("coco")
DOG = {"caption": "a dog", "class_prompt": "dog"}


def ids(*names: str) -> tuple[int, ...]:
    return tuple(VOC.class_id(name) for name in names)


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes | list) -> Path:
        path = tmp_path / "captions.json"
        if isinstance(content, list):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_the_published_layout_is_read(write) -> None:
    path = write(
        [
            {"filename": "7.jpg", "caption": "a couch; person person sofa", "class_prompt": "person person sofa"},
            {"filename": "2008_000002.jpg", "caption": "a screen.; tv monitor", "class_prompt": "tv monitor"},
        ]
    )
    assert read_caption_file(path, VOC) == [
        Entry(
            "7", "a couch", ids("person", "sofa"), "captions.json: entry 1", mentions=ids("person", "person", "sofa")
        ),
        Entry("2008_000002", "a screen.", ids("tvmonitor"), "captions.json: entry 2"),
    ]


def test_json_lines_are_read(write) -> None:
    path = write('{"caption": "a dog"}\n\n{"caption": "a street"}\r\n{"caption": "a \u2028 cat", "id": 3}\n')
    assert read_caption_file(path, VOC) == [
        Entry("000000", "a dog", None, "captions.json: line 1"),
        Entry("000001", "a street", None, "captions.json: line 3"),
        Entry("3", "a \u2028 cat", None, "captions.json: line 4"),
    ]


def test_a_single_line_is_read_as_json_lines(write) -> None:
    assert [entry.caption for entry in read_caption_file(write('{"caption": "a dog"}'), VOC)] == ["a dog"]


def test_a_byte_order_mark_and_leading_space_are_ignored(write) -> None:
    assert len(read_caption_file(write(b"\xef\xbb\xbf \n[" + json.dumps(DOG).encode() + b"]"), VOC)) == 1


@pytest.mark.parametrize(
    ("caption", "class_prompt", "kept"),
    [
        ("a dog; dog", "dog", "a dog"),
        ("a dog ;  Hot   DOG ", "hot dog", "a dog"),
        ("a dog; dog; dog", "dog", "a dog; dog"),
        ("a dog; cat", "dog", "a dog; cat"),
        ("a dog; hotdog", "dog", "a dog; hotdog"),
        ("a dog", "dog", "a dog"),
        ("; dog", "dog", ""),
        ("", "dog", ""),
        (" a cat. ", "dog", "a cat."),
        ("a dog; ", "", "a dog;"),
    ],
)
def test_appended_classes_are_removed(write, caption: str, class_prompt: str, kept: str) -> None:
    path = write([{"caption": caption, "class_prompt": class_prompt}])
    assert read_caption_file(path, COCO)[0].caption == kept


@pytest.mark.parametrize(
    ("caption", "kept", "mentions"),
    [
        ("a woman on a couch; person couch", "a woman on a couch", ("person", "sofa")),
        ("a room ; dog DOG tv monitor ", "a room", ("dog", "dog", "tvmonitor")),
        ("a dog; a cat", "a dog; a cat", None),
        ("a dog; cat; two sofas", "a dog; cat; two sofas", None),
        ("a dog;", "a dog;", None),
        ("dog", "dog", None),
    ],
)
def test_without_a_class_prompt_the_ending_is_read(write, caption: str, kept: str, mentions: tuple | None) -> None:
    (entry,) = read_caption_file(write([{"caption": caption}]), VOC)
    assert (entry.caption, entry.mentions or entry.class_ids) == (kept, mentions and ids(*mentions))


def test_given_classes_take_precedence_over_the_captions(write) -> None:
    path = write([{"caption": "a dog and a cat", "class_prompt": "sofa cat"}])
    assert read_caption_file(path, VOC)[0].class_ids == ids("sofa", "cat")
    path = write([{"caption": "a dog and a cat", "class_prompt": ""}])
    assert read_caption_file(path, VOC)[0].class_ids == ()
    path = write([{"caption": "a dog and a cat", "class_prompt": None, "filename": None}])
    assert read_caption_file(path, VOC) == [Entry("000000", "a dog and a cat", None, "captions.json: entry 1")]


@pytest.mark.parametrize(
    ("filename", "sample_id"),
    [("a.jpg", "a"), ("dir/b.png", "b"), ("c", "c"), ("COCO_val-1.2.jpg", "COCO_val-1.2"), ("_x.jpg", "_x")],
)
def test_sample_id_is_the_stem(write, filename: str, sample_id: str) -> None:
    assert read_caption_file(write([{**DOG, "filename": filename}]), VOC)[0].sample_id == sample_id


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        ("", "", "is empty"),
        (" \n ", "", "is empty"),
        (b"\xff\xfe\x00", "", "not readable as UTF-8"),
        ('[{"caption": "a dog"},\n{"caption": }]', "line 2", "not JSON"),
        ('{"caption": "a dog"}\n\n{"caption": \n', "line 3", "not JSON"),
        ("a dog\na cat", "line 1", "not JSON"),
        ('{\n"images": []\n}', "line 1", "not JSON"),
        ("[" * 100_000, "line 1", "nested too deeply"),
        (["a dog"], "entry 1", "is not an object"),
        ('"a dog"', "line 1", "is not an object"),
        ([DOG, {"class_prompt": "dog"}], "entry 2", "has no caption"),
        ([DOG, DOG, {"caption": 7}], "entry 3", "caption must be text, but is 7"),
        ([{"caption": None}], "entry 1", "caption must be text, but is null"),
        ([{"caption": "a dog", "class_prompt": ["dog"]}], "entry 1", r"class_prompt must be text, but is \[\"dog\"\]"),
        ([{**DOG, "filename": 3}], "entry 1", "filename must be text, but is 3"),
        ([{**DOG, "caption": "half \ud83d"}], "entry 1", "lone surrogate"),
        ([{**DOG, "filename": ""}], "entry 1", "letters, digits"),
        ([{**DOG, "filename": "a b.jpg"}], "entry 1", "letters, digits"),
        ([{**DOG, "filename": ".."}], "entry 1", "letters, digits"),
        ([{**DOG, "filename": "-rf.jpg"}], "entry 1", "letters, digits"),
        ([{**DOG, "filename": "é.jpg"}], "entry 1", "letters, digits"),
        ([{**DOG, "filename": f"{'a' * 201}.jpg"}], "entry 1", "at most 200"),
        ([{**DOG, "filename": "a.jpg"}, DOG, {**DOG, "filename": "a.png"}], "entry 3", "entry 1 already has .* 'a'"),
        ([{**DOG, "filename": "a.jpg"}, {**DOG, "filename": "A.jpg"}], "entry 2", "entry 1 already has .* 'A'"),
        ([{**DOG, "filename": "000001"}, DOG], "entry 2", "entry 1 already has .* '000001'"),
        ([{**DOG, "id": "a"}, {**DOG, "id": "a"}], "entry 2", "entry 1 already has .* 'a'"),
        ([{**DOG, "id": "a/b"}], "entry 1", "id 'a/b': .* letters, digits"),
        ([{**DOG, "id": "a\\\\b"}], "entry 1", "letters, digits"),
        ([{**DOG, "id": True}], "entry 1", "id must be text, but is true"),
        ([{**DOG, "seed": -1}], "entry 1", r"seed must be a whole number in \[0, 2\*\*63\), but is -1"),
        ([{**DOG, "seed": 2**63}], "entry 1", "seed must be a whole number"),
        ([{**DOG, "source": 7}], "entry 1", "source must be text, but is 7"),
        ([{**DOG, "class_ids": [11]}], "entry 1", r"class_ids \[11\] are not 'dog' in vocabulary voc"),
        ([{**DOG, "class_ids": [99]}], "entry 1", r"class_ids \[99\] are not 'dog' in vocabulary voc"),
        ([{**DOG, "class_ids": 12}], "entry 1", r"class_ids 12 are not 'dog' in vocabulary voc"),
        ([DOG, {**DOG, "class_prompt": "dog unicorn"}], "entry 2", "'unicorn' is not a class of vocabulary voc"),
        ('{"caption": "a", "class_prompt": "hot dog"}', "line 1", "'hot dog' is not a class of vocabulary voc"),
    ],
)
def test_malformed_files_are_named(write, content, place: str, message: str) -> None:
    path = write(content)
    with pytest.raises(InputError, match=message) as error:
        read_caption_file(path, VOC)
    text = str(error.value)
    assert text.startswith(f"{path}: {place}")
    assert "\n" not in text


def test_missing_file_and_folder_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"prompts\.path=.*absent\.json: no such file"):
        read_caption_file(tmp_path / "absent.json", VOC)
    with pytest.raises(InputError, match=str(tmp_path)):
        read_caption_file(tmp_path, VOC)

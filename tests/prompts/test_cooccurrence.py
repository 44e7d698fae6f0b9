import json
from pathlib import Path

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.cooccurrence import read_cooccurrence
from dataset_diffusion.vocabulary import load_vocabulary

VOC = load_vocabulary("voc")
PERSON, DOG, SOFA = (VOC.class_id(name) for name in ("person", "dog", "sofa"))


def test_a_table_is_symmetric(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text("person: {couch: 3, dog: 0.5}\nsofa: {person: 1}\n")
    table = read_cooccurrence(path, VOC)
    assert table == {PERSON: {SOFA: 4, DOG: 0.5}, SOFA: {PERSON: 4}, DOG: {PERSON: 0.5}}


def test_a_table_is_counted_from_instances(tmp_path: Path) -> None:
    """Images are counted, not objects: the second dog of image 1 adds nothing."""
    categories = [{"id": number, "name": name} for number, name in enumerate(("person", "dog", "couch", "fork"))]
    shown = {1: (0, 1, 1, 3), 2: (0, 1, 2), 3: (2,)}
    annotations = [{"image_id": image, "category_id": number} for image, numbers in shown.items() for number in numbers]
    path = tmp_path / "instances_train2017.json"
    path.write_text(json.dumps({"categories": categories, "annotations": annotations}))
    assert read_cooccurrence(path, VOC) == {
        PERSON: {DOG: 2, SOFA: 1},
        DOG: {PERSON: 2, SOFA: 1},
        SOFA: {PERSON: 1, DOG: 1},
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a table; write"),
        ("person", "is not a table; write"),
        ("person: 3", "is not a table; write"),
        ("person: [dog", "not a readable YAML file"),
        ("person: {unicorn: 3}", "'unicorn' is not a class of vocabulary voc"),
        ("unicorn: {dog: 3}", "'unicorn' is not a class of vocabulary voc"),
        ("person: {dog: many}", "person, dog: 'many' is not a number of 0 or more"),
        ("person: {dog: -1}", "person, dog: -1 is not a number of 0 or more"),
        ("sofa: {couch: 1}", "sofa, couch: are the same class"),
    ],
)
def test_malformed_tables_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_cooccurrence(path, VOC)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prompts\.cooccurrence=.*absent\.yaml: no such file"):
        read_cooccurrence(tmp_path / "absent.yaml", VOC)

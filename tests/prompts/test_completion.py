from pathlib import Path

import pytest

from dataset_diffusion.prompts import captioner
from dataset_diffusion.prompts.completion import complete_entries
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.settings.generate import CaptionerSettings
from dataset_diffusion.vocabulary import load_vocabulary

VOC = load_vocabulary("voc")
SETTINGS = CaptionerSettings(path="lab/blip")
DOG, CAT = VOC.class_id("dog"), VOC.class_id("cat")


def test_classes_are_found_if_none_are_given() -> None:
    entries = [
        Entry("0", "a dog and a cat", None, "x"),
        Entry("1", "a street", None, "x"),
        Entry("2", "a cat", None, "x"),
        Entry("3", "a dog", (), "x"),
        Entry("4", "a dog", (CAT,), "x", seed=5),
    ]
    completed = complete_entries(entries, SETTINGS, VOC)
    assert [(entry.sample_id, entry.class_ids, entry.seed) for entry in completed] == [
        ("0", (DOG, CAT), None),
        ("2", (CAT,), None),
        ("4", (CAT,), 5),
    ]
    assert complete_entries([], SETTINGS, VOC) == []


def test_only_images_are_captioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioner, "caption_images", lambda paths, *_: [f"a photo of a {path.stem}" for path in paths])
    entries = [
        Entry("0", None, None, "dog.jpg", image=Path("dog.jpg")),
        Entry("1", "a cat", None, "x"),
        Entry("2", None, (CAT,), "sofa.jpg", image=Path("sofa.jpg")),
    ]
    completed = complete_entries(entries, SETTINGS, VOC, progress=False)
    assert [(entry.caption, entry.class_ids, entry.source) for entry in completed] == [
        ("a photo of a dog", (DOG,), "dog.jpg, caption by blip"),
        ("a cat", (CAT,), "x"),
        ("a photo of a sofa", (CAT,), "sofa.jpg, caption by blip"),
    ]


def test_an_annotated_image_has_its_classes_in_the_order_of_mention(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = {
        "a": "a man and a woman on a couch with a dog",
        "b": "a street",
        "c": "a cat " * 9,
        "d": "a couch",
    }
    monkeypatch.setattr(captioner, "caption_images", lambda paths, *_: [captions[path.stem] for path in paths])
    person, sofa, chair = (VOC.class_id(name) for name in ("person", "sofa", "chair"))
    shown = {"a": (chair, person, sofa), "b": (CAT, DOG), "c": (CAT,), "d": ()}
    entries = [Entry(name, None, class_ids, name, image=Path(name)) for name, class_ids in shown.items()]
    completed = {entry.sample_id: entry for entry in complete_entries(entries, SETTINGS, VOC, progress=False)}
    # A dog is mentioned but not annotated; a chair is annotated but not mentioned.
    assert completed["a"].mentions == (person, person, sofa, chair)
    assert completed["a"].class_ids == (person, sofa, chair)
    assert (completed["b"].class_ids, completed["b"].mentions) == ((CAT, DOG), ())
    assert (completed["c"].class_ids, completed["c"].mentions) == ((CAT,), (CAT,) * 3)
    assert "d" not in completed

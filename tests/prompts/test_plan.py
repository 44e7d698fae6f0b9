import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_diffusion.dataset.plan import plan_lines
from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts import captioner
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.plan import plan_prompts
from dataset_diffusion.prompts.seeds import HashedRandom, sample_seed
from dataset_diffusion.settings.generate import CaptionerSettings, PromptSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass, load_vocabulary

VOC = load_vocabulary("voc")
CAPTIONS = ["a dog", "a street", "a cat", "another dog", "a dog and a cat", "a sofa"]


@pytest.fixture
def captions(tmp_path) -> PromptSettings:
    return settings_for(tmp_path, [{"filename": f"photo-{i}.jpg", "caption": text} for i, text in enumerate(CAPTIONS)])


def settings_for(folder: Path, entries: list) -> PromptSettings:
    path = folder / "captions.json"
    path.write_text(json.dumps(entries))
    return PromptSettings(source="file", fill="none", path=str(path))


def test_template_captions_are_written_by_the_given_function() -> None:
    def say(class_ids: Sequence[int], rng: random.Random) -> str:
        return f"{class_ids} {rng.random()}"

    plan = plan_prompts(PromptSettings(), VOC, 10, seed=4, write_caption=say)
    assert (plan.num_without_class, plan.num_templates, plan.pool) == (0, 10, Counter())
    rng = HashedRandom()
    for index, prompt in enumerate(plan.prompts):
        assert prompt.sample_id == f"{index:06d}"
        rng.begin(4, f"caption/{prompt.sample_id}")
        assert prompt.caption == say(prompt.class_ids, rng)
        assert (prompt.seed, prompt.source) == (sample_seed(4, prompt.sample_id), "template")


def test_template_source_with_a_cooccurrence_table(tmp_path) -> None:
    table = tmp_path / "table.yaml"
    table.write_text("person: {sofa: 1}\n")
    settings = PromptSettings(classes_per_image=[0, 1], cooccurrence=str(table))
    prompts = plan_prompts(settings, VOC, 200, seed=0).prompts
    pairs = {frozenset(VOC[class_id].name for class_id in p.class_ids) for p in prompts if len(p.class_ids) > 1}
    assert pairs == {frozenset({"person", "sofa"})}


def test_template_source_needs_a_number() -> None:
    with pytest.raises(InputError, match="num_images=null"):
        plan_prompts(PromptSettings(), VOC, None, seed=0)


def test_file_source_uses_each_caption_with_a_class_once(captions) -> None:
    plan = plan_prompts(captions, VOC, None, seed=5)
    assert plan.num_without_class == 1
    by_id = {prompt.sample_id: prompt for prompt in plan.prompts}
    assert sorted(by_id) == ["photo-0", "photo-2", "photo-3", "photo-4", "photo-5"]
    for sample_id, prompt in by_id.items():
        caption = CAPTIONS[int(sample_id.removeprefix("photo-"))]
        words = [VOC[class_id].word for class_id in prompt.class_ids]
        assert prompt == Prompt(
            sample_id,
            caption,
            prompt.class_ids,
            sample_seed(5, sample_id),
            f"captions.json: entry {int(sample_id[-1]) + 1}",
        )
        assert words == [word for word in ("dog", "cat", "sofa") if word in caption]


def test_fewer_images_are_a_balanced_prefix(captions) -> None:
    whole = plan_prompts(captions, VOC, None, seed=0).prompts
    for num_images in (1, 2, 3, 4, 5, 7, 12):
        plan = plan_prompts(captions, VOC, num_images, seed=0)
        assert len(plan.prompts) == num_images
        assert plan.prompts[:5] == whole[:num_images]
        assert plan.num_without_class == 1
    counts = Counter(class_id for prompt in whole[:2] for class_id in prompt.class_ids)
    assert set(counts.values()) == {1}
    assert len(counts) == 3


def test_more_images_repeat_captions_with_new_ids_and_seeds(captions) -> None:
    prompts = plan_prompts(captions, VOC, 12, seed=0).prompts
    assert len({prompt.sample_id for prompt in prompts}) == len({prompt.seed for prompt in prompts}) == 12
    for round_number, suffix in enumerate(("", "_r1")):
        in_round = prompts[5 * round_number : 5 * round_number + 5]
        assert sorted(p.sample_id for p in in_round) == [f"photo-{i}{suffix}" for i in (0, 2, 3, 4, 5)]
        for prompt in in_round:
            assert prompt.caption == CAPTIONS[int(prompt.sample_id[6])]
            assert prompt.seed == sample_seed(0, prompt.sample_id)
    assert {prompt.sample_id[-3:] for prompt in prompts[10:]} == {"_r2"}


def test_seed_changes_the_noise_but_not_the_selection(captions) -> None:
    first, second = (plan_prompts(captions, VOC, 3, seed=seed).prompts for seed in (0, 1))
    assert [prompt.sample_id for prompt in first] == [prompt.sample_id for prompt in second]
    assert not {prompt.seed for prompt in first} & {prompt.seed for prompt in second}


def test_file_without_any_class_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"captions\.json: no caption names a class of vocabulary voc"):
        plan_prompts(settings_for(tmp_path, [{"caption": "a street"}]), VOC, 3, seed=0)
    with pytest.raises(InputError, match=r"captions\.json: no caption"):
        plan_prompts(settings_for(tmp_path, []), VOC, 3, seed=0)


def test_repeated_id_that_is_a_filename_is_refused(tmp_path) -> None:
    settings = settings_for(tmp_path, [{"filename": name, "caption": "a dog"} for name in ("x.jpg", "X_r1.jpg")])
    assert len(plan_prompts(settings, VOC, 2, seed=0).prompts) == 2
    with pytest.raises(InputError, match="rename"):
        plan_prompts(settings, VOC, 3, seed=0)


FEW = [{"caption": "a dog", "class_prompt": "dog"}] * 40 + [{"caption": "a cat", "class_prompt": "cat"}]


def counts_of(prompts: tuple[Prompt, ...]) -> Counter[int]:
    return Counter(class_id for prompt in prompts for class_id in prompt.class_ids)


def test_template_captions_fill_in_for_rare_classes(tmp_path) -> None:
    settings = replace(settings_for(tmp_path, FEW), fill="template")
    plan = plan_prompts(settings, VOC, 200, seed=0)
    counts = counts_of(plan.prompts)
    assert len(plan.prompts) == len({prompt.sample_id for prompt in plan.prompts}) == 200
    assert len(counts) == 20
    assert max(counts.values()) <= 1.5 * min(counts.values())
    assert plan.pool == Counter({VOC.class_id("dog"): 40, VOC.class_id("cat"): 1})
    by_rule = [prompt for prompt in plan.prompts if prompt.source == "template"]
    assert plan.num_templates == len(by_rule) > 150
    finder = ClassFinder(VOC)
    assert all(finder.find(prompt.caption) == prompt.class_ids for prompt in by_rule)
    assert all(prompt.seed == sample_seed(0, prompt.sample_id) for prompt in plan.prompts)
    # Dogs need no filling.
    assert VOC.class_id("dog") not in counts_of(by_rule)
    for fewer in (1, 19, 90):
        assert plan_prompts(settings, VOC, fewer, seed=0).prompts == plan.prompts[:fewer]


def test_captions_repeat_before_a_template_is_used(tmp_path) -> None:
    plan = plan_prompts(replace(settings_for(tmp_path, FEW), fill="reuse"), VOC, 200, seed=0)
    # No caption has any of the other 18 classes.
    counts = counts_of(plan.prompts)
    assert len(counts) == 20
    assert max(counts.values()) <= 1.5 * min(counts.values())
    dog, cat = (VOC.class_id(name) for name in ("dog", "cat"))
    assert not {dog, cat} & counts_of(tuple(prompt for prompt in plan.prompts if prompt.source == "template")).keys()
    cats = [prompt for prompt in plan.prompts if prompt.class_ids == (cat,)]
    assert [prompt.sample_id for prompt in cats] == ["000040", *(f"000040_r{number}" for number in range(1, len(cats)))]
    assert len({prompt.seed for prompt in cats}) == len(cats) > 8


def test_each_caption_once_needs_no_filling(tmp_path) -> None:
    settings = replace(settings_for(tmp_path, FEW), fill="template")
    assert len(plan_prompts(settings, VOC, None, seed=0).prompts) == 41


def write_plan(folder: Path, prompts: tuple[Prompt, ...], vocabulary: Vocabulary) -> PromptSettings:
    path = folder / "prompts.jsonl"
    path.write_bytes(b"".join(plan_lines(prompts, vocabulary)))
    return PromptSettings(source="file", path=str(path))


@pytest.mark.parametrize("fill", ["reuse", "template", "none"])
def test_a_plan_is_repeated_unchanged(tmp_path, captions, fill: str) -> None:
    """Order, ids, seeds, classes and sources stay, whatever the seed; it has no more images than it lists."""
    first = plan_prompts(replace(captions, fill=fill), VOC, 30, seed=7).prompts
    settings = write_plan(tmp_path, first, VOC)
    for seed, num_images in ((7, None), (0, 30)):
        assert plan_prompts(settings, VOC, num_images, seed).prompts == first
    with pytest.raises(InputError, match=r"num_images=31: prompts\.path=.*prompts\.jsonl is a plan of 30 images"):
        plan_prompts(settings, VOC, 31, seed=7)
    assert plan_prompts(settings, VOC, 4, seed=0).prompts == first[:4]


def test_a_captions_own_seed_is_used_only_once(tmp_path) -> None:
    settings = settings_for(tmp_path, [{"id": "a", "caption": "a dog", "seed": 5}, {"id": "b", "caption": "a dog"}])
    seeds = {prompt.sample_id: prompt.seed for prompt in plan_prompts(settings, VOC, 4, seed=0).prompts}
    assert seeds == {"a": 5} | {sample_id: sample_seed(0, sample_id) for sample_id in ("b", "a_r1", "b_r1")}


def test_a_plan_is_read_by_its_labels_if_words_are_ambiguous(tmp_path) -> None:
    vocabulary = Vocabulary("own", tuple(VocabularyClass(word, word) for word in ("hot", "dog", "hot dog")))
    prompts = (
        Prompt("a", "a hot dog; hot dog", (1, 2), 3, "x"),
        Prompt("b", " a hot dog; hot dog ", (3,), 4, "y"),
    )
    assert plan_prompts(write_plan(tmp_path, prompts, vocabulary), vocabulary, None, 0).prompts == prompts


def test_a_plan_of_another_vocabulary_is_refused(tmp_path) -> None:
    prompts = plan_prompts(PromptSettings(), VOC, 5, seed=0).prompts
    settings = write_plan(tmp_path, prompts, VOC)
    other = Vocabulary("other", (*VOC.classes[2:], *VOC.classes[:2]))
    with pytest.raises(InputError, match=r"prompts\.jsonl: line 1: class_ids .* are not 'bicycle' in vocabulary other"):
        plan_prompts(settings, other, None, 0)


def test_coco_source(tmp_path) -> None:
    (tmp_path / "annotations").mkdir()
    captions = [{"image_id": 1, "id": 10, "caption": "Two puppies"}, {"image_id": 2, "id": 11, "caption": "Nothing"}]
    instances = [{"image_id": 1, "category_id": 18}]
    contents = {
        "captions_val2017": {"images": [{"id": 1}, {"id": 2}], "annotations": captions},
        "instances_val2017": {"annotations": instances, "categories": [{"id": 18, "name": "dog"}]},
    }
    for name, content in contents.items():
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps(content))
    settings = PromptSettings(source="coco", data_root=str(tmp_path), split="val2017")
    plan = plan_prompts(settings, VOC, None, seed=0)
    sample_id = "000000000001_10"
    source = "captions_val2017.json: image 1, caption 10"
    assert plan.prompts == (Prompt(sample_id, "Two puppies", (12,), sample_seed(0, sample_id), source),)
    assert plan.num_without_class == 1
    contents["captions_val2017"]["annotations"] = [captions[0], {**captions[0], "caption": "again"}]
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(contents["captions_val2017"]))
    with pytest.raises(InputError, match="two images have the sample id '000000000001_10'"):
        plan_prompts(settings, VOC, None, seed=0)


def caption_by_name(paths: Sequence[Path], settings: CaptionerSettings, progress: bool) -> list[str]:
    assert settings.path == "lab/blip"
    return [f"a picture of {path.stem}" for path in paths]


def test_images_source_finds_the_classes_in_the_captions(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(captioner, "caption_images", caption_by_name)
    (tmp_path / "pets").mkdir()
    for name in ("two puppies", "a couch", "a street"):
        (tmp_path / "pets" / f"{name}.jpg").touch()
    settings = PromptSettings(source="images", path=str(tmp_path), captioner=CaptionerSettings(path="lab/blip"))
    plan = plan_prompts(settings, VOC, None, seed=0)
    found = {prompt.sample_id: (prompt.caption, prompt.class_ids, prompt.source) for prompt in plan.prompts}
    assert found == {
        "pets_two_puppies": ("a picture of two puppies", (12,), "pets/two puppies.jpg, caption by blip"),
        "pets_a_couch": ("a picture of a couch", (18,), "pets/a couch.jpg, caption by blip"),
    }
    assert plan.num_without_class == 1


def test_voc_source_takes_its_classes_from_the_annotations(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(captioner, "caption_images", caption_by_name)
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("dog\n")
    (tmp_path / "JPEGImages/dog.jpg").touch()
    (tmp_path / "Annotations/dog.xml").write_text("<a><object><name>sofa</name></object></a>")
    settings = PromptSettings(
        source="voc", data_root=str(tmp_path), split="train", captioner=CaptionerSettings(path="lab/blip")
    )
    (prompt,) = plan_prompts(settings, VOC, None, seed=0).prompts
    assert (prompt.caption, prompt.class_ids) == ("a picture of dog", (18,))
    assert prompt.source == "JPEGImages/dog.jpg, caption by blip"

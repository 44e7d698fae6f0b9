import json
from collections import Counter
from pathlib import Path

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.seeds import sample_seed
from dataset_diffusion.prompts.sources import Plan, plan_prompts
from dataset_diffusion.prompts.templates import template_prompts
from dataset_diffusion.settings.generate import PromptSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import load_vocabulary

WEIGHTS = (0.6, 0.3, 0.1)
VOC = load_vocabulary("voc")
CAPTIONS = ["a dog", "a street", "a cat", "another dog", "a dog and a cat", "a sofa"]


@pytest.fixture
def captions(tmp_path) -> PromptSettings:
    return settings_for(tmp_path, [{"filename": f"photo-{i}.jpg", "caption": text} for i, text in enumerate(CAPTIONS)])


def settings_for(folder: Path, entries: list) -> PromptSettings:
    path = folder / "captions.json"
    path.write_text(json.dumps(entries))
    return PromptSettings(source="file", fill=False, path=str(path))


def test_template_source() -> None:
    plan = plan_prompts(PromptSettings(), VOC, 10, seed=4)
    assert plan == Plan(tuple(template_prompts(VOC, "generic", WEIGHTS, 10, seed=4)), num_without_class=0)
    toy = plan_prompts(PromptSettings(template="toy"), VOC, 10, seed=4)
    assert toy.prompts == tuple(template_prompts(VOC, "toy", WEIGHTS, 10, seed=4))


def test_template_source_needs_a_number() -> None:
    with pytest.raises(InputError, match="num_images=null"):
        plan_prompts(PromptSettings(), VOC, None, seed=0)


def test_file_source_takes_each_caption_with_a_class_once(captions) -> None:
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


def test_fewer_images_are_a_balanced_beginning(captions) -> None:
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


def test_seed_changes_the_noise_and_not_the_selection(captions) -> None:
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

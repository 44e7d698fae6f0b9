import json
from pathlib import Path

import pytest

from dataset_diffusion.dataset.plan import StoredPlan, plan_lines
from dataset_diffusion.dataset.resume import require_same_beginning
from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.caption_file import read_caption_file
from dataset_diffusion.settings.generate import GenerateSettings, PromptSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary("voc")
PROMPTS = [
    Prompt("000000", "a café\u2028 with a table", (11, 15), seed=7),
    Prompt("b", 'a "quoted" cat', (8,), seed=2**63 - 1, source="captions.json: entry 2"),
    Prompt("c", "a dog", (12, 8), seed=0, mentions=(12, 8, 12)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_bytes(b"".join(plan_lines(PROMPTS, VOCABULARY)))
    return tmp_path


def test_the_plan_is_a_caption_file(folder: Path) -> None:
    entry, *_ = read_caption_file(folder / "prompts.jsonl", VOCABULARY)
    assert (entry.sample_id, entry.caption, entry.class_ids) == ("000000", PROMPTS[0].caption, (11, 15))


def test_a_stored_plan_has_the_prompts_that_were_written(folder: Path) -> None:
    plan = StoredPlan(folder)
    assert list(plan) == PROMPTS
    assert plan[1:] == PROMPTS[1:]
    assert plan[-1] == PROMPTS[-1]
    assert [plan.sample_id(index) for index in range(3)] == ["000000", "b", "c"]
    with pytest.raises(IndexError):
        plan[3]


def test_a_torn_last_line_is_not_a_prompt(folder: Path) -> None:
    path = folder / "prompts.jsonl"
    path.write_bytes(path.read_bytes()[:-2])
    assert list(StoredPlan(folder)) == PROMPTS[:2]


def test_a_line_that_is_not_a_plan_entry_is_named(folder: Path) -> None:
    with (folder / "prompts.jsonl").open("a") as stream:
        stream.write('{"id": "d"}\n')
    with pytest.raises(InputError, match=r"prompts\.jsonl: line 4: not a line of a plan"):
        StoredPlan(folder)[3]


def test_a_plan_with_an_older_versions_spaces_is_the_same(folder: Path) -> None:
    lines = list(plan_lines(PROMPTS, VOCABULARY))
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(json.loads(line), ensure_ascii=False) + "\n" for line in lines))
    plan = StoredPlan(folder)
    assert list(plan) == PROMPTS
    assert [plan.sample_id(index) for index in range(3)] == ["000000", "b", "c"]
    settings = GenerateSettings(str(folder), 3, seed=0, batch_size=1)
    require_same_beginning(folder, settings, 3, lines)
    with pytest.raises(InputError, match="line 2"):
        require_same_beginning(folder, settings, 3, [lines[0], lines[2], lines[1]])


def test_the_remedy_mentions_num_images_only_if_the_folder_may_have_started_without_it(folder: Path) -> None:
    lines = list(plan_lines(PROMPTS, VOCABULARY))[::-1]
    for number, fill, remedy in (
        (3, "reuse", "the captions, or num_images=null if the folder started with that, or name another output_dir"),
        (3, "none", "the captions, or name another output_dir"),
        (None, "reuse", "the captions, or name another output_dir"),
    ):
        prompts = PromptSettings(source="voc", data_root="voc", split="train", fill=fill)
        settings = GenerateSettings(str(folder), number, seed=0, batch_size=1, prompts=prompts)
        with pytest.raises(InputError, match=f"what prompts=voc gives now; restore {remedy}$"):
            require_same_beginning(folder, settings, 3, lines)

import json
from collections import Counter

import pytest

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.plan import Plan
from dataset_diffusion.prompts.plan_report import compare_plans, report_plan
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass
from tests.clip import real_clip_tokenizer

VOCABULARY = Vocabulary("own", tuple(VocabularyClass(name, name) for name in ("cat", "hot air balloon", "zebra")))
PROMPTS = (
    Prompt("a", "a cat", (1,), 0, "captions.json: line 1"),
    Prompt("b", "word " * 200, (1, 2), 0, "captions.json: line 2"),
    Prompt("c", "a zebra", (3,), 0, "template"),
)


def test_the_report_counts_before_and_after() -> None:
    plan = Plan(PROMPTS, num_without_class=4, pool=Counter({1: 90, 2: 30}))
    report = report_plan(plan, VOCABULARY, real_clip_tokenizer(), "caption_and_classes")
    assert report.num_shortened == 1
    assert report.text.splitlines() == [
        "3 prompts, 1 of them with a template caption",
        "captions left out because they have no class: 4",
        "captions shortened to the 77 tokens that the text encoder reads: 1",
        "captions per class in the source: 0 to 90",
        "prompts per class in the plan: 1 to 2 (most / least: 2.00)",
        "",
        "variety                plan",
        "captions                  3",
        "distinct captions         3",
        "near-duplicates        0.0%",
        "words per caption      68.0",
        "distinct 2-grams          3",
        "distinct 3-grams          1",
        "pairs of classes          1",
        "",
        "class             source     plan",
        "cat                   90        2",
        "hot air balloon       30        1",
        "zebra                  0        1",
    ]


def test_template_captions_have_no_source_to_count() -> None:
    lines = report_plan(Plan(PROMPTS), VOCABULARY, real_clip_tokenizer(), "classes").text.splitlines()
    assert not any("in the source" in line for line in lines)
    assert lines[2].endswith("reads: 0")
    assert lines[-1] == "zebra                  -        1"


def test_classes_that_the_text_encoder_cannot_read_are_refused() -> None:
    words = tuple(VocabularyClass(f"thing {number}", f"thing {number}") for number in range(30))
    plan = Plan((Prompt("a", "things", tuple(range(1, 31)), 0),))
    with pytest.raises(InputError, match="tokens with start and end, but the text encoder reads 77; use fewer classes"):
        report_plan(plan, Vocabulary("own", words), real_clip_tokenizer(), "caption_and_classes")


def test_a_plan_is_compared_with_an_equal_number_of_another_plans_captions(tmp_path) -> None:
    (tmp_path / "old").mkdir()
    other = [{"caption": "a cat", "class_prompt": "cat"}] * 5
    (tmp_path / "old" / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in other))
    table = compare_plans(Plan(PROMPTS), tmp_path / "old", VOCABULARY).splitlines()
    assert table[0].split() == ["variety", "this", "plan", "old"]
    assert table[1].split() == ["captions", "3", "3"]
    assert table[2].split() == ["distinct", "captions", "3", "1"]
    with pytest.raises(InputError, match=r"compare_with=.*absent: no such file; name a folder with a plan"):
        compare_plans(Plan(PROMPTS), tmp_path / "absent", VOCABULARY)


def test_bare_captions_are_compared_by_the_classes_they_name(tmp_path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text(
        '{"caption": "a cat and a zebra"}\n{"caption": "a dog"}\n{"caption": "a zebra", "class_prompt": ""}\n'
    )
    table = compare_plans(Plan(PROMPTS), path, VOCABULARY).splitlines()
    assert table[-1].split() == ["pairs", "of", "classes", "1", "1"]

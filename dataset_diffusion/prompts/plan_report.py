"""`prompts_report.txt`: how balanced and how varied a plan is, and where its captions come from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.caption_file import read_caption_file
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.plan import Plan
from dataset_diffusion.prompts.tokens import count_shortened
from dataset_diffusion.prompts.variety import Variety, measure_variety, variety_table
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

PLAN_REPORT_FILE = "prompts_report.txt"


@dataclass(frozen=True)
class PlanReport:
    """The text of the report, and how many captions lose words because they are too long for the text encoder."""

    text: str
    num_shortened: int


def report_plan(plan: Plan, vocabulary: Vocabulary, tokenizer: "CLIPTokenizer", mode: str) -> PlanReport:
    """Facts about a plan, then a table of the classes: their captions in the source, and their prompts in the plan.

    `mode` is what prompts are made of (see tokens.full_text). Raises InputError for classes whose words are too long
    for the text encoder.
    """
    captions = [prompt.caption for prompt in plan.prompts]
    distinct = {prompt.appended_ids for prompt in plan.prompts}
    words_of = {ids: tuple(vocabulary[class_id].word for class_id in ids) for ids in distinct}
    words = [words_of[prompt.appended_ids] for prompt in plan.prompts]
    num_shortened = count_shortened(tokenizer, captions, words, mode)
    chosen = Counter(class_id for prompt in plan.prompts for class_id in prompt.class_ids)
    lines = [
        f"{len(plan.prompts)} prompts, {plan.num_templates} of them with a template caption",
        f"captions left out because they have no class: {plan.num_without_class}",
        f"captions shortened to the {tokenizer.model_max_length} tokens that the text encoder reads: {num_shortened}",
    ]
    if plan.written:
        lines.append(plan.written)
    if plan.pool:
        lines.append(f"captions per class in the source: {_spread(plan.pool, vocabulary)}")
    lines.append(f"prompts per class in the plan: {_spread(chosen, vocabulary)}")
    lines += ["", *variety_table({"plan": _variety(plan.prompts)})]
    width = max(map(len, vocabulary.label_names))
    lines += ["", f"{'class':{width}} {'source':>8} {'plan':>8}"]
    for class_id in vocabulary.class_ids:
        before = str(plan.pool[class_id]) if plan.pool else "-"
        lines.append(f"{vocabulary[class_id].name:{width}} {before:>8} {chosen[class_id]:>8}")
    return PlanReport("\n".join(lines) + "\n", num_shortened)


def compare_plans(plan: Plan, path: Path, vocabulary: Vocabulary) -> str:
    """A table of the variety of a plan and of the captions of a file, or of the plan in a folder.

    The longer of the two is cut to the length of the shorter, because more captions have more words. Raises InputError
    if the file cannot be read.
    """
    file = path / "prompts.jsonl" if path.is_dir() else path
    if not file.exists():
        raise InputError(f"compare_with={path}: {file}: no such file; name a folder with a plan, or a file of captions")
    other = read_caption_file(file, vocabulary)
    number = min(len(plan.prompts), len(other))
    finder = ClassFinder(vocabulary)
    texts = [entry.caption or "" for entry in other[:number]]
    class_sets = [
        # None: the classes are not known yet, for example because the file has only captions.
        finder.find(text) if entry.class_ids is None else entry.class_ids
        for entry, text in zip(other, texts, strict=False)
    ]
    columns = {"this plan": _variety(plan.prompts[:number]), path.name: measure_variety(texts, class_sets)}
    return "\n".join(variety_table(columns))


def _variety(prompts: Sequence[Prompt]) -> Variety:
    return measure_variety([prompt.caption for prompt in prompts], (prompt.class_ids for prompt in prompts))


def _spread(counts: Counter[int], vocabulary: Vocabulary) -> str:
    numbers = [counts[class_id] for class_id in vocabulary.class_ids]
    least, most = min(numbers), max(numbers)
    return f"{least} to {most}" + (f" (most / least: {most / least:.2f})" if least else "")

"""The plan of a dataset: one prompt for each image."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.balance import balanced_order
from dataset_diffusion.prompts.caption_file import CaptionEntry, read_caption_file
from dataset_diffusion.prompts.seeds import sample_seed
from dataset_diffusion.prompts.templates import template_prompts
from dataset_diffusion.settings.generate import PromptSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary


@dataclass(frozen=True)
class Plan:
    """The prompts of a dataset, each with at least one class, and their ids distinct.

    `num_without_class` captions of the file were left out, because no class was found in them: what their images show
    would have to be labelled background.
    """

    prompts: tuple[Prompt, ...]
    num_without_class: int = 0


def plan_prompts(settings: PromptSettings, vocabulary: Vocabulary, num_images: int | None, seed: int) -> Plan:
    """Plan `num_images` prompts, balanced over the classes as in the paper; None: each caption of a file, once.

    The plan of n images is the beginning of the plan of more, so that a dataset can be grown. Raises InputError if
    the caption file cannot be used, or if `num_images` is None without a file.
    """
    if settings.source == "file":
        assert settings.file is not None  # PromptSettings has seen to it.
        return _plan_from_file(Path(settings.file), vocabulary, num_images, seed)
    if num_images is None:
        raise InputError("num_images=null: prompts.source=template has no end; give a number")
    return Plan(tuple(template_prompts(vocabulary, settings.template, settings.classes_per_image, num_images, seed)))


def _plan_from_file(path: Path, vocabulary: Vocabulary, num_images: int | None, seed: int) -> Plan:
    entries = read_caption_file(path, vocabulary)
    usable = [entry for entry in entries if entry.class_ids]
    if not usable:
        raise InputError(
            f"{path}: no caption names a class of vocabulary {vocabulary.name}; give class_prompt, or add synonyms to "
            "the vocabulary file"
        )
    num_prompts = len(usable) if num_images is None else num_images
    order = islice(balanced_order([entry.class_ids for entry in usable]), num_prompts)
    chosen = [usable[position] for position in order]
    prompts = [_prompt(chosen[index % len(chosen)], index // len(chosen), seed) for index in range(num_prompts)]
    _require_distinct_ids(path, prompts)
    return Plan(tuple(prompts), len(entries) - len(usable))


def _prompt(entry: CaptionEntry, repetition: int, seed: int) -> Prompt:
    """A caption that is used again gets another id, and so another seed and another image."""
    sample_id = f"{entry.sample_id}_r{repetition}" if repetition else entry.sample_id
    return Prompt(sample_id, entry.caption, entry.class_ids, sample_seed(seed, sample_id))


def _require_distinct_ids(path: Path, prompts: list[Prompt]) -> None:
    seen: set[str] = set()
    for prompt in prompts:
        key = prompt.sample_id.lower()
        if key in seen:
            raise InputError(
                f"{path}: sample {prompt.sample_id!r} repeats another caption and is a filename, too; rename that file"
            )
        seen.add(key)

"""The plan of a dataset: one prompt for each image."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.balance import Gap, balanced_order, balanced_order_with_gaps
from dataset_diffusion.prompts.caption_file import read_caption_file
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.coco_captions import read_coco_captions
from dataset_diffusion.prompts.cooccurrence import read_cooccurrence
from dataset_diffusion.prompts.entries import CaptionEntry
from dataset_diffusion.prompts.seeds import sample_seed
from dataset_diffusion.prompts.templates import SOURCE, TemplateWriter, template_prompts
from dataset_diffusion.prompts.voc_images import AnnotatedImage, list_images, read_voc_images
from dataset_diffusion.settings.generate import CaptionerSettings, PromptSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary


@dataclass(frozen=True)
class Plan:
    """The prompts of a dataset, each with at least one class, and their ids distinct.

    `num_without_class` captions of the source were left out, because no class was found in them: what their images
    show would have to be labelled background. `pool` counts the captions of each class (label) that could be chosen;
    it is empty where captions are written by rule.
    """

    prompts: tuple[Prompt, ...]
    num_without_class: int = 0
    pool: Counter[int] = field(default_factory=Counter)

    @property
    def num_by_rule(self) -> int:
        """The number of prompts whose caption was written by rule."""
        return sum(prompt.source == SOURCE for prompt in self.prompts)


def plan_prompts(
    settings: PromptSettings, vocabulary: Vocabulary, num_images: int | None, seed: int, progress: bool = True
) -> Plan:
    """Plan `num_images` prompts, balanced over the classes as in the paper; None: each caption of the source, once.

    The plan of n images is the beginning of the plan of more, so that a dataset can be grown. A file that is the plan
    of a run (each line has a seed) is taken as it stands, up to `num_images`: that run is repeated. Raises InputError
    if the source cannot be used, or if `num_images` is None for captions by rule.
    """
    if settings.source == "template":
        return Plan(_by_rule(settings, vocabulary, num_images, seed))
    of_path = settings.source in ("file", "images")
    where = f"prompts.path={settings.path}" if of_path else f"prompts.data_root={settings.data_root}"
    entries = _read_entries(settings, vocabulary, progress)
    usable = [entry for entry in entries if entry.class_ids]
    if not usable:
        raise InputError(
            f"{where}: no caption names a class of vocabulary {vocabulary.name}; set vocabulary, give class_prompt, or "
            "add synonyms to the vocabulary file"
        )
    if all(entry.seed is not None for entry in usable):
        prompts = [_prompt(entry, 0, seed) for entry in usable[:num_images]]
    else:
        prompts = list(_balanced(usable, settings, vocabulary, num_images, seed))
    _require_distinct_ids(where, prompts)
    pool = Counter(class_id for entry in usable for class_id in entry.class_ids)
    return Plan(tuple(prompts), len(entries) - len(usable), pool)


def _by_rule(settings: PromptSettings, vocabulary: Vocabulary, num_images: int | None, seed: int) -> tuple[Prompt, ...]:
    if num_images is None:
        raise InputError("num_images=null: prompts=template has no end; give a number")
    cooccurrence = read_cooccurrence(Path(settings.cooccurrence), vocabulary) if settings.cooccurrence else None
    weights = settings.classes_per_image
    return tuple(template_prompts(vocabulary, settings.template, weights, num_images, seed, cooccurrence))


def _read_entries(settings: PromptSettings, vocabulary: Vocabulary, progress: bool) -> list[CaptionEntry]:
    # That what a source needs is not None, PromptSettings has seen to.
    path, data_root = (Path(name or "").expanduser() for name in (settings.path, settings.data_root))
    if settings.source == "file":
        return read_caption_file(path, vocabulary)
    if settings.source == "coco":
        return read_coco_captions(data_root, settings.split or "", vocabulary)
    images = (
        list_images(path)
        if settings.source == "images"
        else read_voc_images(data_root, settings.split or "", vocabulary)
    )
    return _caption(images, settings.captioner, vocabulary, progress)


def _caption(
    images: Sequence[AnnotatedImage], settings: CaptionerSettings, vocabulary: Vocabulary, progress: bool
) -> list[CaptionEntry]:
    """Entries of images with the captions that BLIP writes, and with the classes in these where nobody has said."""
    # Imported where it is needed: a second of transformers.
    from dataset_diffusion.prompts.captioner import caption_images

    finder = ClassFinder(vocabulary)
    captions = caption_images([image.path for image in images], settings, progress)
    return [
        CaptionEntry(
            image.sample_id,
            caption,
            finder.find(caption) if image.class_ids is None else image.class_ids,
            f"{image.source}, caption by {Path(settings.path).name}",
        )
        for image, caption in zip(images, captions, strict=True)
    ]


def _balanced(
    entries: Sequence[CaptionEntry], settings: PromptSettings, vocabulary: Vocabulary, num_images: int | None, seed: int
) -> Iterator[Prompt]:
    class_sets = [entry.class_ids for entry in entries]
    order: Iterator[int | Gap] = balanced_order(class_sets)
    # Each caption once leaves no gap to fill.
    fill = settings.fill and num_images is not None
    if fill:
        order = balanced_order_with_gaps(class_sets, vocabulary.class_ids)
        writer = TemplateWriter(vocabulary, settings.template)
    uses: Counter[int | None] = Counter()
    for step in islice(order, len(entries) if num_images is None else num_images):
        position = None if isinstance(step, Gap) else step
        if isinstance(step, Gap):
            yield writer.prompt(f"{SOURCE}_{uses[position]:06d}", (step.class_id,), seed)
        else:
            yield _prompt(entries[step], uses[position], seed)
        uses[position] += 1


def _prompt(entry: CaptionEntry, repetition: int, seed: int) -> Prompt:
    """A caption that is used again gets another id, and so another seed and another image."""
    sample_id = f"{entry.sample_id}_r{repetition}" if repetition else entry.sample_id
    own_seed = None if repetition else entry.seed
    sample = sample_seed(seed, sample_id) if own_seed is None else own_seed
    return Prompt(sample_id, entry.caption, entry.class_ids, sample, entry.source)


def _require_distinct_ids(where: str, prompts: Sequence[Prompt]) -> None:
    """Ids that differ in no more than capitals are one file on some systems."""
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        other = seen.setdefault(prompt.sample_id.lower(), prompt)
        if other is not prompt:
            raise InputError(
                f"{where}: the sample id {prompt.sample_id!r} is that of two images ({other.source}; {prompt.source}); "
                "rename one"
            )

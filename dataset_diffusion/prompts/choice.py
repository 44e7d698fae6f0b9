"""Third step of planning: which entries are used, how often and in what order, so that the classes are balanced."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.balance import Gap, balanced_order, balanced_order_with_gaps, balanced_order_with_reuse
from dataset_diffusion.prompts.company import draw_classes, scene_masks
from dataset_diffusion.prompts.cooccurrence import read_cooccurrence
from dataset_diffusion.prompts.entries import TEMPLATE, Entry
from dataset_diffusion.prompts.seeds import named_rng
from dataset_diffusion.settings.generate import PromptSettings
from dataset_diffusion.vocabulary import Vocabulary


def choose_entries(
    entries: Sequence[Entry],
    settings: PromptSettings,
    vocabulary: Vocabulary,
    num_images: int | None,
    seed: int,
    where: str,
) -> Iterator[Entry]:
    """The entries of `num_images` images; None takes each entry once. Entries still to be written have no caption.

    An entry that is reused gets another id, and so another seed and another image. If all entries have a seed, they are
    a plan, and are used once and in order. Raises InputError if there are no entries (it begins with `where`, their
    source), if a plan has fewer than `num_images`, or if `num_images` is None for captions still to be written.
    """
    if settings.source in ("template", "llm"):
        if num_images is None:
            raise InputError(f"num_images=null: prompts={settings.source} never ends; give a number")
        return islice(_drawn(settings, vocabulary, seed), num_images)
    if not entries:
        raise InputError(
            f"{where}: no caption names a class of vocabulary {vocabulary.name}; set vocabulary, give class_prompt, or "
            "add synonyms to the vocabulary file"
        )
    if all(entry.seed is not None for entry in entries):
        if num_images is not None and num_images > len(entries):
            raise InputError(
                f"num_images={num_images}: {where} is a plan of {len(entries)} images; use at most that, or null"
            )
        return islice(entries, num_images)
    order = _in_balance(entries, settings, vocabulary, num_images)
    return islice(order, len(entries) if num_images is None else num_images)


def _drawn(settings: PromptSettings, vocabulary: Vocabulary, seed: int) -> Iterator[Entry]:
    """Entries of randomly drawn classes, without captions and without end."""
    cooccurrence = read_cooccurrence(Path(settings.cooccurrence), vocabulary) if settings.cooccurrence else None
    rng = named_rng(seed, "classes")
    # The toy model was trained on any combination of classes, and plans of its captions must not change.
    scenes = None if settings.template == "toy" else scene_masks(vocabulary)
    groups = draw_classes(vocabulary.class_ids, settings.classes_per_image, rng, cooccurrence, scenes)
    return (Entry(f"{index:06d}", None, class_ids, TEMPLATE) for index, class_ids in enumerate(groups))


def _in_balance(
    entries: Sequence[Entry], settings: PromptSettings, vocabulary: Vocabulary, num_images: int | None
) -> Iterator[Entry]:
    """The entries, repeated without end, such that any prefix is balanced."""
    class_sets = [entry.class_ids or () for entry in entries]
    order: Iterator[int | Gap] = balanced_order(class_sets)
    # If each caption is used once, there is no gap to fill.
    if settings.fill != "none" and num_images is not None:
        fill = balanced_order_with_reuse if settings.fill == "reuse" else balanced_order_with_gaps
        order = fill(class_sets, vocabulary.class_ids)
    uses: Counter[int | None] = Counter()
    for step in order:
        position = None if isinstance(step, Gap) else step
        if isinstance(step, Gap):
            yield Entry(f"{TEMPLATE}_{uses[position]:06d}", None, (step.class_id,), TEMPLATE)
        else:
            yield _used_again(entries[step], uses[position])
        uses[position] += 1


def _used_again(entry: Entry, times: int) -> Entry:
    return entry._replace(sample_id=f"{entry.sample_id}_r{times}", seed=None) if times else entry

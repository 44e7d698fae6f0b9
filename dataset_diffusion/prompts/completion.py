"""Second step of planning: write the captions of images, and find the classes that captions name."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.entries import Entry, with_mentions
from dataset_diffusion.settings.generate import CaptionerSettings
from dataset_diffusion.vocabulary import Vocabulary

MOST_REPEATS = 3
"""How often a class is appended at most, because captioners stutter ("a dog dog dog dog ...")."""


def complete_entries(
    entries: Sequence[Entry], captioner: CaptionerSettings, vocabulary: Vocabulary, progress: bool = True
) -> list[Entry]:
    """The entries with a caption and at least one class; those without any class are left out.

    Images get captions written by BLIP; if an entry's classes are not given, they are those that its caption names.
    Raises InputError as caption_images does.
    """
    finder = ClassFinder(vocabulary)
    captioned = _caption_images(entries, captioner, progress)
    found = [_with_classes(entry, finder) for entry in captioned]
    return [entry for entry in found if entry.class_ids]


def _caption_images(entries: Sequence[Entry], settings: CaptionerSettings, progress: bool) -> list[Entry]:
    images = [entry.image for entry in entries if entry.image is not None]
    if not images:
        return list(entries)
    # Imported only when needed: importing transformers takes a second.
    from dataset_diffusion.prompts.captioner import caption_images

    captions = iter(caption_images(images, settings, progress))
    by = f"caption by {Path(settings.path).name}"
    return [
        entry if entry.image is None else entry._replace(caption=next(captions), source=f"{entry.source}, {by}")
        for entry in entries
    ]


def _with_classes(entry: Entry, finder: ClassFinder) -> Entry:
    caption = entry.caption or ""
    if entry.class_ids is None:
        return entry._replace(class_ids=finder.find(caption))
    if entry.image is None:
        return entry
    # The classes of an annotated image, as in the paper's VOC prompts: those that the caption mentions, in its order
    # and with its repeats, then the others. Classes that it mentions but the image does not show are left out.
    counts: Counter[int] = Counter()
    mentions = []
    for class_id in finder.mentions(caption):
        counts[class_id] += 1
        if class_id in entry.class_ids and counts[class_id] <= MOST_REPEATS:
            mentions.append(class_id)
    others = (class_id for class_id in entry.class_ids if class_id not in counts)
    return with_mentions(entry, (*mentions, *others))

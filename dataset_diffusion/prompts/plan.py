"""The plan of a dataset, one prompt per image, in five steps that each pass their result to the next.

1. sources.py reads entries: captions, or images to be captioned.
2. completion.py adds missing captions (captioner.py) and classes (classes.py).
3. choice.py chooses which are used, how often and in what order (balance.py, company.py).
4. writing.py writes captions for chosen entries that have none, after a language model (llm.py) for prompts=llm.
5. numbering.py gives each its seed.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from dataset_diffusion.prompts.choice import choose_entries
from dataset_diffusion.prompts.completion import complete_entries
from dataset_diffusion.prompts.entries import TEMPLATE
from dataset_diffusion.prompts.llm import Fits, LanguageModelWriter
from dataset_diffusion.prompts.numbering import number_prompts
from dataset_diffusion.prompts.sources import read_entries
from dataset_diffusion.prompts.templates import TemplateWriter
from dataset_diffusion.prompts.writing import WriteCaption, write_captions
from dataset_diffusion.settings.generate import PromptSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary


@dataclass(frozen=True)
class Plan:
    """The prompts of a dataset, each with at least one class and a distinct id.

    `num_without_class` captions of the source were left out because no class was found in them: everything in their
    images would have to be labelled background. `pool` counts the captions of each class (label) that could be chosen;
    it is empty if captions are written from the class words. `written` summarises a language model's answers.
    """

    prompts: tuple[Prompt, ...]
    num_without_class: int = 0
    pool: Counter[int] = field(default_factory=Counter)
    written: str = ""

    @property
    def num_templates(self) -> int:
        """The number of prompts with a template caption."""
        return sum(prompt.source == TEMPLATE for prompt in self.prompts)


def plan_prompts(
    settings: PromptSettings,
    vocabulary: Vocabulary,
    num_images: int | None,
    seed: int,
    write_caption: WriteCaption | None = None,
    fits: Fits | None = None,
    progress: bool = True,
) -> Plan:
    """Plan `num_images` prompts, balanced over the classes as in the paper; None: each caption of the source, once.

    The plan of n images is the beginning of the plan of more images, so that a dataset can grow. A file that is a run's
    plan (each line has a seed) is used unchanged, up to `num_images`: that run is repeated. `write_caption`
    writes template captions; None is a TemplateWriter. `fits` says whether the text encoder reads a whole prompt.
    Raises InputError if the source cannot be used, if it is a plan of fewer images, or if `num_images` is None for
    captions that are written from the class words.
    """
    setting = "path" if settings.source in ("file", "images") else "data_root"
    where = f"prompts.{setting}={getattr(settings, setting)}"
    entries = read_entries(settings, vocabulary)
    usable = complete_entries(entries, settings.captioner, vocabulary, progress)
    chosen = choose_entries(usable, settings, vocabulary, num_images, seed, where)
    writer = None
    if settings.source == "llm":
        writer = LanguageModelWriter(settings.writer, vocabulary, seed, fits or _always, progress)
        chosen = writer.write(chosen)
    written = write_captions(chosen, write_caption or TemplateWriter(vocabulary).caption, seed)
    prompts = number_prompts(written, seed, where)
    pool = Counter(class_id for entry in usable for class_id in entry.class_ids or ())
    return Plan(prompts, len(entries) - len(usable), pool, writer.summary if writer else "")


@contextmanager
def garbage_collector_paused() -> Iterator[None]:
    """For work that makes millions of objects and no reference cycles: looking for them took a fifth of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _always(caption: str, class_ids: Sequence[int]) -> bool:  # noqa: ARG001
    return True

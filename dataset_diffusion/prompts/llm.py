"""Captions written by a language model, each checked and kept on disk."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dataset_diffusion.prompts import scenery
from dataset_diffusion.prompts.answers import caption_fault, clean_answer
from dataset_diffusion.prompts.cache import TextCache
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.company import draw_scene
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.seeds import named_rng, sample_seed
from dataset_diffusion.settings.generate import LanguageModelSettings
from dataset_diffusion.vocabulary import Vocabulary

ATTEMPTS = 3
STYLES = ("a snapshot", "a documentary photo", "a travel photo", "a professional photo", "a photo taken with a phone")
INSTRUCTION = """\
Write the caption of one photograph in plain English, as somebody would describe what can be seen in it. One sentence, \
10 to 25 words, small letters, no quotation marks, no list and no explanation.
The photograph shows: {classes}. Say each of these words; plurals are fine. Name no other object of this kind.
Place: {place}. View: {view}. Style: {style}; do not say the style.
Examples:
dog, bicycle -> a small brown dog sitting next to a red bicycle on a quiet street in the morning
train -> a long yellow train arriving at a rural station on a foggy day
bottle, cup, dining table -> two green bottles and a white cup on a wooden dining table by the window
{classes} ->"""
"""What the model is asked; docs/prompts.md prints it, so that another model's captions can be used."""
AGAIN = "\nAn earlier answer did not do, because {fault}. Write another one."

Fits = Callable[[str, Sequence[int]], bool]
"""Whether the text encoder reads the whole prompt of a caption and its classes."""
Ask = Callable[[Sequence[str], Sequence[int]], list[str]]


@dataclass
class Answers:
    """A model's captions for one image, the fault of its last answer, and the number of its answers."""

    captions: list[str] = field(default_factory=list)
    fault: str = ""
    num_asked: int = 0


@dataclass
class LanguageModelWriter:
    """Writes captions for entries, and counts how the attempts ended."""

    settings: LanguageModelSettings
    vocabulary: Vocabulary
    seed: int
    fits: Fits
    progress: bool = True
    num_first: int = 0
    num_again: int = 0
    num_failed: int = 0
    _ask: Ask | None = None

    def write(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries with captions. If no answer is good, the caption stays None, and a template takes its place.

        An answer depends on its entry and its attempt; whether it is accepted depends on it and on the entries before.
        So the captions for n images are the first n captions for more images.
        """
        waiting = list(entries)
        self._finder = finder = ClassFinder(self.vocabulary)
        # A view such as "taken with a phone" would ask for a class that the image does not have.
        self._places = {scene: finder.harmless(phrases) for scene, phrases in scenery.PLACES.items()}
        self._anywhere = finder.harmless(scenery.ANYWHERE)
        self._views, self._styles = finder.harmless(scenery.CAMERA), finder.harmless(STYLES)
        self._cache = TextCache(
            self.settings.cache_dir,
            self.settings.path,
            [self.settings.revision, self.settings.dtype, INSTRUCTION, AGAIN],
            ("question", "answer"),
        )
        taken: set[str] = set()
        size = self.settings.batch_size
        # Not shown before the model is loaded, so that a loading error is one line.
        with tqdm(total=len(waiting), unit="caption", desc="captions", disable=not self.progress, delay=0.1) as bar:
            for start in range(0, len(waiting), size):
                batch = waiting[start : start + size]
                yield from self._write_batch(batch, taken)
                bar.update(len(batch))

    @property
    def summary(self) -> str:
        """A line for the plan's report."""
        return (
            f"captions by {Path(self.settings.path).name}: {self.num_first} at the first attempt, "
            f"{self.num_again} after asking again, {self.num_failed} failed and replaced by template captions"
        )

    def _write_batch(self, batch: Sequence[Entry], taken: set[str]) -> list[Entry]:
        answers = [Answers() for _ in batch]
        for attempt in range(ATTEMPTS):
            chosen = _choose(answers, taken)
            open_ones = [position for position, caption in enumerate(chosen) if caption is None]
            if not open_ones:
                break
            questions = [self._question(batch[position], answers[position].fault) for position in open_ones]
            seeds = [sample_seed(self.seed, f"llm/{batch[position].sample_id}/{attempt}") for position in open_ones]
            for position, text in zip(open_ones, self._answers(questions, seeds), strict=True):
                self._judge(answers[position], batch[position], clean_answer(text), last=attempt == ATTEMPTS - 1)
        chosen = _choose(answers, taken)
        taken.update(caption.lower() for caption in chosen if caption is not None)
        return [self._finished(*pair) for pair in zip(batch, answers, chosen, strict=True)]

    def _finished(self, entry: Entry, answers: Answers, caption: str | None) -> Entry:
        if caption is None:
            self.num_failed += 1
            return entry
        self.num_first += answers.num_asked == 1
        self.num_again += answers.num_asked > 1
        # Any other class that the caption names is in the image, too: it is appended like the others.
        found = self._finder.find(caption)
        return entry._replace(caption=caption, class_ids=found, source=f"caption by {Path(self.settings.path).name}")

    def _judge(self, answers: Answers, entry: Entry, caption: str, last: bool) -> None:
        answers.num_asked += 1
        fault = caption_fault(caption) or self._class_fault(caption, entry.class_ids or (), last)
        if fault is None:
            answers.captions.append(caption)
        answers.fault = fault or "there was one just like it"

    def _class_fault(self, caption: str, class_ids: Sequence[int], last: bool) -> str | None:
        found = self._finder.find(caption)
        missing = next((class_id for class_id in class_ids if class_id not in found), None)
        if missing is not None:
            return f"it did not say {self.vocabulary[missing].word!r}"
        other = next((class_id for class_id in found if class_id not in class_ids), None)
        if other is not None and not last:
            return f"it named another object, {self.vocabulary[other].word!r}"
        return None if self.fits(caption, found) else "it was too long"

    def _answers(self, questions: Sequence[str], seeds: Sequence[int]) -> list[str]:
        digests = [hashlib.sha256(json.dumps(pair).encode()).hexdigest() for pair in zip(questions, seeds, strict=True)]
        missing = [position for position, digest in enumerate(digests) if digest not in self._cache.texts]
        if missing:
            if self._ask is None:
                # Imported only when needed: importing transformers takes seconds.
                from dataset_diffusion.prompts.language_model import load_language_model

                self._ask = load_language_model(self.settings)
            new = self._ask([questions[position] for position in missing], [seeds[position] for position in missing])
            self._cache.add({digests[position]: text for position, text in zip(missing, new, strict=True)})
        return [self._cache.texts[digest] for digest in digests]

    def _question(self, entry: Entry, fault: str) -> str:
        rng = named_rng(self.seed, f"llm/{entry.sample_id}")
        class_ids = entry.class_ids or ()
        scene = draw_scene(class_ids, self.vocabulary, rng)
        classes = ", ".join(self.vocabulary[class_id].word for class_id in class_ids)
        question = INSTRUCTION.format(
            classes=classes,
            place=_any_of(self._places[scene] if scene else self._anywhere, rng),
            view=_any_of(self._views, rng),
            style=_any_of(self._styles, rng),
        )
        return question + (AGAIN.format(fault=fault) if fault else "")


def _any_of(phrases: Sequence[str], rng: random.Random) -> str:
    return rng.choice(phrases) if phrases else "any"


def _choose(answers: Sequence[Answers], taken: Set[str]) -> list[str | None]:
    """For each image in turn, its first caption that no earlier image has; `taken` are those of earlier batches."""
    # A separate set: copying all captions so far for each batch would take quadratic time.
    used: set[str] = set()
    chosen: list[str | None] = []
    for entry in answers:
        fresh = (text for text in entry.captions if text.lower() not in used and text.lower() not in taken)
        caption = next(fresh, None)
        if caption is not None:
            used.add(caption.lower())
        chosen.append(caption)
    return chosen

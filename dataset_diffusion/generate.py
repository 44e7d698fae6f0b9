"""Make a dataset: plan prompts, sample images with their attention, turn it into masks, write the folder."""

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dataset_diffusion.attention.aggregate import class_evidence
from dataset_diffusion.dataset.contact_sheet import CONTACT_SHEET_FILE, draw_contact_sheet
from dataset_diffusion.dataset.description import DESCRIPTION_FILE, describe_dataset
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.layout import write_layout
from dataset_diffusion.dataset.manifest import PLAN_FILE, Manifest, SampleRecord, encode_plan, record_sample
from dataset_diffusion.dataset.quality import measure_quality
from dataset_diffusion.dataset.report.write import REPORT_FILE, write_report
from dataset_diffusion.dataset.resume import finished_samples, require_continuable, require_same_model
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import encode_json, opened_folder, write_atomically
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.loading import load_pipeline, load_tokenizer, model_fingerprint
from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.prompts.plan import Plan, plan_prompts
from dataset_diffusion.prompts.plan_report import PLAN_REPORT_FILE, PlanReport, report_plan
from dataset_diffusion.settings.generate import AttentionSettings, GenerateSettings, MaskSettings
from dataset_diffusion.toy.captions import toy_captions
from dataset_diffusion.types import ClassScores, LabelMask, Prompt, Sample
from dataset_diffusion.vocabulary import Vocabulary, choose_vocabulary


@dataclass(frozen=True)
class Summary:
    """How a run ended. `seconds` of each stage for the `num_new` images of this run; loading the model not counted.

    `num_shortened` of the plan's captions lose words, because the text encoder reads no more.
    """

    folder: Path
    num_images: int
    num_new: int
    num_without_class: int
    num_shortened: int
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        lines = [f"{self.num_images} images and masks in {self.folder}{self._pace()}"]
        if self.num_without_class:
            lines.append(f"captions left out, because they have no class: {self.num_without_class}")
        if self.num_shortened:
            lines.append(f"captions shortened to what the text encoder reads: {self.num_shortened}")
        lines += [f"picture: {self.folder / CONTACT_SHEET_FILE}", f"report:  {self.folder / REPORT_FILE}"]
        return "\n".join(lines)

    def _pace(self) -> str:
        if not self.num_new:
            return " (complete already)"
        total = sum(self.seconds.values())
        shares = ", ".join(f"{stage} {100 * seconds / total:.0f}%" for stage, seconds in self.seconds.items())
        return f" ({self.num_new} new, {total / self.num_new:.2f} s an image: {shares})"


@dataclass
class Stopwatch:
    """Adds up the seconds of each stage, by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Count the time spent inside."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def generate(settings: GenerateSettings, progress: bool = True) -> Summary:
    """Make the dataset folder of `settings`, or what is missing in it.

    Whenever it is stopped, even killed, the next call goes on, and the folder ends as it would have without the stop.
    Raises InputError for what the user can put right, where possible before anything is written.
    """
    vocabulary = choose_vocabulary(settings.vocabulary)
    plan = plan_dataset(settings, vocabulary, progress)
    path = Path(settings.output_dir).expanduser()
    stopwatch = Stopwatch()
    with opened_folder(path, "dd-generate"):
        dataset = Dataset(settings, vocabulary, plan.prompts, VocFolder(path, vocabulary.palette), Manifest(path))
        previous = require_continuable(path, settings, vocabulary, plan.prompts)
        records = finished_samples(dataset.folder, dataset.manifest.read(), plan.prompts)
        num_new = len(plan.prompts) - len(records)
        model = previous["model"] if previous else {}
        num_shortened = 0
        if num_new:
            report = _report(plan, settings, vocabulary)
            num_shortened = report.num_shortened
            generator, model = _load_model(dataset, previous)
            _begin(dataset, model, records, report)
            _make_missing(dataset, generator, records, stopwatch, progress)
        if num_new or not dataset.folder.is_complete():
            _finish(dataset, model, records)
    return Summary(path, len(plan.prompts), num_new, plan.num_without_class, num_shortened, stopwatch.seconds)


def write_plan(settings: GenerateSettings, progress: bool = True) -> str:
    """Write the plan of `settings` and its report into the folder, and return what there is to read; makes no image.

    Raises InputError as `generate` does, and if the folder holds a dataset, whose plan must stay.
    """
    vocabulary = choose_vocabulary(settings.vocabulary)
    plan = plan_dataset(settings, vocabulary, progress)
    report = _report(plan, settings, vocabulary)
    path = Path(settings.output_dir).expanduser()
    with opened_folder(path, "dd-generate"):
        if require_continuable(path, settings, vocabulary, plan.prompts):
            raise InputError(f"dry_run=true: {path} holds a dataset already; name another output_dir")
        write_atomically(path / PLAN_FILE, encode_plan(plan.prompts, vocabulary))
        write_atomically(path / PLAN_REPORT_FILE, report.text.encode())
    return f"{report.text}\nplan: {path / PLAN_FILE}"


def plan_dataset(settings: GenerateSettings, vocabulary: Vocabulary, progress: bool = True) -> Plan:
    """The plan of `settings`. Raises InputError as plan_prompts and toy_captions do."""
    # The toy's captions are handed over: prompts/ knows no toy.
    write_caption = toy_captions(vocabulary) if settings.prompts.template == "toy" else None
    return plan_prompts(settings.prompts, vocabulary, settings.num_images, settings.seed, write_caption, progress)


def _report(plan: Plan, settings: GenerateSettings, vocabulary: Vocabulary) -> PlanReport:
    # Of the model, its tokenizer alone: classes that its text encoder cannot read are refused before it is loaded.
    return report_plan(plan, vocabulary, load_tokenizer(settings.model), settings.prompts.mode)


@dataclass(frozen=True)
class Dataset:
    """The dataset that is being made."""

    settings: GenerateSettings
    vocabulary: Vocabulary
    prompts: Sequence[Prompt]
    folder: VocFolder
    manifest: Manifest

    def write(self, file_name: str, content: bytes) -> None:
        """Write a file of the folder itself."""
        write_atomically(self.folder.path / file_name, content)


def label_sample(
    sample: Sample, spans: Sequence[Sequence[int]], attention: AttentionSettings, mask: MaskSettings
) -> tuple[LabelMask, ClassScores]:
    """The mask of a sample from its attention (arXiv 2309.14303), and the scores that it is made from.

    `spans` are the tokens of each of its classes.
    """
    evidence = class_evidence(sample.attention, spans, attention.power)
    scores = class_scores(evidence, sample.prompt.class_ids, sample.image.shape[:2])
    return label_mask(scores, mask.threshold, mask.uncertainty_threshold), scores


def _load_model(dataset: Dataset, previous: Mapping[str, Any] | None) -> tuple[Generator, dict[str, str]]:
    settings = dataset.settings
    pipe = load_pipeline(settings.model, settings.sampler)
    model = model_fingerprint(pipe, settings.model)
    if previous:
        require_same_model(dataset.folder.path, previous["model"], model)
    return Generator(pipe, settings.sampler, settings.attention, dataset.vocabulary, settings.prompts.mode), model


def _begin(
    dataset: Dataset, model: Mapping[str, str], finished: Mapping[str, SampleRecord], report: PlanReport
) -> None:
    """Bring the folder into a state from which every later one can be gone on with."""
    dataset.folder.remove_split()
    # First of all files: by it a later run knows the folder for its own.
    unfinished = describe_dataset(dataset.settings, dataset.vocabulary, model, records=None)
    dataset.write(DESCRIPTION_FILE, encode_json(unfinished))
    dataset.folder.prepare()
    dataset.write(PLAN_FILE, encode_plan(dataset.prompts, dataset.vocabulary))
    dataset.write(PLAN_REPORT_FILE, report.text.encode())
    # Written anew, it has no torn line to which another could be added.
    dataset.manifest.write(finished.values())


def _make_missing(
    dataset: Dataset, generator: Generator, records: dict[str, SampleRecord], stopwatch: Stopwatch, progress: bool
) -> None:
    """Sample, label and write what has no record yet, and add it to `records`, batch by batch."""
    total = len(dataset.prompts)
    with tqdm(total=total, initial=len(records), unit="image", disable=not progress, smoothing=0.1) as bar:
        for batch in batches(dataset.prompts, dataset.settings.batch_size, records):
            with stopwatch.timing("sampling"):
                samples = _sample(generator, batch, dataset.settings.batch_size)
            new = [
                _label_and_write(dataset, generator, sample, stopwatch)
                for sample in samples
                if sample.prompt.sample_id not in records
            ]
            dataset.manifest.append(new)
            records.update((record.id, record) for record in new)
            bar.update(len(new))


def batches(prompts: Sequence[Prompt], size: int, finished: Container[str]) -> Iterator[Sequence[Prompt]]:
    """Those batches of the plan in which a sample is missing, each of them whole.

    Batches of the missing samples alone would have other sizes after a stop, and so other rounding (see Generator): the
    folder would differ from an uninterrupted one.
    """
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        if any(prompt.sample_id not in finished for prompt in batch):
            yield batch


def _sample(generator: Generator, batch: Sequence[Prompt], batch_size: int) -> list[Sample]:
    try:
        return generator.sample(batch)
    except torch.OutOfMemoryError as error:
        remedy = f"batch_size={batch_size // 2} goes on" if batch_size > 1 else "try model.dtype=float16"
        raise InputError(f"batch_size={batch_size}: the device is out of memory; {remedy}") from error


def _label_and_write(dataset: Dataset, generator: Generator, sample: Sample, stopwatch: Stopwatch) -> SampleRecord:
    with stopwatch.timing("masks"):
        spans = generator.class_spans(sample.prompt)
        mask, scores = label_sample(sample, spans, dataset.settings.attention, dataset.settings.mask)
        quality = measure_quality(sample.image, mask, scores)
    with stopwatch.timing("files"):
        files = dataset.folder.write(sample.prompt.sample_id, sample.image, mask.labels)
    return record_sample(sample.prompt, mask, files, dataset.vocabulary, quality)


def _finish(dataset: Dataset, model: Mapping[str, str], records: Mapping[str, SampleRecord]) -> None:
    """Write what describes the whole, all from the files, so that it does not tell in how many runs they were made."""
    in_order = [records[prompt.sample_id] for prompt in dataset.prompts]
    vocabulary, folder = dataset.vocabulary, dataset.folder
    description = describe_dataset(dataset.settings, vocabulary, model, in_order)
    dataset.manifest.write(in_order)
    dataset.write(DESCRIPTION_FILE, encode_json(description))
    sheet = draw_contact_sheet(folder, in_order, vocabulary.label_names, vocabulary.palette)
    dataset.write(CONTACT_SHEET_FILE, sheet)
    write_report(folder.path)
    write_layout(folder, dataset.settings)

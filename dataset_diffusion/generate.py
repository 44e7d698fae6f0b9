"""Make a dataset: plan prompts, sample images with their attention, turn it into masks, write the folder.

Any number of processes can make one folder. Batch b of the plan belongs to process b mod N, and no process waits for
another's samples: the last to finish, or any later run, completes the folder.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dataset_diffusion.attention.aggregate import class_evidence, evidence_at_powers
from dataset_diffusion.dataset.contact_sheet import CONTACT_SHEET_FILE, draw_contact_sheet
from dataset_diffusion.dataset.description import (
    DESCRIPTION_FILE,
    LIBRARIES,
    PlanFacts,
    describe_dataset,
    read_description,
)
from dataset_diffusion.dataset.evidence import EVIDENCE_FOLDER, POWERS, evidence_path, read_evidence, write_evidence
from dataset_diffusion.dataset.folder import VocFolder, WrittenFiles
from dataset_diffusion.dataset.layout import write_layout
from dataset_diffusion.dataset.ledger import FAILED_FILE, Ledger, Part, has_parts, remove_parts, require_free_share
from dataset_diffusion.dataset.manifest import Manifest, SampleRecord, record_sample
from dataset_diffusion.dataset.plan import PLAN_FILE, StoredPlan, plan_lines
from dataset_diffusion.dataset.quality import measure_quality
from dataset_diffusion.dataset.report.write import REPORT_FILE, write_report
from dataset_diffusion.dataset.resume import (
    caption_files,
    has_begun,
    locked,
    plan_facts,
    require_continuable,
    require_same_beginning,
    require_same_model,
    stored_plan,
)
from dataset_diffusion.dataset.verify import Verification, verify_folder
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import (
    TEMPORARY_SUFFIX,
    encode_json,
    explaining_write_errors,
    is_temporary,
    opened_folder,
    read_bytes,
    this_process,
    write_atomically,
)
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.loading import (
    TOY_MODEL,
    load_pipeline,
    load_tokenizer,
    model_fingerprint,
    out_of_memory,
)
from dataset_diffusion.hardware import describe_device
from dataset_diffusion.images import read_image
from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.processes import Share, StopSignals, find_share
from dataset_diffusion.prompts.plan import Plan, garbage_collector_paused, plan_prompts
from dataset_diffusion.prompts.plan_report import PLAN_REPORT_FILE, PlanReport, compare_plans, report_plan
from dataset_diffusion.prompts.seeds import next_seed
from dataset_diffusion.prompts.tokens import fits
from dataset_diffusion.settings.generate import (
    MODEL_SOURCES,
    AttentionSettings,
    GenerateSettings,
    MaskSettings,
)
from dataset_diffusion.toy.captions import toy_captions
from dataset_diffusion.types import ClassScores, LabelMask, Prompt, Sample
from dataset_diffusion.versions import installed_versions
from dataset_diffusion.vocabulary import Vocabulary, choose_vocabulary

MOST_ATTEMPTS = 3
"""How often a sample whose image is not finite is sampled again, each time with its next seed."""
REMASKED_AT_ONCE = 64
MOST_FAILED = 0.01
"""If a larger share of the samples fails despite that, the cause is not bad luck but a wrong setting."""


@dataclass(frozen=True)
class Summary:
    """How a run ended. `seconds` are per stage, for this run's `num_new` images; loading the model is not counted.

    `num_finished` of `num_images` are in the folder; if some are missing, another process completes it.
    """

    folder: Path
    share: Share
    num_images: int
    num_finished: int
    num_new: int
    num_failed: int
    plan: PlanFacts
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        if self.num_finished < self.num_images:
            return (
                f"share {self.share} is done{self._pace()}: {self.num_finished} of {self.num_images} images are in "
                f"{self.folder}; the last process to finish completes it"
            )
        lines = [f"{self.num_images} images and masks in {self.folder}{self._pace()}"]
        if self.plan.num_without_class:
            lines.append(f"captions left out because they have no class: {self.plan.num_without_class}")
        if self.plan.num_shortened:
            lines.append(f"captions shortened to what the text encoder reads: {self.plan.num_shortened}")
        if self.num_failed:
            where = self.folder / FAILED_FILE
            lines.append(f"left out because no seed gave a finite image: {self.num_failed} ({where})")
        lines += [f"picture: {self.folder / CONTACT_SHEET_FILE}", f"report:  {self.folder / REPORT_FILE}"]
        return "\n".join(lines)

    def _pace(self) -> str:
        if not self.num_new:
            return " (complete already)" if self.num_finished == self.num_images else ""
        total = sum(self.seconds.values())
        shares = ", ".join(f"{stage} {100 * seconds / total:.0f}%" for stage, seconds in self.seconds.items())
        each = total / self.num_new
        pace = f"{each:.2f} s per image" if each > 0.05 else f"{1 / each:.0f} images per second"
        return f" ({self.num_new} new, {pace}: {shares})"


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


@dataclass(frozen=True)
class Dataset:
    """The dataset that is being made, and this process's share of it."""

    settings: GenerateSettings
    vocabulary: Vocabulary
    share: Share
    folder: VocFolder

    @property
    def path(self) -> Path:
        """The dataset folder."""
        return self.folder.path

    def write(self, file_name: str, content: bytes) -> None:
        """Write a file directly into the folder."""
        write_atomically(self.path / file_name, content)


def generate(settings: GenerateSettings, progress: bool = True) -> Summary:
    """Make this process's share of the dataset folder of `settings`, or whatever is missing from it.

    Whenever it is stopped, even killed, the next call resumes, with any number of processes, and the folder ends up as
    one uninterrupted process would have made it. SIGTERM and SIGINT raise Stopped, after the batch in flight. Raises
    InputError for whatever the user can fix, if possible before anything is written.
    """
    share = find_share(settings.shard)
    with StopSignals() as stop:
        return _generate(settings, share, stop, progress)


def _generate(settings: GenerateSettings, share: Share, stop: StopSignals, progress: bool) -> Summary:
    vocabulary = choose_vocabulary(settings.vocabulary)
    path = Path(settings.output_dir).expanduser()
    stopwatch = Stopwatch()
    with opened_folder(path, "dd-generate", exclusive=False):
        dataset = Dataset(settings, vocabulary, share, VocFolder(path, vocabulary.palette))
        require_free_share(path, share)
        previous = require_continuable(path, settings, vocabulary)
        plan = stored_plan(path, previous, settings, vocabulary)
        ledger = None if plan is None else Ledger(dataset.folder, plan)
        num_new = 0
        if ledger is None or any(True for _ in batches(ledger, settings.batch_size, share)):
            ledger, num_new = _make_share(dataset, ledger, stopwatch, stop, progress)
        facts, ledger = _complete(dataset, ledger, num_new)
    num_finished, num_failed = ledger.num_finished, ledger.num_failed
    return Summary(path, share, len(ledger.plan), num_finished, num_new, num_failed, facts, stopwatch.seconds)


def write_plan(settings: GenerateSettings, progress: bool = True) -> str:
    """Write the plan of `settings` and its report into the folder, and return the text to print; makes no image.

    A run with the same settings then uses this plan. Raises InputError as `generate` does, and if the folder holds a
    dataset, whose plan must not change.
    """
    vocabulary = choose_vocabulary(settings.vocabulary)
    new = _NewPlan.make(settings, vocabulary, progress)
    other = Path(settings.compare_with).expanduser() if settings.compare_with else None
    # Before the plan is written: the other plan may be the one that was in the folder.
    comparison = f"{compare_plans(new.plan, other, vocabulary)}\n\n" if other else ""
    path = Path(settings.output_dir).expanduser()
    with opened_folder(path, "dd-generate", exclusive=False), locked(path, "planning"):
        if has_begun(path, require_continuable(path, settings, vocabulary)):
            raise InputError(f"dry_run=true: {path} already holds a dataset; choose another output_dir")
        new.write(Dataset(settings, vocabulary, Share(), VocFolder(path, vocabulary.palette)), model={})
    return f"{new.report.text}\n{comparison}plan: {path / PLAN_FILE}"


def remask(settings: GenerateSettings, progress: bool = True) -> Summary:
    """Make the folder of `settings` from the images and the evidence of the folder `settings.remask`, without a model.

    Images and evidence are hard links where the file system allows it, otherwise copies. A stopped run resumes. Raises
    InputError if that folder is not complete, or holds no evidence for the requested power.
    """
    source, path = (Path(name or "").expanduser() for name in (settings.remask, settings.output_dir))
    vocabulary, share = choose_vocabulary(settings.vocabulary), find_share(settings.shard)
    if settings.attention.power not in POWERS:
        kept = ", ".join(map(str, POWERS))
        raise InputError(f"attention.power={settings.attention.power}: evidence is kept only at the powers {kept}")
    old, description = VocFolder(source, vocabulary.palette), read_description(source) if source.is_dir() else None
    if description is None or not old.is_complete() or "plan" not in description:
        raise InputError(f"remask={source}: is not a finished dataset; run its dd-generate again first")
    if path.exists() and path.samefile(source):
        raise InputError(f"output_dir={path}: is the same folder as remask; choose another one for the new masks")
    stopwatch = Stopwatch()
    with StopSignals() as stop, opened_folder(path, "dd-generate", exclusive=False):
        dataset = Dataset(settings, vocabulary, share, VocFolder(path, vocabulary.palette))
        with locked(path, "planning"):
            _begin_remasking(dataset, source, description)
            part = Part(path, share)
        before = Ledger(old, StoredPlan(source))
        ledger = Ledger(dataset.folder, StoredPlan(path))
        num_new = 0
        try:
            hidden = not (progress and share.shows_progress)
            for positions in tqdm(list(batches(ledger, REMASKED_AT_ONCE, share)), unit="batch", disable=hidden):
                with stop.deferred(), stopwatch.timing("masks"):
                    new = [
                        (position, _remask_sample(dataset, source, before, position))
                        for position in positions
                        if not ledger.finished[position]
                    ]
                    part.append(new)
                    num_new += len(new)
        finally:
            part.close()
        facts, ledger = _complete(dataset, ledger, num_new)
    num_finished, num_failed = ledger.num_finished, ledger.num_failed
    return Summary(path, share, len(ledger.plan), num_finished, num_new, num_failed, facts, stopwatch.seconds)


def _begin_remasking(dataset: Dataset, source: Path, description: Mapping[str, Any]) -> None:
    """Write the source's plan into the folder unless it is there. Raises InputError if samples of another plan are."""
    path, settings, plan = dataset.path, dataset.settings, StoredPlan(source)
    previous = require_continuable(path, settings, dataset.vocabulary)
    begun = previous if has_begun(path, previous) else None
    if begun:
        require_same_model(path, begun["model"], description["model"])
        require_same_beginning(path, settings, len(plan), (line + b"\n" for line in plan.lines()))
    # Even if the folder was complete: samples may be missing from it now.
    dataset.folder.remove_split()
    if not begun or stored_plan(path, begun, settings, dataset.vocabulary) is None:
        facts, made_with = plan_facts(description), description["versions"]
        unfinished = describe_dataset(settings, dataset.vocabulary, description["model"], facts, None, made_with)
        dataset.write(DESCRIPTION_FILE, encode_json(unfinished))
        dataset.write(PLAN_REPORT_FILE, (source / PLAN_REPORT_FILE).read_bytes())
        dataset.write(PLAN_FILE, (source / PLAN_FILE).read_bytes())
    dataset.folder.prepare()
    (path / EVIDENCE_FOLDER).mkdir(exist_ok=True)


def _remask_sample(dataset: Dataset, source: Path, before: Ledger, position: int) -> SampleRecord | str:
    """Link a sample's image and evidence and write its new mask; returns the id of a sample that could not be made."""
    prompt, mask_settings = before.plan[position], dataset.settings.mask
    if before.failed[position]:
        return prompt.sample_id
    old = before.record(position)
    evidence = read_evidence(source, prompt.sample_id, dataset.settings.attention.power)
    image_file = VocFolder(source, dataset.vocabulary.palette).image_path(prompt.sample_id)
    _link(image_file, dataset.folder.image_path(prompt.sample_id))
    _link(evidence_path(source, prompt.sample_id), evidence_path(dataset.path, prompt.sample_id))
    image = read_image(image_file)
    scores = class_scores(evidence, prompt.class_ids, image.shape[:2])
    mask = label_mask(scores, mask_settings.threshold, mask_settings.uncertainty_threshold)
    files = WrittenFiles(old.image_sha256, dataset.folder.write_mask(prompt.sample_id, mask.labels))
    quality = measure_quality(image, mask, scores)
    record = record_sample(prompt, mask, files, dataset.vocabulary, quality, old.attempt, old.made_with)
    return replace(record, seed=old.seed)


def _link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy, atomically: whenever it fails, the old file is still there."""
    # Not a name that write_atomically uses: the file it writes into must never be the source.
    temporary = target.with_name(f".{target.name}.{this_process()}.link{TEMPORARY_SUFFIX}")
    with explaining_write_errors(target):
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:  # Another file system, or one without links.
            write_atomically(target, read_bytes(source), make_folder=False)
            return
        try:
            os.replace(temporary, target)
        finally:
            # If both are already the same file, renaming does nothing.
            temporary.unlink(missing_ok=True)


def verify(settings: GenerateSettings, progress: bool = True) -> Verification:
    """Compare every file of the folder with its manifest; with `repair`, remove and regenerate those that differ.

    Raises InputError if the folder holds no dataset with these settings, and, without `repair`, if it is not sound; the
    faults are then printed.
    """
    vocabulary = choose_vocabulary(settings.vocabulary)
    path = Path(settings.output_dir).expanduser()
    folder = VocFolder(path, vocabulary.palette)
    description = require_continuable(path, settings, vocabulary) if path.is_dir() else None
    plan = stored_plan(path, description, settings, vocabulary)
    if plan is None:
        raise InputError(
            f"output_dir={path}: holds no dataset with these settings; give only the output_dir of the dataset"
        )
    found = verify_folder(folder, Ledger(folder, plan), len(vocabulary.palette), progress)
    if found.is_sound and folder.is_complete():
        return found
    print(f"{folder.split_file}: missing, although all samples are there" if found.is_sound else found)
    if not settings.repair:
        raise InputError(f"output_dir={path}: has faults; repair=true regenerates missing and damaged files")
    for file in found.damaged:
        with explaining_write_errors(file):
            file.unlink(missing_ok=True)
    generate(settings, progress)
    return verify_folder(folder, Ledger(folder, StoredPlan(path)), len(vocabulary.palette), progress)


@dataclass(frozen=True)
class _NewPlan:
    """A plan that is not in the folder yet."""

    plan: Plan
    report: PlanReport
    facts: PlanFacts

    @classmethod
    def make(cls, settings: GenerateSettings, vocabulary: Vocabulary, progress: bool) -> "_NewPlan":
        files = caption_files(settings.prompts)
        plan = plan_dataset(settings, vocabulary, progress)
        # Only the model's tokenizer: classes that its text encoder cannot read are refused before it is loaded.
        report = report_plan(plan, vocabulary, load_tokenizer(settings.model), settings.prompts.mode)
        facts = PlanFacts(len(plan.prompts), plan.num_without_class, report.num_shortened, files)
        return cls(plan, report, facts)

    def require_same_beginning(self, dataset: Dataset) -> None:
        """Raise InputError unless the folder's plan, if it has one, is the beginning of this one."""
        lines = plan_lines(self.plan.prompts, dataset.vocabulary)
        require_same_beginning(dataset.path, dataset.settings, len(self.plan.prompts), lines)

    def write(self, dataset: Dataset, model: Mapping[str, str], made_with: Mapping[str, str] | None = None) -> None:
        """Bring the folder into a state from which a run can always be resumed."""
        dataset.folder.remove_split()
        # The first file: it is how a later run recognises the folder as its own.
        unfinished = describe_dataset(dataset.settings, dataset.vocabulary, model, self.facts, None, made_with)
        dataset.write(DESCRIPTION_FILE, encode_json(unfinished))
        dataset.write(PLAN_REPORT_FILE, self.report.text.encode())
        # The last file: a plan that is there is not made again.
        write_atomically(dataset.path / PLAN_FILE, plan_lines(self.plan.prompts, dataset.vocabulary))


def plan_dataset(settings: GenerateSettings, vocabulary: Vocabulary, progress: bool = True) -> Plan:
    """The plan of `settings`. Raises InputError as plan_prompts and toy_captions do."""
    # The toy's captions are passed in: prompts/ does not know the toy. Another model can draw what a file asks for.
    prompts = settings.prompts
    for_toy = settings.model.path == TOY_MODEL or prompts.source in ("template", "llm") or prompts.fill != "none"
    write_caption = toy_captions(vocabulary) if prompts.template == "toy" and for_toy else None
    # A language model's caption must fit; captions from other sources are shortened.
    fitting = _fits(settings, vocabulary) if prompts.source == "llm" else None
    number, seed = settings.num_images, settings.seed
    return plan_prompts(prompts, vocabulary, number, seed, write_caption, fitting, progress)


def _fits(settings: GenerateSettings, vocabulary: Vocabulary) -> Callable[[str, Sequence[int]], bool]:
    tokenizer = load_tokenizer(settings.model)

    def fits_encoder(caption: str, class_ids: Sequence[int]) -> bool:
        return fits(tokenizer, caption, [vocabulary[class_id].word for class_id in class_ids], settings.prompts.mode)

    return fits_encoder


def label_sample(
    sample: Sample, spans: Sequence[Sequence[int]], attention: AttentionSettings, mask: MaskSettings
) -> tuple[LabelMask, ClassScores]:
    """The mask of a sample from its attention (arXiv 2309.14303), and the scores that it is made from.

    `spans` are the tokens of each of its classes.
    """
    evidence = class_evidence(sample.attention, spans, attention.power)
    scores = class_scores(evidence, sample.prompt.class_ids, sample.image.shape[:2])
    return label_mask(scores, mask.threshold, mask.uncertainty_threshold), scores


def _make_share(
    dataset: Dataset, ledger: Ledger | None, stopwatch: Stopwatch, stop: StopSignals, progress: bool
) -> tuple[Ledger, int]:
    """Load the model, make what is missing from this process's share, and return how many samples are new."""
    settings, share = dataset.settings, dataset.share
    with garbage_collector_paused():
        new_plan = None
        if ledger is None and share.count == 1:
            # Before the model is loaded: errors in the captions are reported at once.
            new_plan = _NewPlan.make(settings, dataset.vocabulary, progress)
            if has_begun(dataset.path, read_description(dataset.path)):
                new_plan.require_same_beginning(dataset)
        elif ledger is None and settings.prompts.source in MODEL_SOURCES:
            raise InputError(
                f"prompts={settings.prompts.source}: several processes need a finished plan, because a model writes "
                "it; first run one process with dry_run=true and otherwise the same settings"
            )
        model_settings = replace(settings.model, device=share.device_name(settings.model.device))
        pipe = load_pipeline(model_settings, settings.sampler)
        generator = Generator(pipe, settings.sampler, settings.attention, dataset.vocabulary, settings.prompts.mode)
        with locked(dataset.path, "planning"):
            made_with = installed_versions(LIBRARIES) | {"device": describe_device(generator.device)}
            plan, differences = _begin(dataset, model_fingerprint(pipe, settings.model), made_with, new_plan, progress)
            part = Part(dataset.path, share)
        del new_plan  # From here on the plan is read from its file.
    try:
        if ledger is None or not ledger.is_of_now():
            ledger = Ledger(dataset.folder, plan)
        ledger.refresh()
        maker = _Maker(dataset, generator, differences, stopwatch)
        return ledger, _make_missing(maker, ledger, part, stop, progress)
    finally:
        part.close()


def _begin(
    dataset: Dataset,
    model: Mapping[str, str],
    made_with: Mapping[str, str],
    new_plan: _NewPlan | None,
    progress: bool,
) -> tuple[StoredPlan, dict[str, str]]:
    """Write what the folder needs before its first sample, unless another process or an earlier run has done so.

    Returns the plan, and how `made_with` differs from what the folder was started with.
    """
    settings, path = dataset.settings, dataset.path
    # Read again: another process may have started the folder meanwhile.
    previous = require_continuable(path, settings, dataset.vocabulary)
    differences: dict[str, str] = {}
    if previous and has_begun(path, previous):
        require_same_model(path, previous["model"], model)
        differences = _compare_versions(dataset, previous["versions"], made_with)
        made_with = previous["versions"]
    plan = stored_plan(path, previous, settings, dataset.vocabulary)
    if plan and previous:
        dataset.folder.remove_split()
        description = describe_dataset(settings, dataset.vocabulary, model, plan_facts(previous), None, made_with)
        if description != previous:
            dataset.write(DESCRIPTION_FILE, encode_json(description))
    else:
        new_plan = new_plan or _NewPlan.make(settings, dataset.vocabulary, progress)
        if has_begun(path, previous):
            new_plan.require_same_beginning(dataset)
        new_plan.write(dataset, model, made_with)
        plan = StoredPlan(path)
    dataset.folder.prepare()
    if settings.keep_evidence:
        (path / EVIDENCE_FOLDER).mkdir(exist_ok=True)
    return plan, differences


def _compare_versions(dataset: Dataset, before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The versions and device that differ. If any do, prints a warning, or raises InputError if `strict` is set."""
    names = ("device", "torch", "diffusers", "transformers")
    differences = {name: now[name] for name in names if before.get(name) not in (None, now[name])}
    if differences:
        text = ", ".join(f"{name} {value} (was {before[name]})" for name, value in differences.items())
        where = f"output_dir={dataset.path}: was started with other versions: {text}"
        if dataset.settings.strict:
            raise InputError(f"{where}; install those, or set strict=false")
        print(f"dd-generate: {where}; new samples may differ in rounding; the manifest marks them", file=sys.stderr)
    return differences


@dataclass(frozen=True)
class _Maker:
    """Makes the samples of a batch and writes their files; `differences` come from _compare_versions."""

    dataset: Dataset
    generator: Generator
    differences: Mapping[str, str]
    stopwatch: Stopwatch

    def make(self, batch: Sequence[Prompt], is_wanted: Sequence[bool]) -> list[SampleRecord | None]:
        """The records of the wanted samples of a batch; None for a sample with no finite image in any attempt."""
        with self.stopwatch.timing("sampling"):
            samples = self._sample_finite(batch)
        return [
            self._label_and_write(sample, attempt) if sample.is_finite else None
            for (sample, attempt), wanted in zip(samples, is_wanted, strict=True)
            if wanted
        ]

    def _sample_finite(self, batch: Sequence[Prompt]) -> list[tuple[Sample, int]]:
        """Sample a batch, then resample what is not finite with its next seeds; returns samples with their attempts."""
        samples = [(sample, 0) for sample in self._sample(batch)]
        for attempt in range(1, MOST_ATTEMPTS + 1):
            if all(sample.is_finite for sample, _ in samples):
                break
            # The whole batch again, because a batch of another size is rounded differently.
            seeds = [
                prompt.seed if sample.is_finite else next_seed(prompt.seed, prompt.sample_id, attempt)
                for prompt, (sample, _) in zip(batch, samples, strict=True)
            ]
            again = self._sample([prompt._replace(seed=seed) for prompt, seed in zip(batch, seeds, strict=True)])
            samples = [old if old[0].is_finite else (new, attempt) for old, new in zip(samples, again, strict=True)]
        return samples

    def _sample(self, batch: Sequence[Prompt]) -> list[Sample]:
        try:
            return self.generator.sample(batch)
        except torch.OutOfMemoryError as error:
            settings = self.dataset.settings
            raise out_of_memory(settings.model, settings.batch_size) from error

    def _label_and_write(self, sample: Sample, attempt: int) -> SampleRecord:
        settings = self.dataset.settings
        with self.stopwatch.timing("masks"):
            spans = self.generator.class_spans(sample.prompt)
            mask, scores = label_sample(sample, spans, settings.attention, settings.mask)
            quality = measure_quality(sample.image, mask, scores)
        with self.stopwatch.timing("files"):
            if settings.keep_evidence:
                evidence = evidence_at_powers(sample.attention, spans, POWERS)
                write_evidence(self.dataset.path, sample.prompt.sample_id, evidence)
            files = self.dataset.folder.write(sample.prompt.sample_id, sample.image, mask.labels)
        made_with = dict(self.differences) or None
        return record_sample(sample.prompt, mask, files, self.dataset.vocabulary, quality, attempt, made_with)


def _make_missing(maker: _Maker, ledger: Ledger, part: Part, stop: StopSignals, progress: bool) -> int:
    """Sample, label and write samples that have no record yet, batch by batch; returns how many were made."""
    settings, share = maker.dataset.settings, maker.dataset.share
    num_new = 0
    hidden = not (progress and share.shows_progress)
    initial = ledger.num_finished
    with tqdm(total=len(ledger.plan), initial=initial, unit="image", disable=hidden, smoothing=0.1) as bar:
        for positions in batches(ledger, settings.batch_size, share):
            with stop.deferred():
                start = time.perf_counter()
                wanted = [not ledger.finished[position] for position in positions]
                records = maker.make(ledger.plan[positions.start : positions.stop], wanted)
                missing = [position for position, is_wanted in zip(positions, wanted, strict=True) if is_wanted]
                if not num_new:
                    _require_some(settings, records)
                    _say_what_is_to_come(maker.dataset, ledger, records, time.perf_counter() - start, bar)
                part.append(
                    [
                        (position, record or ledger.plan.sample_id(position))
                        for position, record in zip(missing, records, strict=True)
                    ]
                )
                num_new += sum(record is not None for record in records)
                # For the whole folder, including what other processes have made meanwhile.
                ledger.refresh()
                bar.update(ledger.num_finished - bar.n)
                if ledger.num_failed > max(1, MOST_FAILED * len(ledger.plan)):
                    raise _not_finite(settings, f"{ledger.num_failed} samples of {ledger.num_finished}")
    return num_new


def _require_some(settings: GenerateSettings, records: Sequence[SampleRecord | None]) -> None:
    if records and not any(records):
        raise _not_finite(settings, "the first batch")


def _not_finite(settings: GenerateSettings, what: str) -> InputError:
    return InputError(
        f"model.dtype={settings.model.dtype}: the images of {what} have non-finite values with every seed; try another "
        "dtype, e.g. bfloat16 or float32"
    )


def _say_what_is_to_come(
    dataset: Dataset, ledger: Ledger, records: Sequence[SampleRecord | None], seconds: float, bar: tqdm
) -> None:
    """After the first batch, print the pace, and the time and space that the rest will need at that pace."""
    made = [record.id for record in records if record]
    num_left = len(ledger.plan) - ledger.num_finished - len(made)
    if bar.disable or num_left <= 0:
        return
    pace = seconds / len(made)
    size = sum(
        path(name).stat().st_size for name in made for path in (dataset.folder.image_path, dataset.folder.mask_path)
    )
    bar.write(
        f"first batch: {pace:.2f} s per image; the other {num_left:,} will take about "
        f"{_duration(num_left * pace / dataset.share.count)} and {_size(num_left * size / len(made))}",
        file=sys.stderr,
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} seconds"
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{round(seconds / 60)} minutes"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{max(1, round(num_bytes / 1e6))} MB"


def batches(ledger: Ledger, size: int, share: Share) -> Iterator[range]:
    """This process's batches of the plan in which a sample is missing, as positions in the plan.

    Each batch is whole: batches of only the missing samples would have other sizes after a stop, and so other rounding
    (see Generator), and the folder would differ from that of an uninterrupted run.
    """
    start = 0
    # A million finished samples are skipped at once.
    while (position := ledger.finished.find(0, start)) >= 0:
        number = position // size
        start = min((number + 1) * size, len(ledger.plan))
        if share.owns(number):
            yield range(number * size, start)


def _complete(dataset: Dataset, ledger: Ledger, num_new: int) -> tuple[PlanFacts, Ledger]:
    """Complete the folder if all its samples are finished; returns what is in it."""
    path = dataset.path
    if not num_new and _is_finished(dataset):
        return plan_facts(read_description(path) or {}), ledger
    with locked(path, "completing the folder"):
        description = require_continuable(path, dataset.settings, dataset.vocabulary)
        plan = stored_plan(path, description, dataset.settings, dataset.vocabulary)
        if description is None or plan is None:
            raise InputError(
                f"output_dir={path}: another process has written a new plan meanwhile; start this one again"
            )
        # Read again from the beginning: another process may have merged parts.
        ledger = Ledger(dataset.folder, plan)
        if ledger.num_finished == len(plan) and not _is_finished(dataset):
            _finish(dataset, ledger, description)
    return plan_facts(description), ledger


def _is_finished(dataset: Dataset) -> bool:
    """Whether nothing is left to be written; the user may have removed the contact sheet or the report."""
    overview = (dataset.path / CONTACT_SHEET_FILE, dataset.path / REPORT_FILE)
    return dataset.folder.is_complete() and not has_parts(dataset.path) and all(file.is_file() for file in overview)


def _finish(dataset: Dataset, ledger: Ledger, unfinished: Mapping[str, Any]) -> None:
    """Write what describes the whole folder, only from its files, so that it does not show how many runs made them."""
    vocabulary, folder, records = dataset.vocabulary, dataset.folder, ledger.records()
    # By now the ledger has the old manifest open, and still reads its records.
    Manifest(dataset.path).write_lines(ledger.manifest_lines())
    if ledger.num_failed:
        write_atomically(dataset.path / FAILED_FILE, ledger.failed_lines())
    description = describe_dataset(
        dataset.settings, vocabulary, unfinished["model"], plan_facts(unfinished), records, unfinished["versions"]
    )
    dataset.write(DESCRIPTION_FILE, encode_json(description))
    sheet = draw_contact_sheet(folder, records, vocabulary.label_names, vocabulary.palette)
    dataset.write(CONTACT_SHEET_FILE, sheet)
    write_report(folder.path)
    remove_parts(dataset.path)
    folder.sweep()
    for file in filter(is_temporary, (dataset.path / EVIDENCE_FOLDER).glob(".*")):
        file.unlink(missing_ok=True)
    write_layout(folder, dataset.settings)

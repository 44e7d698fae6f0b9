"""The first thing to run on a new machine or with a new model: makes twenty images and checks that everything works.

    python -m scripts.first_hour experiment=voc
    python -m scripts.first_hour experiment=voc model.path=DIR output_dir=datasets/first_hour batch_size=8

It takes dd-generate's settings; without any it runs the toy model. It makes 20 images of the vocabulary with their
masks in output_dir, which must be new; dd-generate with the same settings continues that folder. It checks the dtype,
that images are finite and show something, that recording and a second run do not change a byte, and the tokens of all
class words. It ends with a block of lines to paste into a report, and with exit status 1 if a check failed.
"""

import gc
import hashlib
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import GenerateSettings

if TYPE_CHECKING:
    from dataset_diffusion.dataset.manifest import SampleRecord
    from dataset_diffusion.generate import Summary
    from dataset_diffusion.generators.generator import Generator
    from dataset_diffusion.types import Prompt, Sample
    from dataset_diffusion.vocabulary import Vocabulary

NUM_IMAGES = 20
FLAT = 5.0
"""An image whose values, in 0 ... 255, have a smaller standard deviation shows nothing: black or one colour."""
PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae")


@dataclass(frozen=True)
class Check:
    """Whether a check passed, and what was found."""

    name: str
    passed: bool
    found: str

    def __str__(self) -> str:
        return f"[{'ok' if self.passed else 'FAILED'}] {self.name}: {self.found}"


@dataclass(frozen=True)
class Repeated:
    """The folder's first batch, regenerated with recording and by the stock pipeline, and the seconds each took."""

    samples: "list[Sample]"
    stock: Any
    seconds: float
    stock_seconds: float


def work(settings: GenerateSettings) -> None:
    """Make the images, check them and print the report."""
    settings = replace(settings, num_images=NUM_IMAGES)
    path = Path(settings.output_dir).expanduser()
    if path.exists():
        raise InputError(f"output_dir={path}: exists; name a new folder")
    # Imported only now: torch takes seconds to import, and a wrong setting should be reported at once.
    from dataset_diffusion.dataset.description import read_description
    from dataset_diffusion.dataset.manifest import Manifest
    from dataset_diffusion.dataset.plan import StoredPlan
    from dataset_diffusion.generate import generate
    from dataset_diffusion.generators.generator import Generator
    from dataset_diffusion.generators.loading import load_pipeline, silence_libraries
    from dataset_diffusion.vocabulary import choose_vocabulary

    silence_libraries()
    summary = generate(settings)
    memory = _peak_memory()
    gc.collect()
    vocabulary, prompts = choose_vocabulary(settings.vocabulary), list(StoredPlan(path))
    pipe = load_pipeline(settings.model, settings.sampler)
    generator = Generator(pipe, settings.sampler, settings.attention, vocabulary, settings.prompts.mode)
    repeated = repeat(generator, prompts[: settings.batch_size])
    records = list(Manifest(path).stream())
    checks = [
        check_dtype(pipe, settings),
        *check_images(summary, repeated, records),
        check_tokens(generator, vocabulary, prompts),
    ]
    lines = [*report(settings, read_description(path) or {}, summary, memory, repeated, records), *map(str, checks)]
    print("\n".join(["---- paste from here ----", *lines, "---- to here ----"]))
    print(f"look at {summary.folder / 'contact_sheet.png'}: do images show their captions, and masks their objects?")
    if not all(check.passed for check in checks):
        sys.exit(1)


def repeat(generator: "Generator", batch: "list[Prompt]") -> Repeated:
    """Regenerate a batch, as dd-generate does and as the stock pipeline does without recording."""
    generator.sample(batch)  # The first batch takes longer.
    start = time.perf_counter()
    samples = generator.sample(batch)
    middle = time.perf_counter()
    stock = generator.images(batch)
    return Repeated(samples, stock, middle - start, time.perf_counter() - middle)


def check_dtype(pipe: Any, settings: GenerateSettings) -> Check:
    """Check that the weights of all parts have the dtype that the settings name."""
    found = {name: str(part.dtype).removeprefix("torch.") for name in PARTS if (part := getattr(pipe, name, None))}
    text = ", ".join(f"{name} {dtype}" for name, dtype in found.items())
    return Check("dtype", set(found.values()) == {settings.model.dtype}, text)


def check_images(summary: "Summary", repeated: Repeated, records: "list[SampleRecord]") -> Iterator[Check]:
    """Check for what can be wrong with images: not finite, flat, changed by recording, or different each time."""
    import numpy as np

    from dataset_diffusion.images import encode_image, read_image

    again = sum(record.attempt > 0 for record in records)
    text = f"{summary.num_failed} of {NUM_IMAGES} not, {again} made with another seed"
    yield Check("finite images", not summary.num_failed and not again, text)
    images = summary.folder / "JPEGImages"
    flat = [record.id for record in records if read_image(images / f"{record.id}.jpg").std() < FLAT]
    yield Check("images that show something", not flat, f"{len(records) - len(flat)} of {len(records)}")
    hashes = {record.id: record.image_sha256 for record in records}
    encoded = {sample.prompt.sample_id: encode_image(sample.image) for sample in repeated.samples}
    same = sum(hashes.get(name) == hashlib.sha256(content).hexdigest() for name, content in encoded.items())
    yield Check("the first batch again has the same bytes", same == len(encoded), f"{same} of {len(encoded)} images")
    stock = (np.nan_to_num(repeated.stock) * 255).round().astype(np.uint8)
    same = sum(np.array_equal(one.image, other) for one, other in zip(repeated.samples, stock, strict=True))
    yield Check("recording changes no pixel", same == len(encoded), f"{same} of {len(encoded)} images")


def check_tokens(generator: "Generator", vocabulary: "Vocabulary", prompts: "list[Prompt]") -> Check:
    """Check that the tokens of each class word spell it, and that each class in a prompt has its tokens."""
    from dataset_diffusion.prompts.tokens import class_prompt

    tokenizer, wrong = generator.family.tokenizer, []
    words = [vocabulary[class_id].word for class_id in vocabulary.class_ids]
    num_tokens = 0
    for word in words:
        text = class_prompt(tokenizer, [word])
        ids = [text.token_ids[position] for position in text.spans[0]]
        num_tokens += len(ids)
        if _letters(tokenizer.decode(ids)) != _letters(word):
            wrong.append(word)
    for prompt in prompts:
        spans = generator.class_spans(prompt)
        places = [place for span in spans for place in span]
        if not all(spans) or len(spans) != len(prompt.class_ids) or len(set(places)) < len(places):
            wrong.append(f"prompt {prompt.sample_id}")
    found = (
        f"wrong: {', '.join(wrong)}" if wrong else f"{len(words)} words, {num_tokens} tokens; {len(prompts)} prompts"
    )
    return Check("token positions", not wrong, found)


def report(
    settings: GenerateSettings,
    description: dict[str, Any],
    summary: "Summary",
    memory: str,
    repeated: Repeated,
    records: "list[SampleRecord]",
) -> list[str]:
    """Lines about the machine, the model, the settings, and their cost."""
    sampler, number = settings.sampler, len(repeated.samples)
    height, width = repeated.samples[0].image.shape[:2]
    shown = [entry.share > 0 for record in records for entry in record.classes]
    pace = repeated.seconds / number
    return [
        ", ".join(f"{name} {version}" for name, version in description["versions"].items()),
        f"model: {description['model']['id']} ({description['model']['revision']})",
        f"settings: {settings.model.dtype}, {height}x{width}, batches of {settings.batch_size}, "
        f"{sampler.num_inference_steps} steps, scheduler {sampler.scheduler or 'its own'}, "
        f"guidance {sampler.guidance_scale:g}",
        f"speed: {pace:.3f} s per image when warm, {40_000 * pace / 3600:.1f} hours for 40,000; "
        f"{sum(summary.seconds.values()) / summary.num_new:.3f} s with the first batch, masks and files",
        f"recording: {repeated.seconds / repeated.stock_seconds:.3f} times the stock pipeline (one batch)",
        f"peak memory: {memory}",
        f"classes of the prompts that their masks show: {sum(shown)} of {len(shown)}",
    ]


def _peak_memory() -> str:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        return f"{torch.cuda.max_memory_allocated() / 2**30:.2f} of {total / 2**30:.0f} GiB of the GPU"
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB of the process"


def _letters(text: str) -> str:
    return "".join(text.casefold().split())


if __name__ == "__main__":
    run_command("first_hour", "generate", GenerateSettings, work, __doc__ or "")

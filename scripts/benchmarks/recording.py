"""The cost of recording attention and making masks, as a ratio to the stock pipeline on the same prompts.

    python -m scripts.benchmarks.recording
    python -m scripts.benchmarks.recording model.path=DIR experiment=voc sampler.num_inference_steps=2 batch_size=1

It takes dd-generate's settings. The two take turns, so that drift in the machine's speed favours neither.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.generate import GenerateSettings

ROUNDS = 5


def work(settings: GenerateSettings) -> None:
    """Time a batch with the stock pipeline and with the generator, and the making of its masks."""
    import torch

    from dataset_diffusion.generate import label_sample, plan_dataset
    from dataset_diffusion.generators.generator import Generator
    from dataset_diffusion.generators.loading import load_pipeline, silence_libraries
    from dataset_diffusion.vocabulary import choose_vocabulary

    vocabulary = choose_vocabulary(settings.vocabulary)
    prompts = plan_dataset(replace(settings, num_images=settings.batch_size), vocabulary).prompts
    silence_libraries()
    pipe = load_pipeline(settings.model, settings.sampler)
    generator = Generator(pipe, settings.sampler, settings.attention, vocabulary, settings.prompts.mode)

    def plain() -> None:
        generator.images(prompts)

    def recording() -> None:
        samples.extend(generator.sample(prompts))

    def masks() -> None:
        for sample in samples[-len(prompts) :]:
            spans = generator.class_spans(sample.prompt)
            label_sample(sample, spans, settings.attention, settings.mask)

    samples: list = []
    plain()  # the first call of each takes longer
    recording()
    rounds = [(seconds(plain), seconds(recording), seconds(masks)) for _ in range(ROUNDS)]
    per_image = [statistics.median(column) / len(prompts) for column in zip(*rounds, strict=True)]
    print(
        f"{torch.get_num_threads()} threads, batches of {len(prompts)}, median of {ROUNDS} rounds, seconds per image:"
    )
    print(f"stock pipeline {per_image[0]:.3f}   with recording {per_image[1]:.3f}   masks {per_image[2]:.4f}")
    ratio = statistics.median((recorded + mask) / stock for stock, recorded, mask in rounds)
    print(f"recording and masks: {ratio:.3f} times the stock pipeline")


def seconds(call: Callable[[], None]) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_command("recording", "generate", GenerateSettings, work, __doc__ or "")

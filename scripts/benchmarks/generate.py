"""What a whole `dd-generate` run costs compared with the stock pipeline, and what a second process gains.

    python -m scripts.benchmarks.generate num_images=16
    python -m scripts.benchmarks.generate model.path=DIR experiment=voc sampler.num_inference_steps=2 num_images=4

It takes dd-generate's settings; `scripts.benchmarks.random_models` writes pipelines of real size. Each row is measured
in new processes with one thread each, and its ratios are to the first row. Seconds are for the images only: they
include neither loading nor each process's first batch, which takes longer. Other work on the machine lengthens them,
but hardly the CPU seconds, which are summed over the processes. Peak memory is that of one process.
`scripts.benchmarks.recording` measures recording and masks separately.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.generate import GenerateSettings
from scripts.benchmarks.memory import peak_mebibytes

if TYPE_CHECKING:
    from dataset_diffusion.types import Prompt, Sample

ROUNDS = 3


@dataclass(frozen=True)
class Cost:
    """A row's `seconds` on the clock, seconds of a `cpu`, and `peak` memory in MiB."""

    seconds: float
    cpu: float
    peak: float


Row = Callable[[GenerateSettings, int, int, Barrier], Cost]


def work(settings: GenerateSettings) -> None:
    """Print a line for each row."""
    least = 2 * settings.batch_size
    if settings.num_images is None or settings.num_images < least:
        raise InputError(
            f"num_images={settings.num_images}: each of two processes needs a batch of {settings.batch_size}; use at "
            f"least {least}, or a smaller batch_size"
        )
    rows: list[tuple[str, Row, int]] = [
        ("stock pipeline", stock, 1),
        ("dd-generate", whole, 1),
        ("dd-generate, 2 processes", whole, 2),
    ]
    times: dict[str, list[Cost]] = {name: [] for name, _, _ in rows}
    # They take turns, so that drift in the machine's speed favours none.
    for _ in range(ROUNDS):
        for name, row, count in rows:
            times[name].append(run(row, settings, count))
    print(f"{settings.num_images} images in batches of {settings.batch_size}, median of {ROUNDS} rounds")
    for name, measured in times.items():
        pairs = list(zip(measured, times["stock pipeline"], strict=True))
        time_, cpu, memory = (
            statistics.median(getattr(own, name) / getattr(first, name) for own, first in pairs)
            for name in ("seconds", "cpu", "peak")
        )
        seconds = statistics.median(own.seconds for own in measured)
        print(f"{name:26} {seconds:8.2f} s   time {time_:.3f}   CPU {cpu:.3f}   peak memory {memory:.3f}", flush=True)


def run(row: Row, settings: GenerateSettings, count: int) -> Cost:
    """The cost from when all processes are ready until the last is done; the largest peak memory."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        settings = replace(settings, output_dir=str(Path(temporary, "data")))
        barrier = context.Barrier(count)
        receivers, processes = [], []
        for rank in range(count):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_send, args=(sender, row, settings, rank, count, barrier))
            process.start()
            sender.close()  # so that the end of a failing process is noticed
            receivers.append(receiver)
            processes.append(process)
        results = [receiver.recv() for receiver in receivers]
        for process in processes:
            process.join()
    return Cost(
        max(cost.seconds for cost in results), sum(cost.cpu for cost in results), max(cost.peak for cost in results)
    )


def _send(sender: Any, row: Row, settings: GenerateSettings, rank: int, count: int, barrier: Barrier) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        sender.send(row(settings, rank, count, barrier))
    except BaseException:
        barrier.abort()
        raise


def stock(settings: GenerateSettings, _rank: int, _count: int, barrier: Barrier) -> Cost:
    """The bare pipeline, on the same prompts and seeds."""

    from dataset_diffusion.generate import plan_dataset
    from dataset_diffusion.generators.generator import Generator
    from dataset_diffusion.generators.loading import load_pipeline, silence_libraries
    from dataset_diffusion.vocabulary import choose_vocabulary

    silence_libraries()
    vocabulary = choose_vocabulary(settings.vocabulary)
    prompts = plan_dataset(settings, vocabulary, progress=False).prompts
    pipe = load_pipeline(settings.model, settings.sampler)
    generator = Generator(pipe, settings.sampler, settings.attention, vocabulary, settings.prompts.mode)
    size = settings.batch_size
    batches = [prompts[start : start + size] for start in range(0, len(prompts), size)]

    generator.images(batches[0])
    barrier.wait()
    clock = _Clock()
    for batch in batches:
        generator.images(batch)
    return clock.cost()


def whole(settings: GenerateSettings, rank: int, count: int, barrier: Barrier) -> Cost:
    """`generate`, from its first batch to the complete folder."""
    from dataset_diffusion import generate as module
    from dataset_diffusion.generators.generator import Generator
    from dataset_diffusion.generators.loading import silence_libraries

    silence_libraries()
    clocks: list[_Clock] = []

    class Timed(Generator):
        """Starts the clock at the first batch, after one that is thrown away."""

        def sample(self, prompts: "Sequence[Prompt]") -> "list[Sample]":
            """Make a batch."""
            if not clocks:
                super().sample(prompts)
                barrier.wait()
                clocks.append(_Clock())
            return super().sample(prompts)

    module.Generator = Timed  # type: ignore[misc]
    module.generate(replace(settings, shard=f"{rank}/{count}"), progress=False)
    return clocks[0].cost()


class _Clock:
    """Starts running when it is created."""

    def __init__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def cost(self) -> Cost:
        """What this process has cost since then."""
        seconds, cpu = time.perf_counter() - self._begin[0], time.process_time() - self._begin[1]
        return Cost(seconds, cpu, peak_mebibytes())


if __name__ == "__main__":
    run_command("scripts.benchmarks.generate", "generate", GenerateSettings, work)

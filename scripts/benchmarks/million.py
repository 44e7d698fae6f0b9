"""How long `dd-generate` takes to make the first new image of a very large folder, and its memory.

    python -m scripts.benchmarks.million --num 1000000

It runs the command itself twice with the toy model, and stops it after its first batch of one image: on a new folder,
for which all prompts are planned; and on a folder in which all samples except the last are finished (the first run's
plan with a made-up manifest; all images and masks are hard links to one file). The folders are temporary.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.ledger import PARTS_FOLDER
from dataset_diffusion.dataset.manifest import ClassRecord, SampleRecord, encode_record
from dataset_diffusion.dataset.plan import StoredPlan
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.benchmarks.memory import peak_mebibytes


def main() -> None:
    """Print a line for each start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=1_000_000, help="prompts, and samples (default %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "data")
        for name in ("planning", "resuming"):
            seconds, cpu, mebibytes = start(folder, arguments.num)
            print(
                f"{arguments.num} samples, {name}: first new image after {seconds:.1f} s ({cpu:.1f} s of a CPU), "
                f"{mebibytes:.0f} MiB",
                flush=True,
            )
            if name == "planning":
                finish(folder)


def start(folder: Path, num_images: int) -> tuple[float, float, float]:
    """Run the command until its first new record; returns seconds on the clock, CPU seconds, and peak memory in MiB.

    Other work on the machine lengthens only the first.
    """
    command = [sys.executable, "-m", "dataset_diffusion.cli.generate"]
    settings = [f"output_dir={folder}", f"num_images={num_images}", "batch_size=1"]
    known = set(folder.glob(f"{PARTS_FOLDER}/*.jsonl"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    with subprocess.Popen([*command, *settings], stderr=subprocess.DEVNULL) as process:
        while not any(part.stat().st_size for part in set(folder.glob(f"{PARTS_FOLDER}/*.jsonl")) - known):
            if process.poll() is not None:
                raise SystemExit("dd-generate ended before its first image")
            time.sleep(0.05)
        seconds = time.perf_counter() - begin
        peak = peak_mebibytes(process.pid)
        process.kill()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


def finish(folder: Path) -> None:
    """Make up records and files for all samples of the plan except the last."""
    plan = StoredPlan(folder)
    vocabulary = load_vocabulary("voc")
    voc = VocFolder(folder, vocabulary.palette)
    voc.prepare()
    files = voc.write("one", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))
    for part in folder.glob(f"{PARTS_FOLDER}/*.jsonl"):
        part.unlink()
    with (folder / PARTS_FOLDER / "0-0of1-made-up.jsonl").open("wb") as part_file:
        for position in range(len(plan) - 1):
            prompt = plan[position]
            classes = tuple(
                ClassRecord(vocabulary[class_id].name, class_id, 0.123456, 0.654321) for class_id in prompt.class_ids
            )
            record = SampleRecord(
                prompt.sample_id,
                prompt.seed,
                prompt.caption,
                classes,
                0.012345,
                files.image_sha256,
                files.mask_sha256,
                prompt.source,
            )
            line = encode_record(record)
            part_file.write(b'{"position": %d, ' % position + line[1:])
            for path_of in (voc.image_path, voc.mask_path):
                path_of(prompt.sample_id).unlink(missing_ok=True)
                _link(path_of("one"), path_of(prompt.sample_id))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # The file has as many links as it can have.
        content = source.read_bytes()
        source.unlink()
        source.write_bytes(content)
        os.link(source, target)


if __name__ == "__main__":
    main()

"""One folder made by several processes, stopped or killed at random, against that of one uninterrupted process."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_diffusion import generate as generate_module
from dataset_diffusion.dataset import ledger as ledger_module
from dataset_diffusion.dataset.ledger import Ledger
from dataset_diffusion.errors import InputError
from dataset_diffusion.generate import generate, write_plan
from dataset_diffusion.processes import Share, find_share, find_torchrun_share
from dataset_diffusion.settings.generate import GenerateSettings, ModelSettings, PromptSettings, SamplerSettings
from tests.test_generate import tree
from tests.tiny_pipeline import build_tiny_pipeline

NUM_IMAGES = 26

# Each child serves one "rank/count" after another, so torch is imported once for many starts; forks are killed.
SERVER = """
import os, sys
from dataclasses import replace
from dataset_diffusion.generate import generate
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.loading import silence_libraries
from tests.test_many_processes import settings_of
silence_libraries()
for line in sys.stdin:
    model, folder, shard = line.split()
    process = os.fork()
    if not process:
        os.chdir(folder)
        status = 0
        try:
            generate(replace(settings_of(model), shard=shard), progress=False)
        except InputError as error:
            print(error, file=sys.stderr, flush=True)
            status = 2
        os._exit(status)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


def settings_of(model: str) -> GenerateSettings:
    return GenerateSettings(
        output_dir="data",
        num_images=NUM_IMAGES,
        seed=0,
        batch_size=2,
        model=ModelSettings(path=model),
        sampler=SamplerSettings(num_inference_steps=1, scheduler="ddim"),
    )


class Worker:
    """A process that starts share-making processes, one after another."""

    def __init__(self, model: Path) -> None:
        checkout = str(Path(__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": checkout, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SERVER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": checkout}
        self.model = model
        self.server = subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]

    def start(self, folder: Path, shard: str) -> int:
        """Start a share and return the process id."""
        self.server.stdin.write(f"{self.model} {folder} {shard}\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def wait(self) -> int:
        """The exit status of the share; -9 if it was killed."""
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files that one uninterrupted process makes."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        generate(settings_of(str(model)), progress=False)
    return tree(folder / "data")


@pytest.fixture(scope="module")
def workers(model: Path) -> Iterator[list[Worker]]:
    made = [Worker(model) for _ in range(3)]
    yield made
    for worker in made:
        worker.server.stdin.close()
        worker.server.wait()


def make_share(model: Path, shard: str | None) -> generate_module.Summary:
    return generate(replace(settings_of(str(model)), shard=shard), progress=False)


@pytest.mark.parametrize("count", [2, 3])
def test_concurrent_processes_make_the_same_folder_as_one(
    workers: list[Worker], whole: dict[str, str], tmp_path: Path, count: int
) -> None:
    for rank, worker in enumerate(workers[:count]):
        worker.start(tmp_path, f"{rank}/{count}")
    assert [worker.wait() for worker in workers[:count]] == [0] * count
    assert tree(tmp_path / "data") == whole


def test_consecutive_shards_make_the_same_folder_as_one_process(
    model: Path, whole: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = make_share(model, "1/2")
    assert (first.num_new, first.num_finished) == (12, 12)
    assert "share 1/2 is done" in str(first)
    assert "12 of 26 images" in str(first)
    assert not Path("data/ImageSets/Segmentation/train.txt").exists()
    # Started with two shares, finished with three.
    assert [make_share(model, f"{rank}/3").num_new for rank in (2, 0, 1)] == [4, 6, 4]
    assert tree(Path("data")) == whole
    assert make_share(model, None).num_new == 0


def test_25_kills_lose_nothing(workers: list[Worker], whole: dict[str, str], tmp_path: Path) -> None:
    chance = random.Random(time.time_ns())
    kills = 0
    while kills < 25:
        victims = workers[: chance.randint(1, 2)]
        processes = [worker.start(tmp_path, f"{rank}/2") for rank, worker in enumerate(workers[:2])]
        time.sleep(chance.uniform(0, 0.5))
        for process in processes[: len(victims)]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
        statuses = [worker.wait() for worker in workers[:2]]
        assert set(statuses) <= {0, -signal.SIGKILL}
        if (tmp_path / "data/ImageSets/Segmentation/train.txt").exists():
            # Later kills hit a folder with missing files again.
            if not (tmp_path / "data/manifest.parts").exists():
                assert tree(tmp_path / "data").keys() >= whole.keys()
            for sample in ("000003", "000010", "000025"):
                (tmp_path / f"data/JPEGImages/{sample}.jpg").unlink()
    for rank, worker in enumerate(workers[:3]):
        worker.start(tmp_path, f"{rank}/3")
    assert [worker.wait() for worker in workers[:3]] == [0, 0, 0]
    assert tree(tmp_path / "data") == whole


def test_without_locks_two_processes_lose_nothing(
    model: Path, whole: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two forks, flock fails as on a file system without locks."""

    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    import fcntl

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.chdir(tmp_path)
    processes = []
    for rank in range(2):
        process = os.fork()
        if not process:
            make_share(model, f"{rank}/2")
            os._exit(0)
        processes.append(process)
    assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0]
    assert tree(Path("data")) == whole


def test_two_processes_cannot_make_the_same_share(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_plan(settings_of(str(model)), progress=False)
    part = ledger_module.Part(Path("data"), Share(0, 2))
    with pytest.raises(InputError, match="another dd-generate is making share 0/2 of it; wait"):
        make_share(model, "0/2")
    ledger_module.require_free_share(Path("data"), Share(1, 2))
    part.close()
    ledger_module.require_free_share(Path("data"), Share(0, 2))


def test_a_process_that_cannot_write_the_plan_asks_for_a_dry_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    prompts = PromptSettings(source="images", path="photos")
    settings = replace(settings_of(str(model)), prompts=prompts, shard="0/2")
    with pytest.raises(InputError, match=r"prompts=images: several processes need a finished plan.* dry_run=true"):
        generate(settings, progress=False)
    assert not Path("data").exists()


def test_the_plan_of_a_dry_run_is_used(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_plan(settings_of(str(model)), progress=False)
    # A caption that occurs only in this plan.
    plan = Path("data/prompts.jsonl")
    plan.write_text(plan.read_text().replace('"caption":"', '"caption":"very ', 1))
    make_share(model, "0/13")
    part = next(Path("data/manifest.parts").glob("*.jsonl"))
    assert json.loads(part.read_text().splitlines()[0])["caption"].startswith("very ")


def test_settings_can_change_until_the_first_sample_exists(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_plan(settings_of(str(model)), progress=False)
    other = replace(settings_of(str(model)), seed=1, num_images=3)
    assert generate(other, progress=False).num_images == 3
    with pytest.raises(InputError, match="seed=0: the folder data was made with 1"):
        make_share(model, None)


def test_a_source_is_read_again_only_if_it_changed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    captions = [{"caption": "a cat"}, {"caption": "a dog"}, {"caption": "a cow"}]
    Path("captions.json").write_text(json.dumps(captions))
    prompts = PromptSettings(source="file", fill="none", path="captions.json")
    settings = replace(settings_of(str(model)), num_images=3, prompts=prompts)
    generate(replace(settings, shard="0/2"), progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "plan_prompts", None)
        assert generate(replace(settings, shard="1/2"), progress=False).num_finished == 3
    Path("data/JPEGImages/000000.jpg").unlink()
    Path("captions.json").write_text(json.dumps(captions[1:]))
    with pytest.raises(InputError, match=r"differs from what prompts=file gives now|the plan in .* has"):
        generate(settings, progress=False)


def test_shares_are_read_from_the_environment_and_the_setting() -> None:
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    srun = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}
    assert find_share(None, {}) == Share(0, 1, None, shows_progress=True)
    assert find_share(None, torchrun) == Share(5, 8, 1, shows_progress=False)
    assert find_share(None, torchrun | srun) == Share(5, 8, 1, shows_progress=False)
    assert find_share(None, srun) == Share(2, 4, 0, shows_progress=False)
    assert find_share("3/4", torchrun) == Share(3, 4)
    assert find_torchrun_share(torchrun) == find_share(None, torchrun)
    assert find_torchrun_share(srun) == find_torchrun_share({"RANK": "5", "WORLD_SIZE": "8"}) == Share()
    with pytest.raises(InputError, match=r"^RANK, WORLD_SIZE, LOCAL_RANK: must be whole numbers in the environment"):
        find_torchrun_share(torchrun | {"RANK": "a"})
    for wrong in ("4/4", "1", "-1/2", "a/b", "1/2/3"):
        with pytest.raises(InputError, match=f"shard={wrong}: must be i/N"):
            find_share(wrong, {})


def test_each_process_uses_the_gpu_of_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert Share(5, 8, local_rank=1).device_name("auto") == "cuda:1"
    assert Share(5, 8, local_rank=1).device_name("cpu") == "cpu"
    assert Share(5, 8).device_name("auto") == "auto"
    # A launcher can show each process only one GPU.
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert Share(5, 8, local_rank=1).device_name("cuda") == "cuda:0"


def test_every_batch_belongs_to_one_process() -> None:
    shares = [Share(rank, 3) for rank in range(3)]
    assert all(sum(share.owns(number) for share in shares) == 1 for number in range(10))


def test_records_are_found_in_plan_order(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_share(model, "1/2")
    from dataset_diffusion.dataset.folder import VocFolder
    from dataset_diffusion.dataset.plan import StoredPlan

    Path("data/SegmentationClass/000003.png").unlink()
    with next(Path("data/manifest.parts").glob("*.jsonl")).open("ab") as stream:
        stream.write(b'{"position": 4, "id": "000004", "se')  # killed while writing this line
    ledger = Ledger(VocFolder(Path("data"), ()), StoredPlan(Path("data")))
    assert [record.id for record in ledger.records()][:4] == ["000002", "000006", "000007", "000010"]
    assert ledger.num_finished == 11

"""Whether a dataset folder can be resumed, and with which plan."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import orjson

from dataset_diffusion.dataset.description import (
    DESCRIPTION_FILE,
    OF_ONE_RUN,
    PlanFacts,
    describe_vocabulary,
    flatten,
    read_description,
)
from dataset_diffusion.dataset.ledger import has_records
from dataset_diffusion.dataset.plan import PLAN_FILE, StoredPlan
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import is_temporary
from dataset_diffusion.prompts.plan_report import PLAN_REPORT_FILE
from dataset_diffusion.settings.generate import GenerateSettings, PromptSettings
from dataset_diffusion.vocabulary import Vocabulary

# Where a folder is, how many samples share a batch and which device computes them change a sample by no more than
# float rounding. Others are compared by what they stand for, because paths may have moved: the number of images and the
# source of the captions by the plan, the vocabulary by its classes, the model by its revision.
NO_DIFFERENCE = (
    *("output_dir", "batch_size", "model.device", "keep_evidence", *OF_ONE_RUN),
    *("model.cpu_offload", "model.vae_slicing", "model.channels_last"),
    "writer.format",  # written before 0.2
)
COMPARED_BY_CONTENT = (
    *("num_images", "vocabulary", "model.path", "model.revision"),
    *(
        "prompts.path",
        "prompts.data_root",
        "prompts.fill",
        "prompts.cooccurrence",
        "prompts.captioner",
        "prompts.writer",
    ),
)
"""Settings, and groups of them."""
NOT_OF_THE_PLAN = (
    *("prompts.captioner.batch_size", "prompts.captioner.device", "prompts.captioner.cache_dir"),
    *("prompts.writer.device", "prompts.writer.cache_dir"),
)
LOCK_FILE = ".dd-generate.lock"
FILES_OF_A_PLAN = (PLAN_FILE, PLAN_REPORT_FILE, LOCK_FILE)
LOCK_SECONDS = 1800
"""Far longer than it takes to plan, or to merge a million records."""


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Let only one process at a time write what concerns the whole folder; the others wait.

    Raises InputError if they wait longer than LOCK_SECONDS. If the file system has no locks, a file that only one
    process can create replaces the lock.
    """
    path = folder / LOCK_FILE
    lock = filelock.FileLock(path, timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(
            f"output_dir={folder}: waited {LOCK_SECONDS // 60} minutes for another process, which is {doing}; if none "
            f"is running, delete {path}"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        # Remove the file while the lock is held: a process waiting for it notices that it is gone, and creates another.
        with suppress(OSError):
            path.unlink()
        lock.release()


def require_continuable(path: Path, settings: GenerateSettings, vocabulary: Vocabulary) -> dict[str, Any] | None:
    """The dataset.json of the folder that `settings` resume, or None if the folder is new; writes nothing.

    Raises InputError if the folder holds something else, or if samples in it were made with other settings or another
    vocabulary; it names the first difference. The plan is compared by `require_same_beginning`, and the model by
    `require_same_model`, because neither is known yet.
    """
    description = read_description(path)
    if description is None:
        if not all(is_temporary(file) or file.name in FILES_OF_A_PLAN for file in path.iterdir()):
            raise InputError(f"output_dir={path}: is not empty and has no {DESCRIPTION_FILE}; name a new folder")
        return None
    if has_begun(path, description):
        _require_same_settings(path, description["settings"], settings)
        if description["vocabulary"] != describe_vocabulary(vocabulary):
            old = description["vocabulary"].get("name")
            raise _differs(path, "vocabulary", vocabulary.name, old, " (other classes, words or colours)")
    return description


def has_begun(path: Path, description: Mapping[str, Any] | None) -> bool:
    """Whether the settings of a folder are binding: they are not while it has only a plan, and no sample yet."""
    return bool(description and description["model"]) and has_records(path)


def stored_plan(
    path: Path, description: Mapping[str, Any] | None, settings: GenerateSettings, vocabulary: Vocabulary
) -> StoredPlan | None:
    """The plan in the folder, if it is complete and the one that `settings` ask for: it need not be made again.

    Caption files are compared by their SHA-256, so that a change is noticed. A file that no longer exists is ignored.
    """
    if description is None or "plan" not in description:
        return None
    old, new = (
        {key: value for key, value in flatten(content) if _is_of_the_plan(key)}
        for content in (description["settings"], asdict(settings))
    )
    if old != new or description["vocabulary"] != describe_vocabulary(vocabulary):
        return None
    before = description["plan"]["files"]
    if any(before.get(name, digest) != digest for name, digest in caption_files(settings.prompts).items()):
        return None
    try:
        plan = StoredPlan(path)
    except FileNotFoundError:
        return None
    return plan if len(plan) == description["plan"]["num_prompts"] else None


def plan_facts(description: Mapping[str, Any]) -> PlanFacts:
    """What a dataset.json says about its plan."""
    return PlanFacts(**description["plan"])


def caption_files(prompts: PromptSettings) -> dict[str, str]:
    """The SHA-256 of each existing file that captions are read from, by file name."""
    files: list[Path] = []
    if prompts.source == "file" and prompts.path:
        files.append(Path(prompts.path).expanduser())
    if prompts.source == "coco" and prompts.data_root:
        annotations = Path(prompts.data_root).expanduser() / "annotations"
        files += [annotations / f"{kind}_{prompts.split}.json" for kind in ("captions", "instances")]
    if prompts.cooccurrence:
        files.append(Path(prompts.cooccurrence).expanduser())
    return {file.name: _sha256(file) for file in files if file.is_file()}


def require_same_model(path: Path, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Compare models by revision. Raises InputError that names the setting that changed."""
    if old["revision"] == new["revision"]:
        return
    if old["id"] != new["id"]:
        raise _differs(path, "model.path", new["id"], old["id"])
    raise _differs(path, "model.revision", new["revision"], old["revision"])


def require_same_beginning(path: Path, settings: GenerateSettings, num_prompts: int, lines: Iterable[bytes]) -> None:
    """Compare the plan in a folder with the beginning of a new one, given as `lines` with their newlines.

    Raises InputError if a line differs, naming the first one, or if the new plan is shorter.
    """
    try:
        old = StoredPlan(path)
    except FileNotFoundError:  # Killed before it was written.
        return
    if len(old) > num_prompts and settings.remask:
        raise InputError(
            f"remask={settings.remask}: has a plan of {num_prompts} images, and {path} one of {len(old)}; name another "
            "output_dir"
        )
    if len(old) > num_prompts:
        raise InputError(
            f"num_images={num_prompts}: the plan in {path} has {len(old)} images; give at least that, or name another "
            "output_dir"
        )
    for number, (old_line, new_line) in enumerate(zip(old.lines(), lines, strict=False), start=1):
        # Versions before 0.3 wrote spaces.
        if old_line != new_line.rstrip(b"\n") and not _same_json(old_line, new_line):
            # "Each caption once" has another order than a number of images for which rare classes are filled up.
            null = settings.num_images is not None and settings.prompts.fill != "none"
            captions = "the captions, or num_images=null if the folder started with that" if null else "the captions"
            other = f"what prompts={settings.prompts.source} gives now; restore {captions}, or"
            if settings.remask:
                other = f"that of remask={settings.remask};"
            raise InputError(
                f"output_dir={path}: line {number} of its {PLAN_FILE} differs from {other} name another output_dir"
            )


def _same_json(old: bytes, new: bytes) -> bool:
    try:
        return orjson.loads(old) == orjson.loads(new)
    except ValueError:
        return False


def _is_of_the_plan(key: str) -> bool:
    return key in ("seed", "num_images") or (key.startswith("prompts.") and key not in NOT_OF_THE_PLAN)


def _require_same_settings(path: Path, old: dict[str, Any], settings: GenerateSettings) -> None:
    # In older folders, a setting that a newer version added has its default value.
    defaults = GenerateSettings(output_dir="-", num_images=1, seed=0, batch_size=1)
    before = dict(flatten(asdict(defaults))) | dict(flatten(old))
    now = dict(flatten(asdict(settings)))
    for key in [*now, *(before.keys() - now.keys())]:
        if not _is_any_of(key, (*NO_DIFFERENCE, *COMPARED_BY_CONTENT)) and before.get(key) != now.get(key):
            raise _differs(path, key, now.get(key), before.get(key))


def _is_any_of(key: str, settings: Sequence[str]) -> bool:
    """Whether a setting is one of these, or in a group of these."""
    return any(key == name or key.startswith(f"{name}.") for name in settings)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _differs(path: Path, setting: str, new: object, old: object, detail: str = "") -> InputError:
    new, old = ("null" if value is None else value for value in (new, old))
    return InputError(
        f"{setting}={new}: the folder {path} was made with {old}{detail}; use that, or name another output_dir"
    )

"""Whether a dataset folder can be gone on with, and what is finished in it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataset_diffusion.dataset.description import DESCRIPTION_FILE, describe_vocabulary, flatten, read_description
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import PLAN_FILE, SampleRecord, encode_plan
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import is_temporary
from dataset_diffusion.prompts.plan_report import PLAN_REPORT_FILE
from dataset_diffusion.settings.generate import GenerateSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary

# Where a folder lies, how many samples share a batch and which device computes them change a sample by no more than
# float rounding. Others are compared by what they stand for, because paths may have moved: the number of images and the
# source of the captions by the plan, the vocabulary by its classes, the model by its revision.
NO_DIFFERENCE = ("output_dir", "batch_size", "dry_run", "model.device", "writer.format")  # the last: written before 0.2
COMPARED_BY_CONTENT = (
    *("num_images", "vocabulary", "model.path", "model.revision"),
    *("prompts.path", "prompts.data_root", "prompts.fill", "prompts.cooccurrence", "prompts.captioner"),
)
"""Settings, and groups of them."""
FILES_OF_A_PLAN = (PLAN_FILE, PLAN_REPORT_FILE)


def require_continuable(
    path: Path, settings: GenerateSettings, vocabulary: Vocabulary, prompts: Sequence[Prompt]
) -> dict[str, Any] | None:
    """The dataset.json of the folder that `settings` go on with, None if the folder is new; writes nothing.

    Raises InputError if the folder holds something else, or was made with other settings, another vocabulary or
    another plan than the beginning of this one: the first difference is named. The model is compared later, by
    `require_same_model`, because it is not loaded yet.
    """
    description = read_description(path)
    if description is None:
        # A dry run's plan is made anew.
        if not all(is_temporary(file) or file.name in FILES_OF_A_PLAN for file in path.iterdir()):
            raise InputError(f"output_dir={path}: is not empty and has no {DESCRIPTION_FILE}; name a new folder")
        return None
    _require_same_settings(path, description["settings"], settings)
    if description["vocabulary"] != describe_vocabulary(vocabulary):
        old = description["vocabulary"].get("name")
        raise _differs(path, "vocabulary", vocabulary.name, old, " (other classes, words or colours)")
    _require_same_beginning(path, settings, encode_plan(prompts, vocabulary))
    return description


def require_same_model(path: Path, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Compare models by revision. Raises InputError that names the setting that changed."""
    if old["revision"] == new["revision"]:
        return
    if old["id"] != new["id"]:
        raise _differs(path, "model.path", new["id"], old["id"])
    raise _differs(path, "model.revision", new["revision"], old["revision"])


def finished_samples(
    folder: VocFolder, records: Mapping[str, SampleRecord], prompts: Sequence[Prompt]
) -> dict[str, SampleRecord]:
    """Those of the plan that have a record and both files, in the plan's order."""
    return {
        prompt.sample_id: records[prompt.sample_id]
        for prompt in prompts
        if prompt.sample_id in records
        and (records[prompt.sample_id].seed, records[prompt.sample_id].caption) == (prompt.seed, prompt.caption)
        and folder.has(prompt.sample_id)
    }


def _require_same_settings(path: Path, old: dict[str, Any], settings: GenerateSettings) -> None:
    # A setting that a newer version added has its default in older folders.
    defaults = GenerateSettings(output_dir="-", num_images=1, seed=0, batch_size=1)
    before = dict(flatten(asdict(defaults))) | dict(flatten(old))
    now = dict(flatten(asdict(settings)))
    for key in [*now, *(before.keys() - now.keys())]:
        if not _is_any_of(key, (*NO_DIFFERENCE, *COMPARED_BY_CONTENT)) and before.get(key) != now.get(key):
            raise _differs(path, key, now.get(key), before.get(key))


def _is_any_of(key: str, settings: Sequence[str]) -> bool:
    """Whether a setting is one of these, or in a group of these."""
    return any(key == name or key.startswith(f"{name}.") for name in settings)


def _require_same_beginning(path: Path, settings: GenerateSettings, plan: bytes) -> None:
    try:
        old = (path / PLAN_FILE).read_bytes().splitlines()
    except FileNotFoundError:  # Killed before it was written.
        return
    new = plan.splitlines()
    for number, (old_line, new_line) in enumerate(zip(old, new, strict=False), start=1):
        if old_line != new_line:
            raise InputError(
                f"output_dir={path}: line {number} of its {PLAN_FILE} differs from what prompts="
                f"{settings.prompts.source} gives now; restore the captions, or name another output_dir"
            )
    if len(old) > len(new):
        raise InputError(
            f"num_images={len(new)}: {path} is planned with {len(old)}; give at least that, or name another output_dir"
        )


def _differs(path: Path, setting: str, new: object, old: object, detail: str = "") -> InputError:
    new, old = ("null" if value is None else value for value in (new, old))
    return InputError(
        f"{setting}={new}: the folder {path} was made with {old}{detail}; give that, or name another output_dir"
    )

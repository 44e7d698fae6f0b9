"""`dd-generate`: a dataset folder of images and masks from class names."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.errors import InputError
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import GenerateSettings, MaskSettings

OF_A_RUN = {
    *("output_dir", "num_images", "batch_size", "model.device"),
    *("dry_run", "shard", "strict", "verify", "repair"),
}
"""Settings that can be given for an existing folder; its dataset.json then supplies all others."""

OF_REMASK = {"remask", "output_dir", "shard", "attention.power", "mask.threshold", "mask.uncertainty_threshold"}

ABOUT = """
dd-generate makes images and their semantic masks with a diffusion model, from class names alone.

  dd-generate                                    a small model that comes with the package; runs on a CPU
  dd-generate num_images=100 seed=1 output_dir=datasets/toy100
  dd-generate experiment=voc num_images=1000     Stable Diffusion from the hub, the paper's settings, a GPU
  dd-generate experiment=voc vocabulary.classes='[cat,hot air balloon,zebra]' num_images=300
  dd-generate prompts=file prompts.path=datasets/toy/prompts.jsonl output_dir=datasets/again
  dd-generate output_dir=datasets/toy num_images=900     resumes or extends a folder, with its settings
  dd-generate output_dir=datasets/toy verify=true        compares every file with the manifest; repair=true fixes
  dd-generate remask=datasets/toy output_dir=datasets/toy50 mask.threshold=0.5    other masks, without sampling

A stopped run resumes when it is started again. The folder that it makes holds JPEGImages/, SegmentationClass/, the
plan (prompts.jsonl), what was made (manifest.jsonl, dataset.json), a picture (contact_sheet.png) and a report
(report.html); dd-train reads it directly.
"""


def main() -> None:
    """The entry point of `dd-generate`."""
    run_command("dd-generate", "generate", GenerateSettings, work, ABOUT)


def work(settings: GenerateSettings) -> None:
    """Generate, plan, remask or verify, as the settings say."""
    settings = continue_folder(settings, HydraConfig.get().overrides.task)
    # Imported only now: torch and diffusers take seconds to load, and neither --help nor a wrong setting should wait.
    from dataset_diffusion.generate import generate, remask, verify, write_plan
    from dataset_diffusion.generators.loading import silence_libraries

    silence_libraries()
    if settings.remask:
        print(remask(settings))
    elif settings.verify or settings.repair:
        print(verify(settings))
    else:
        print(write_plan(settings) if settings.dry_run else generate(settings))


def continue_folder(settings: GenerateSettings, overrides: Sequence[str]) -> GenerateSettings:
    """The settings in output_dir's dataset.json, if the command line names that folder and none of its settings.

    `dd-generate output_dir=DIR num_images=2000` thus resumes any folder, or lets it grow.
    """
    given = {override.lstrip("+").partition("=")[0] for override in overrides}
    if settings.remask:
        return _of_remasked_folder(settings, settings.remask, given)
    folder = Path(settings.output_dir).expanduser()
    if "output_dir" not in given or not given <= OF_A_RUN or not folder.is_dir():
        return _of_a_plan(settings, given)
    # Imported only now: it imports torch, and a wrong setting should not wait for that.
    from dataset_diffusion.dataset.description import read_description

    description = read_description(folder)
    if description is None:
        return _of_a_plan(settings, given)
    stored = to_settings(GenerateSettings, OmegaConf.create(description["settings"]))
    now = {name: getattr(settings, name) for name in given if "." not in name}
    if "model.device" in given:
        now["model"] = replace(stored.model, device=settings.model.device)
    return replace(stored, **now)


def _of_a_plan(settings: GenerateSettings, given: set[str]) -> GenerateSettings:
    """The settings that repeat a plan's run, if the captions are a plan: with all its images and its seeds.

    The experiment's number of images is meant for captions that are used repeatedly, and would cut a longer plan short.
    """
    path = Path(settings.prompts.path or "").expanduser()
    if settings.prompts.source != "file" or not path.is_file():
        return settings
    # Imported only now: it imports numpy, and a wrong setting should not wait for that.
    from dataset_diffusion.prompts.caption_file import plan_length

    length = plan_length(path)
    if length is None:
        return settings
    if "seed" in given:
        raise InputError(
            f"seed={settings.seed}: cannot change the images of prompts.path={path}, whose lines all have a seed; "
            "leave it out, or remove the seeds from the file"
        )
    if "num_images" in given:
        return settings
    if length != settings.num_images:
        print(
            f"dd-generate: prompts.path={path} is a plan: all its {length} images are made; num_images=N makes fewer",
            file=sys.stderr,
        )
    return replace(settings, num_images=None)


def _of_remasked_folder(settings: GenerateSettings, folder: str, given: set[str]) -> GenerateSettings:
    if wrong := given - OF_REMASK:
        name = min(wrong)
        raise InputError(f"{name}: cannot be given with remask; these can: {', '.join(sorted(OF_REMASK))}")
    if "output_dir" not in given:
        raise InputError(f"output_dir: is missing; name a new folder for the masks of remask={folder}")
    from dataset_diffusion.dataset.description import read_description

    path = Path(folder).expanduser()
    description = read_description(path) if path.is_dir() else None
    if description is None:
        raise InputError(f"remask={folder}: holds no dataset")
    stored = to_settings(GenerateSettings, OmegaConf.create(description["settings"]))
    power = settings.attention.power if "attention.power" in given else stored.attention.power
    thresholds = {
        name: getattr(settings.mask if f"mask.{name}" in given else stored.mask, name)
        for name in ("threshold", "uncertainty_threshold")
    }
    return replace(
        stored,
        output_dir=settings.output_dir,
        remask=folder,
        shard=settings.shard,
        attention=replace(stored.attention, power=power),
        mask=MaskSettings(**thresholds),
    )


if __name__ == "__main__":
    main()

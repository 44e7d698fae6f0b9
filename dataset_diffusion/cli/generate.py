"""`dd-generate`: a dataset folder of images and masks from class names."""

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.generate import GenerateSettings

ABOUT = """
dd-generate makes images and their semantic masks with a diffusion model, from class names alone.

  dd-generate                                    a small model that comes with the package; runs on a CPU
  dd-generate num_images=100 seed=1 output_dir=datasets/toy100
  dd-generate experiment=voc num_images=1000     Stable Diffusion from the hub, the paper's settings, a GPU
  dd-generate experiment=voc vocabulary.classes='[cat,hot air balloon,zebra]' num_images=300
  dd-generate prompts=file prompts.path=datasets/toy/prompts.jsonl output_dir=datasets/again

A stopped run resumes when it is started again. The folder that it makes holds JPEGImages/, SegmentationClass/, the
plan (prompts.jsonl), what was made (manifest.jsonl, dataset.json), a picture (contact_sheet.png) and a report
(report.html); dd-train takes it as it is.
"""


def main() -> None:
    """The entry point of `dd-generate`."""
    run_command("dd-generate", "generate", GenerateSettings, work, ABOUT)


def work(settings: GenerateSettings) -> None:
    """Generate what the settings say."""
    # Imported only now: torch and diffusers take seconds, which neither --help nor a wrong setting should wait for.
    from dataset_diffusion.generate import generate, write_plan
    from dataset_diffusion.generators.loading import silence_libraries

    silence_libraries()
    print(write_plan(settings) if settings.dry_run else generate(settings))


if __name__ == "__main__":
    main()

"""`dd-generate`: a dataset folder of images and masks from class names."""

from omegaconf import DictConfig

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.generate import GenerateSettings


def main() -> None:
    """The entry point of `dd-generate`."""
    run_command("dd-generate", "generate", work)


def work(cfg: DictConfig) -> None:
    """Generate what the composed config says."""
    settings = to_settings(GenerateSettings, cfg)
    # Imported only now: torch and diffusers take seconds, which neither --help nor a wrong setting should wait for.
    from dataset_diffusion.generate import generate, write_plan
    from dataset_diffusion.generators.loading import silence_libraries

    silence_libraries()
    print(write_plan(settings) if settings.dry_run else generate(settings))


if __name__ == "__main__":
    main()

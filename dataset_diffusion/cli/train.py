"""`dd-train`: a segmentor from a dataset folder."""

from omegaconf import DictConfig

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.train import TrainSettings


def main() -> None:
    """The entry point of `dd-train`."""
    run_command("dd-train", "train", work, after_interrupt="go on with the same settings and resume=true")


def work(cfg: DictConfig) -> None:
    """Train what the composed config says."""
    settings = to_settings(TrainSettings, cfg)
    # Imported only now: torch and mmseg take seconds, which neither --help nor a wrong setting should wait for.
    from dataset_diffusion.segmentation.train import train

    train(settings)


if __name__ == "__main__":
    main()

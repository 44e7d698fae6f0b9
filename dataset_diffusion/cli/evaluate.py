"""`dd-eval`: the IoU of a segmentor, class by class, on a dataset."""

from omegaconf import DictConfig

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.evaluate import EvaluateSettings


def main() -> None:
    """The entry point of `dd-eval`."""
    run_command("dd-eval", "eval", work, after_interrupt="nothing was measured; start it again")


def work(cfg: DictConfig) -> None:
    """Evaluate what the composed config says."""
    settings = to_settings(EvaluateSettings, cfg)
    # Imported only now: torch and mmseg take seconds, which neither --help nor a wrong setting should wait for.
    from dataset_diffusion.evaluation.evaluate import evaluate
    from dataset_diffusion.segmentation.segmentor import load_segmentor

    evaluate(settings, load_segmentor)


if __name__ == "__main__":
    main()

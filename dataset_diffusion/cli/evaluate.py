"""`dd-eval`: a segmentor's IoU on a dataset, class by class."""

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.evaluate import EvaluateSettings

ABOUT = """
dd-eval measures a segmentor: IoU of each class, mIoU, pixel accuracy, and which classes are confused.

  dd-eval                                        the segmentor that dd-train made, on 500 scenes of the toy world
  dd-eval checkpoint=runs/voc/segmentor.pth dataset=voc data_root=DIR tta=true
  dd-eval checkpoint=FILE dataset=folder data_root=DIR save_predictions=true

It prints a table and writes metrics.json (fractions, the confusion matrix, all settings).
"""


def main() -> None:
    """The entry point of `dd-eval`."""
    run_command(
        "dd-eval", "eval", EvaluateSettings, work, ABOUT, after_interrupt="nothing was measured; start it again"
    )


def work(settings: EvaluateSettings) -> None:
    """Evaluate as the settings say."""
    # Imported only now: torch and mmseg take seconds to load, and neither --help nor a wrong setting should wait.
    from dataset_diffusion.evaluation.evaluate import evaluate
    from dataset_diffusion.segmentation.segmentor import load_segmentor

    evaluate(settings, load_segmentor)


if __name__ == "__main__":
    main()

"""`dd-train`: a segmentor from a dataset folder."""

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.train import TrainSettings

ABOUT = """
dd-train trains a segmentor on the images and masks of a folder that dd-generate made, on real data, or on both.

  dd-train                                       what dd-generate made, on a CPU
  dd-train experiment=voc dataset_dir=datasets/mine work_dir=runs/mine self_training=true
  dd-train experiment=voc segmentor=deeplabv3_r50 precision=bfloat16
  dd-train experiment=voc_mixed                  generated images and VOC's own
  torchrun --nproc-per-node=2 -m dataset_diffusion.cli.train experiment=voc

A stopped run resumes with the same settings and resume=true. work_dir takes checkpoints, TensorBoard's scalars
(tensorboard --logdir runs) and, at the end, segmentor.pth, which dd-eval takes.
"""


def main() -> None:
    """The entry point of `dd-train`."""
    again = "start it again with the same settings and resume=true to resume"
    run_command("dd-train", "train", TrainSettings, work, ABOUT, after_interrupt=again)


def work(settings: TrainSettings) -> None:
    """Train what the settings say."""
    # Imported only now: torch and mmseg take seconds, which neither --help nor a wrong setting should wait for.
    from dataset_diffusion.segmentation.train import train

    train(settings)


if __name__ == "__main__":
    main()

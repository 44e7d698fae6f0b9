"""`dd-train`: a segmentor from a dataset folder."""

from dataset_diffusion.cli.run import resume_line, run_command
from dataset_diffusion.settings.train import TrainSettings

ABOUT = """
dd-train trains a segmentor on what dd-generate made, on real images with masks, or on both.

  dd-train                                       trains on what dd-generate made, on a CPU
  dd-train experiment=voc dataset_dir=datasets/mine work_dir=runs/mine self_training=true
  dd-train experiment=voc segmentor=mask2former_r50
  dd-train experiment=voc_mixed                  real images and generated ones, half of each batch from each
  dd-train experiment=voc data.train.real.root=data/voc data.train.real.weight=0.3 val=voc
  dd-train experiment=voc segmentor=mmseg segmentor.config=segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512
  torchrun --nproc-per-node=2 -m dataset_diffusion.cli.train experiment=voc

A stopped run resumes with the same settings and resume=true. work_dir receives checkpoints, TensorBoard scalars
(tensorboard --logdir runs) and, at the end, segmentor.pth, which dd-eval reads.
"""


def main() -> None:
    """The entry point of `dd-train`."""
    again = resume_line("dd-train", "resume=true")
    run_command("dd-train", "train", TrainSettings, work, ABOUT, after_interrupt=again)


def work(settings: TrainSettings) -> None:
    """Train as the settings say."""
    # Imported only now: torch and mmseg take seconds to load, and neither --help nor a wrong setting should wait.
    from dataset_diffusion.segmentation.train import train

    train(settings)


if __name__ == "__main__":
    main()

"""`dd-export`: a finished dataset folder in the layouts of other tools."""

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.export import ExportSettings

ABOUT = """
dd-export writes a finished dataset in the layout of another tool. It needs no model.

  dd-export format=huggingface output_dir=exports/hf       parquet files that datasets.load_dataset reads
  dd-export format=coco output_dir=exports/coco            instances, panoptic and semantic masks, captions
  dd-export format=ultralytics output_dir=exports/yolo     images/, masks/, data.yaml
  dd-export format=webdataset output_dir=exports/wds       tar files, for millions of samples
  dd-export folder=exports/hf format=voc output_dir=datasets/again      and back

Masks keep every pixel: 0 is the background, 255 is ignored. docs/formats.md says how each tool trains on them.
"""


def main() -> None:
    """The entry point of `dd-export`."""
    again = "nothing was written; start it again"
    run_command("dd-export", "export", ExportSettings, work, ABOUT, after_interrupt=again)


def work(settings: ExportSettings) -> None:
    """Export as the settings say."""
    from dataset_diffusion.dataset.export.run import export

    print(export(settings))


if __name__ == "__main__":
    main()

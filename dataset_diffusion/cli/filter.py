"""`dd-filter`: a split of the most trustworthy samples."""

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.filter import FilterSettings

ABOUT = """
dd-filter writes another split of a finished dataset: without the samples that score badly, or look alike.

  dd-filter 'min={confidence: 0.7}' 'max={flatness: 0.8}' duplicates=true
  dd-filter best_share=0.5                       the better half of the samples of each class

The folder gets ImageSets/Segmentation/train_filtered.txt and, next to it, train_filtered.jsonl, which says what was
left out and why. Images and masks stay unchanged. report.html shows the scores and is rewritten.
"""


def main() -> None:
    """The entry point of `dd-filter`."""
    run_command("dd-filter", "filter", FilterSettings, work, ABOUT, after_interrupt="start it again")


def work(settings: FilterSettings) -> None:
    """Filter as the settings say."""
    from dataset_diffusion.dataset.filter import filter_split

    print(filter_split(settings))


if __name__ == "__main__":
    main()

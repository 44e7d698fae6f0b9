"""dd-calibrate finds the power, threshold and ignored band that give a model's best masks, from a few labelled images.

  dd-calibrate DIR experiment=voc model.path=HUB_ID_OR_FOLDER vocabulary.name=mine.yaml
  dd-calibrate datasets/toy_real                 the toy world's model, on rendered scenes

DIR is a VOC-style folder: JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/train.txt; twenty images suffice.
Each image's latents are noised to the sampler's time steps. The model runs on them with the image's class words as its
prompt (after a short caption, if attention.class_prompt is appended), and masks made from the recorded attention are
compared with the labelled ones. The other settings are those of dd-generate (the classes of `vocabulary` are the labels
1, 2, ... of the masks). The last line shows the settings to give to dd-generate.
dd-calibrate uses `vocabulary`, `model`, `sampler` and `attention`, and at most 100 images of DIR's split train.
"""

import sys
from pathlib import Path

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.generate import GenerateSettings

SPLIT = "train"
MAX_IMAGES = 100
MOST_IGNORED = 0.1
"""The best band that ignores no more than this share of the pixels is proposed."""


def main() -> None:
    """Take the folder off the command line; the rest are settings of dd-generate."""
    has_folder = len(sys.argv) > 1 and not sys.argv[1].startswith("-")
    has_folder = has_folder and ("=" not in sys.argv[1] or Path(sys.argv[1]).exists())
    if not has_folder and not {"-h", "--help"} & set(sys.argv[1:]):
        print("dd-calibrate: error: the folder of labelled images comes first; --help says more", file=sys.stderr)
        sys.exit(2)
    folder = Path(sys.argv.pop(1)) if has_folder else Path()
    run_command(
        "dd-calibrate",
        "generate",
        GenerateSettings,
        lambda settings: work(settings, folder),
        about=__doc__ or "",
        after_interrupt="nothing was kept",
    )


def work(settings: GenerateSettings, folder: Path) -> None:
    """Record the images once, then compare mask settings on them."""
    import torch
    from tqdm import tqdm

    from dataset_diffusion.calibration.choice import bands, best_band, best_of_each_power
    from dataset_diffusion.calibration.examples import labelled_images, with_captions
    from dataset_diffusion.calibration.recording import NoisedRecorder
    from dataset_diffusion.generators.loading import load_pipeline, out_of_memory, silence_libraries
    from dataset_diffusion.vocabulary import choose_vocabulary

    silence_libraries()
    vocabulary = choose_vocabulary(settings.vocabulary)
    images = labelled_images(folder, SPLIT, vocabulary, MAX_IMAGES)
    pipe = load_pipeline(settings.model, settings.sampler)
    recorder = NoisedRecorder(
        pipe, settings.sampler.num_inference_steps, settings.attention, settings.sampler.image_size
    )
    if recorder.family.class_prompt == "appended":
        images = with_captions(images, recorder.family.tokenizer)
    try:
        with tqdm(images, unit="image") as progress:  # closed before an error is printed
            recorded = [recorder.record(item, seed) for seed, item in enumerate(progress)]
    except torch.OutOfMemoryError as error:
        raise out_of_memory(settings.model) from error

    num_labels = len(vocabulary.label_names)
    powers = best_of_each_power(recorded, num_labels)
    print(f"{len(recorded)} images of {folder}. Without an ignored band, at the best threshold of each power:")
    for choice in powers:
        print(
            f"  power {choice.power}: mIoU {choice.quality.metrics.miou:.3f} at mask.threshold={choice.mask.threshold}"
        )
    best = max(powers, key=lambda choice: choice.quality.metrics.miou)
    widths = bands(recorded, best, num_labels)
    print(f"With power {best.power} and a band of ignored pixels:")
    for choice in widths:
        metrics, mask = choice.quality.metrics, choice.mask
        print(
            f"  {mask.uncertainty_threshold:.3f} ... {mask.threshold:.3f}: {100 * choice.quality.share_ignored:4.1f}% "
            f"ignored; {100 * metrics.pixel_accuracy:.1f}% of the others are right, mIoU {metrics.miou:.3f}"
        )
    chosen = best_band(widths, MOST_IGNORED)
    print(f"The best that ignores at most {100 * MOST_IGNORED:.0f}% of the pixels:")
    print(
        f"  attention.power={chosen.power} mask.threshold={chosen.mask.threshold} "
        f"mask.uncertainty_threshold={chosen.mask.uncertainty_threshold}"
    )


if __name__ == "__main__":
    main()

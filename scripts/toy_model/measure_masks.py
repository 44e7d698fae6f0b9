"""Measure the toy model's masks against exact masks, on rendered scenes that it was not trained on.

    python -m scripts.toy_model.measure_masks
    python -m scripts.toy_model.measure_masks model.path=runs/toy_model/model attention.power=2

It takes dd-generate's settings. The scenes' latents are noised to the sampler's time steps; see
dataset_diffusion/toy/quality.py.
"""

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.generate import GenerateSettings, MaskSettings

NUM_SCENES = 300
NUM_LOSS_SCENES = 60
POWERS = (0, 1, 2, 4)
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


def work(settings: GenerateSettings) -> None:
    """Record the held-out scenes once, then compare mask settings."""
    from tqdm import tqdm

    from dataset_diffusion.calibration.quality import attention_on_objects, mask_quality, score
    from dataset_diffusion.generators.loading import load_pipeline, silence_libraries
    from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS
    from dataset_diffusion.vocabulary import choose_vocabulary
    from scripts.toy_model.quality import NUM_LABELS, caption_losses, record_scenes

    silence_libraries()
    pipe = load_pipeline(settings.model, settings.sampler)
    seeds = HELD_OUT_SEEDS[:NUM_SCENES]
    scenes = record_scenes(pipe, seeds, settings.sampler.num_inference_steps, settings.attention)
    recorded = list(tqdm(scenes, total=len(seeds), unit="scene"))
    power = settings.attention.power
    (shipped,) = mask_quality(score(recorded, power), [settings.mask], NUM_LABELS)
    names = choose_vocabulary(settings.vocabulary).label_names
    for name, iou in zip(names, shipped.metrics.iou, strict=True):
        print(f"{name:12} {100 * iou:5.1f}")
    print(
        f"mIoU {shipped.metrics.miou:.3f} over {len(names)} classes, {100 * shipped.share_ignored:.1f}% of the pixels "
        f"ignored (power {power}, threshold {settings.mask.threshold}, "
        f"uncertainty_threshold {settings.mask.uncertainty_threshold}, {len(recorded)} scenes)"
    )
    print("mIoU without an ignored band, by power and threshold:")
    print("power " + "".join(f"{threshold:7.2f}" for threshold in THRESHOLDS))
    masks = [MaskSettings(threshold, threshold) for threshold in THRESHOLDS]
    for power in POWERS:
        qualities = mask_quality(score(recorded, power), masks, NUM_LABELS)
        print(f"{power:5} " + "".join(f"{quality.metrics.miou:7.3f}" for quality in qualities))
    shares = ", ".join(f"{100 * attention_on_objects(recorded, power):.0f}% at power {power}" for power in POWERS)
    print(f"self-attention of an object's positions that stays on the object: {shares}")
    print(caption_losses(pipe, seeds[:NUM_LOSS_SCENES]))


if __name__ == "__main__":
    run_command("measure_masks", "generate", GenerateSettings, work, __doc__ or "")

"""Masks of the toy world's held-out scenes with each attention.class_prompt and .aggregation, and their cost.

    python -m scripts.benchmarks.aggregation
    python -m scripts.benchmarks.aggregation sampler.num_inference_steps=10

It takes dd-generate's settings. Scenes are noised to the sampler's time steps. Each power of the self-attention is used
with the threshold that gives the best masks, without an ignored band.
"""

import time
from dataclasses import replace
from itertools import product

from dataset_diffusion.cli.run import run_command
from dataset_diffusion.settings.generate import AGGREGATIONS, CLASS_PROMPTS, GenerateSettings, MaskSettings

NUM_SCENES = 100
POWERS = (0, 1, 2)


def work(settings: GenerateSettings) -> None:
    """Record the scenes in each way, and compare the masks."""
    from dataset_diffusion.calibration.choice import best_threshold
    from dataset_diffusion.calibration.quality import mask_quality, score
    from dataset_diffusion.generators.loading import load_pipeline
    from dataset_diffusion.toy.scenes import HELD_OUT_SEEDS
    from scripts.toy_model.quality import NUM_LABELS, record_scenes

    pipe = load_pipeline(settings.model, settings.sampler)
    seeds = HELD_OUT_SEEDS[:NUM_SCENES]
    for class_prompt, aggregation in product(CLASS_PROMPTS, AGGREGATIONS):
        attention = replace(settings.attention, class_prompt=class_prompt, aggregation=aggregation)
        start = time.process_time()
        recorded = list(record_scenes(pipe, seeds, settings.sampler.num_inference_steps, attention))
        seconds = (time.process_time() - start) / NUM_SCENES
        found = []
        for power in POWERS:
            labelled = score(recorded, power)
            threshold = best_threshold(labelled, NUM_LABELS)
            (quality,) = mask_quality(labelled, [MaskSettings(threshold, threshold)], NUM_LABELS)
            found.append(f"power {power}: mIoU {quality.metrics.miou:.3f} at {threshold}")
        print(f"{class_prompt}, {aggregation}: {'; '.join(found)}; {seconds:.2f} CPU seconds per scene", flush=True)


if __name__ == "__main__":
    run_command("aggregation", "generate", GenerateSettings, work, __doc__ or "")

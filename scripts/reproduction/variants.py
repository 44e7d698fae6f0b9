"""The comparisons: every row of the reproduction, and the claims that the rows decide."""

from dataclasses import dataclass, replace
from typing import Literal

from scripts.reproduction.archive import COARSE, FINE, FULL_PROMPT, MORE_WORDS
from scripts.reproduction.recipe import Recipe

Source = Literal["generated", "rendered", "both", "recorded", "decoded"]
Labels = Literal["usual", "judge"]
Metric = Literal["masks", "judged", "segmentor"]


DEFAULT_RECIPE = Recipe()


@dataclass(frozen=True)
class Variant:
    """A way to make a training set, and to train and test on it.

    `mode` is the text of the prompts; `recipe` and `band` (the distance between the two thresholds) make the masks.
    There are `images` times the scale's number of images, from `source`: generated, rendered with exact masks, that
    many of each, rendered with masks from the attention recorded on them, or rendered and passed through the
    autoencoder. With the judge's `labels`, these are the masks, whatever the source. Of each class's images, the
    `kept_share` with the highest confidence is used for training. `soft`: each image occurs three times, with a lower
    threshold, the usual one, and a higher one: on average, a soft label. `guidance_scale` is the images' guidance
    scale; None: the usual one.
    """

    name: str
    mode: str = "caption_and_classes"
    recipe: Recipe = DEFAULT_RECIPE
    band: float = 0.1
    source: Source = "generated"
    labels: Labels = "usual"
    images: float = 1.0
    kept_share: float = 1.0
    soft: bool = False
    guidance_scale: float | None = None
    avg_non_ignore: bool = False
    ema: bool = True
    self_training: bool = False
    tta: bool = False


REFERENCE = Variant("reference")


@dataclass(frozen=True)
class Experiment:
    """A table: its rows and the metrics that they are measured by; its first row is `reference`."""

    name: str
    title: str
    variants: tuple[Variant, ...]
    reference: Variant = REFERENCE
    metrics: tuple[Metric, ...] = ("masks", "judged", "segmentor")
    masks_only: tuple[str, ...] = ()
    """Rows for which no segmentor is trained."""

    def is_measured(self, variant: Variant, metric: Metric) -> bool:
        """Whether a row of this table has a figure for a metric."""
        if metric != "segmentor" and (variant.soft or variant.kept_share < 1):
            return False  # the masks are the reference's, only fewer or more of them
        if metric == "masks" and variant.guidance_scale is not None:
            return False  # rendered scenes are not sampled
        return metric in self.metrics and not (metric == "segmentor" and variant.name in self.masks_only)


@dataclass(frozen=True)
class Claim:
    """`better` (a row's name) is better than `worse` by each metric's `figure`; `source` says whose claim it is."""

    text: str
    better: str
    worse: str
    metrics: tuple[Metric, ...] = ("masks", "judged", "segmentor")
    figure: str = "miou"
    source: str = "paper"


CAPTION = "caption"
"""The mode of prompts that are only captions."""
LATE = (2, 3)
"""The quarters of the time steps with the least noise."""


def _with(name: str, **changes: object) -> Variant:
    """The reference with another recipe."""
    return Variant(name, recipe=replace(DEFAULT_RECIPE, **changes))  # type: ignore[arg-type]


HALF = Variant("generated, half as many", images=0.5)
LATE_STEPS = _with("late steps", quarters=LATE)
REFINED = _with("edges", refined=True)
LATE_AND_REFINED = _with("late steps, edges", quarters=LATE, refined=True)

EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        "data",
        "Generated against rendered images (the paper's synthetic against real data)",
        (
            Variant("rendered", source="rendered"),
            Variant("both", source="both"),
            HALF,
            Variant("rendered, half as many", source="rendered", images=0.5),
            Variant("generated, twice as many", images=2.0),
            Variant("rendered, twice as many", source="rendered", images=2.0),
            Variant("rendered, masks from attention", source="recorded"),
            replace(LATE_AND_REFINED, name="rendered, best masks from attention", source="recorded"),
        ),
        metrics=("segmentor",),
    ),
    Experiment(
        "gap",
        "Where the gap to rendered images is",
        (
            Variant("rendered, exact masks", source="rendered"),
            Variant("rendered, passed through the autoencoder", source="decoded"),
            Variant("rendered, labelled by the judge", source="rendered", labels="judge"),
            Variant("rendered, masks from the attention", source="recorded"),
            Variant("generated, labelled by the judge", labels="judge"),
        ),
        metrics=("segmentor",),
    ),
    Experiment(
        "prompt",
        "Text of the prompt (half of the images)",
        (
            Variant("simple", mode="simple", images=0.5),
            Variant("caption", mode=CAPTION, images=0.5),
            Variant("classes", mode="classes", images=0.5),
        ),
        # Half of the images: each mode needs other images.
        reference=Variant("caption and classes", images=0.5),
    ),
    Experiment(
        "power",
        "Power of the self-attention (the reference: 1)",
        (
            _with("power 0", power=0),
            _with("power 2", power=2),
            _with("power 4", power=4),
            _with("power 8", power=8),
        ),
        masks_only=("power 2", "power 8"),
    ),
    Experiment("class_prompt", "Where class words are read", (_with("whole prompt", text=FULL_PROMPT),)),
    Experiment(
        "resolution",
        "Resolution of cross- and self-attention (the reference: 16 and 16)",
        (
            _with("cross 8, self 16", cross_resolution=COARSE),
            _with("cross 16, self 8", self_resolutions=(COARSE,)),
            _with("cross 8, self 8", cross_resolution=COARSE, self_resolutions=(COARSE,)),
        ),
        metrics=("masks", "judged"),
    ),
    Experiment(
        "band",
        "Ignored band (the reference: 0.1), and how the loss is divided",
        (
            Variant("no band", band=0.0),
            Variant("band 0.2", band=0.2),
            Variant("band 0.4", band=0.4),
            Variant("by labelled pixels", avg_non_ignore=True),
        ),
        masks_only=("band 0.2", "band 0.4"),
    ),
    Experiment(
        "training",
        "Training and testing",
        (
            Variant("without EMA", ema=False),
            Variant("self-training", self_training=True),
            Variant("TTA", tta=True),
        ),
        metrics=("segmentor",),
    ),
    Experiment(
        "beyond",
        "Beyond the paper",
        (
            LATE_STEPS,
            REFINED,
            LATE_AND_REFINED,
            _with("first quarter", quarters=(0,)),
            _with("second quarter", quarters=(1,)),
            _with("third quarter", quarters=(2,)),
            _with("last quarter", quarters=(3,)),
            _with("first layer", layers=(0,)),
            _with("second layer", layers=(1,)),
            _with("self-attention 16 and 8", self_resolutions=(FINE, COARSE)),
            _with("a threshold for each class", class_thresholds=True),
            Variant("least confident fifth left out", kept_share=0.8),
            Variant("soft labels", soft=True, band=0.0),
            Variant("guidance 2", guidance_scale=2.0),
            _with("tiny regions ignored", least_region=0.002),
            _with("words not asked for", text=MORE_WORDS),
        ),
        masks_only=(
            "first quarter",
            "second quarter",
            "third quarter",
            "last quarter",
            "first layer",
            "second layer",
            "self-attention 16 and 8",
            "a threshold for each class",
        ),
    ),
)

CLAIMS: tuple[Claim, ...] = (
    Claim("Captions with class words make better data than captions", "caption and classes", "caption"),
    Claim("... than class words alone", "caption and classes", "classes", ("judged", "segmentor")),
    Claim("... than simple prompts", "caption and classes", "simple", ("judged", "segmentor")),
    Claim("Self-attention improves on cross-attention alone", "reference", "power 0"),
    Claim("Power 4 is better than 1", "power 4", "reference"),
    Claim("The class prompt is better than the class words in the whole prompt", "reference", "whole prompt"),
    Claim(
        "Finer cross-attention (16 x 16, not 8 x 8) is better",
        "reference",
        "cross 8, self 16",
        ("masks", "judged"),
    ),
    Claim(
        "Finer self-attention (16 x 16, not 8 x 8) is better",
        "reference",
        "cross 16, self 8",
        ("masks", "judged"),
    ),
    Claim(
        "The ignored band raises the accuracy of what is kept",
        "reference",
        "no band",
        ("masks", "judged"),
        "kept_accuracy",
    ),
    Claim("The ignored band makes a better segmentor", "reference", "no band", ("segmentor",)),
    Claim("More images are better", "generated, twice as many", "generated, half as many", ("segmentor",)),
    Claim("Self-training makes a better segmentor", "self-training", "reference", ("segmentor",)),
    Claim("Test-time augmentation is better", "TTA", "reference", ("segmentor",)),
    Claim("Exact masks of rendered images are better than generated data", "rendered", "reference", ("segmentor",)),
    Claim("Both together are better than rendered images alone", "both", "rendered", ("segmentor",)),
    Claim("EMA makes a better segmentor", "reference", "without EMA", ("segmentor",), source="users"),
    Claim(
        "On the same rendered images exact masks are better than those from attention",
        "rendered",
        "rendered, masks from attention",
        ("segmentor",),
        source="ours",
    ),
    Claim(
        "With masks from attention rendered images are better than generated ones",
        "rendered, masks from attention",
        "reference",
        ("segmentor",),
        source="ours",
    ),
    Claim(
        "Late steps and edges make a better segmentor of rendered images",
        "rendered, best masks from attention",
        "rendered, masks from attention",
        ("segmentor",),
        source="ours",
    ),
)

MAIN_ROWS: tuple[str, ...] = ("reference", "rendered", "power 0", "late steps, edges", "by labelled pixels")
"""Rows for which a segmentor is trained if there is an hour, not a night."""

NEW_IDEAS: tuple[str, ...] = tuple(
    variant.name for experiment in EXPERIMENTS if experiment.name == "beyond" for variant in experiment.variants
)


def experiment(name: str) -> Experiment:
    """The table called `name`."""
    return next(table for table in EXPERIMENTS if table.name == name)

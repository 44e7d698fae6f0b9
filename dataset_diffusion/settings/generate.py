"""The settings of `dd-generate`, checked when they are made; the DictConfig ends here."""

import math
from dataclasses import dataclass, field
from typing import Any

from dataset_diffusion.settings.checks import one_of, require

DTYPES = ("float32", "bfloat16", "float16")
PROMPT_SOURCES = ("template", "coco", "voc", "images", "file")
PROMPT_MODES = ("simple", "caption", "classes", "caption_and_classes")
PROMPT_TEMPLATES = ("generic", "toy")
_NEEDED = {
    "coco": {"data_root": "name the folder of COCO's annotations/", "split": "name a split, as train2017"},
    "voc": {"data_root": "name the folder of VOCdevkit/", "split": "name a split, as train"},
    "images": {"path": "name the folder of images (prompts.path=DIR)"},
    "file": {"path": "name the JSON file of captions (prompts.path=FILE)"},
}
"""What a source cannot do without, each with the remedy where it is missing."""
WRITER_FORMATS = ("voc",)


@dataclass(frozen=True)
class VocabularySettings:
    """The classes: those of `name` ("voc", "coco" or a YAML file), or the list `classes` in its stead.

    `words` says how prompts name a class, by the dataset's name: {"aeroplane": "airplane"}.
    """

    name: str = "voc"
    classes: list[Any] | None = None
    words: dict[str, str] | None = None

    def __post_init__(self) -> None:
        require(bool(self.name), "vocabulary.name", self.name, "name voc, coco or a .yaml file")
        require(self.classes != [], "vocabulary.classes", self.classes, "list at least one, as '[cat,hot air balloon]'")


@dataclass(frozen=True)
class CaptionerSettings:
    """The BLIP that writes captions of images: a hub id or a folder, as transformers' from_pretrained takes it.

    Finished captions are kept in `cache_dir`, so that a stopped run goes on, and the next one needs no model.
    """

    path: str = "Salesforce/blip-image-captioning-base"
    revision: str | None = None
    batch_size: int = 8
    device: str = "auto"
    cache_dir: str = "datasets/captions"

    def __post_init__(self) -> None:
        require(bool(self.path), "prompts.captioner.path", self.path, "name a BLIP of the hub, or its folder")
        require(self.batch_size >= 1, "prompts.captioner.batch_size", self.batch_size, "must be 1 or more")
        require(bool(self.cache_dir), "prompts.captioner.cache_dir", self.cache_dir, "name a folder for the captions")


@dataclass(frozen=True)
class PromptSettings:
    """Where captions come from, and what a prompt is made of.

    `source` "template" writes captions by rule from the class words; "coco" and "voc" take the images of `split` in
    `data_root` with the classes of their annotations, and COCO's captions or those that `captioner` writes; "images"
    has it write those of a folder, `path`, and finds the classes in them; "file" reads the file `path`.

    `mode` is the text that the image is made from (the ablation of arXiv 2309.14303): "simple" is "a photo of" the
    classes, "caption" the caption, "classes" the class words, "caption_and_classes" both.

    `template` is the language of captions by rule: "generic", or "toy", which the toy model was taught;
    `classes_per_image` are the weights of images with 1, 2, ... classes in them, `cooccurrence` a file that says which
    classes go together. With `fill`, captions by rule are added for classes that the source has too few of.
    """

    source: str = "template"
    mode: str = "caption_and_classes"
    template: str = "generic"
    classes_per_image: list[float] = field(default_factory=lambda: [0.6, 0.3, 0.1])
    cooccurrence: str | None = None
    fill: bool = True
    path: str | None = None
    data_root: str | None = None
    split: str | None = None
    captioner: CaptionerSettings = field(default_factory=CaptionerSettings)

    def __post_init__(self) -> None:
        require(self.source in PROMPT_SOURCES, "prompts.source", self.source, one_of(PROMPT_SOURCES))
        require(self.mode in PROMPT_MODES, "prompts.mode", self.mode, one_of(PROMPT_MODES))
        require(self.template in PROMPT_TEMPLATES, "prompts.template", self.template, one_of(PROMPT_TEMPLATES))
        weights = self.classes_per_image
        require(
            bool(weights) and all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0,
            "prompts.classes_per_image",
            weights,
            "must be weights of images with 1, 2, ... classes, as [0.6,0.3,0.1]",
        )
        for name, remedy in _NEEDED.get(self.source, {}).items():
            require(bool(getattr(self, name)), f"prompts.{name}", getattr(self, name), remedy)


@dataclass(frozen=True)
class ModelSettings:
    """The Stable Diffusion pipeline: a hub id, a folder, or "toy" for the small model that comes with the package."""

    path: str = "toy"
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        require(bool(self.path), "model.path", self.path, "name a hub id or a pipeline folder")
        require(self.dtype in DTYPES, "model.dtype", self.dtype, one_of(DTYPES))


@dataclass(frozen=True)
class SamplerSettings:
    """How images are sampled; names as in diffusers. `scheduler` None keeps the model's own.

    The defaults are the paper's released settings (100 steps, guidance 7.5).
    """

    num_inference_steps: int = 100
    guidance_scale: float = 7.5
    scheduler: str | None = None
    negative_prompt: str = ""

    def __post_init__(self) -> None:
        steps = self.num_inference_steps
        require(1 <= steps <= 1000, "sampler.num_inference_steps", steps, "must lie in 1 ... 1000")
        guidance = self.guidance_scale
        require(0 <= guidance < math.inf, "sampler.guidance_scale", guidance, "must be a number of 0 or more")


@dataclass(frozen=True)
class AttentionSettings:
    """Which attention makes the masks (arXiv 2309.14303).

    Resolutions are sides of square maps; None takes the model's best: a quarter of the latent's side for
    cross-attention, at least 16, and half of it for self-attention (16 and 32 for 64 x 64 latents), or the nearest
    that it has.
    `power` is the exponent tau of the self-attention matrix; 0 uses cross-attention alone.
    """

    self_resolution: int | None = None
    cross_resolution: int | None = None
    power: int = 4

    def __post_init__(self) -> None:
        for name in ("self_resolution", "cross_resolution"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"attention.{name}", value, "must be 1 or more, or null")
        require(0 <= self.power <= 64, "attention.power", self.power, "must lie in 0 ... 64")


@dataclass(frozen=True)
class MaskSettings:
    """A pixel is its best class where that class's score is >= `threshold`, background where it is below
    `uncertainty_threshold`, and ignored in between (arXiv 2309.14303; its released values are the defaults).
    """

    threshold: float = 0.6
    uncertainty_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("threshold", "uncertainty_threshold"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"mask.{name}", value, "must lie in [0, 1]")
        require(
            self.uncertainty_threshold <= self.threshold,
            "mask.uncertainty_threshold",
            self.uncertainty_threshold,
            f"must not be above mask.threshold={self.threshold}",
        )


@dataclass(frozen=True)
class WriterSettings:
    """The layout of the dataset folder."""

    format: str = "voc"

    def __post_init__(self) -> None:
        require(self.format in WRITER_FORMATS, "writer.format", self.format, one_of(WRITER_FORMATS))


@dataclass(frozen=True)
class GenerateSettings:
    """All settings of a `dd-generate` run.

    `num_images` None takes each caption of the source once. `dry_run` writes the plan and its report, no image.
    """

    output_dir: str
    num_images: int | None
    seed: int
    batch_size: int
    dry_run: bool = False
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    writer: WriterSettings = field(default_factory=WriterSettings)

    def __post_init__(self) -> None:
        number = self.num_images
        require(number is None or number >= 1, "num_images", number, "must be 1 or more, or null for each caption once")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be 1 or more")
        require(self.seed >= 0, "seed", self.seed, "must be 0 or more")
        require(bool(self.output_dir), "output_dir", self.output_dir, "name a folder")

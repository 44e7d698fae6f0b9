"""The settings of `dd-generate`, checked when they are made; the DictConfig ends here."""

import math
from dataclasses import dataclass, field

from dataset_diffusion.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")
PROMPT_SOURCES = ("template", "file")
PROMPT_TEMPLATES = ("generic", "toy")
WRITER_FORMATS = ("voc",)


def require(condition: bool, setting: str, value: object, remedy: str) -> None:
    """Raise the InputError "setting=value: remedy" unless the condition holds."""
    if not condition:
        raise InputError(f"{setting}={'null' if value is None else value}: {remedy}")


def one_of(choices: tuple[str, ...]) -> str:
    """The remedy for a value that is none of `choices`."""
    return f"must be {choices[0]}" if len(choices) == 1 else f"must be one of {', '.join(choices)}"


@dataclass(frozen=True)
class PromptSettings:
    """Where captions come from.

    `source` "template" writes captions by rule from the class words: `template` "generic" writes "a photo of a dog and
    a sofa", "toy" speaks of the toy world as its model was taught to; `classes_per_image` holds the weights of images
    with 1, 2, ... classes. "file" reads `file`, a JSON or JSON Lines list of
    `{"caption", "class_prompt"}` (class_prompt may be left out: the classes are then those the caption names).
    """

    source: str = "template"
    template: str = "generic"
    classes_per_image: list[float] = field(default_factory=lambda: [0.6, 0.3, 0.1])
    file: str | None = None

    def __post_init__(self) -> None:
        require(self.source in PROMPT_SOURCES, "prompts.source", self.source, one_of(PROMPT_SOURCES))
        require(self.template in PROMPT_TEMPLATES, "prompts.template", self.template, one_of(PROMPT_TEMPLATES))
        weights = self.classes_per_image
        require(
            bool(weights) and all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0,
            "prompts.classes_per_image",
            weights,
            "must be weights of images with 1, 2, ... classes, as [0.6,0.3,0.1]",
        )
        if self.source == "file":
            require(bool(self.file), "prompts.file", self.file, "name the JSON file of captions (prompts.file=FILE)")


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
    `power` is the exponent tau of the self-attention matrix; 0 uses cross-attention alone. `skip_steps` is the share of
    the sampling steps whose attention is left out, those with the most noise; the paper leaves out none.
    """

    self_resolution: int | None = None
    cross_resolution: int | None = None
    power: int = 4
    skip_steps: float = 0.0

    def __post_init__(self) -> None:
        for name in ("self_resolution", "cross_resolution"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"attention.{name}", value, "must be 1 or more, or null")
        require(0 <= self.power <= 64, "attention.power", self.power, "must lie in 0 ... 64")
        require(0 <= self.skip_steps < 1, "attention.skip_steps", self.skip_steps, "must lie in [0, 1), as 0.5")


@dataclass(frozen=True)
class MaskSettings:
    """A pixel is its best class where that class's score is >= `threshold`, background where it is below
    `uncertainty_threshold`, and ignored in between (arXiv 2309.14303; its released values are the defaults).

    With `refine` the scores follow the edges of the image (a guided filter; not in the paper).
    """

    threshold: float = 0.6
    uncertainty_threshold: float = 0.5
    refine: bool = False

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
    """All settings of a `dd-generate` run. `num_images` None takes each caption of `prompts.file` once."""

    output_dir: str
    num_images: int | None
    seed: int
    batch_size: int
    vocabulary: str
    prompts: PromptSettings = field(default_factory=PromptSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    writer: WriterSettings = field(default_factory=WriterSettings)

    def __post_init__(self) -> None:
        number = self.num_images
        require(number is None or number >= 1, "num_images", number, "must be 1 or more, or null with prompts=file")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be 1 or more")
        require(self.seed >= 0, "seed", self.seed, "must be 0 or more")
        require(bool(self.output_dir), "output_dir", self.output_dir, "name a folder")

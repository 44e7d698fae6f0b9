"""The settings of `dd-generate`, checked when they are created.

`--help` shows the docstring below each field.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from dataset_diffusion.settings.checks import one_of, require

AGGREGATIONS = ("mean", "weighted", "weighted_layers")
CLASS_PROMPTS = ("own", "appended")
DTYPES = ("float32", "bfloat16", "float16")
PROMPT_SOURCES = ("template", "llm", "coco", "voc", "images", "file")
MODEL_SOURCES = ("llm", "voc", "images")
"""Sources whose captions a model writes: a single process makes their plan."""
PROMPT_MODES = ("simple", "caption", "classes", "caption_and_classes")
PROMPT_TEMPLATES = ("generic", "toy")
PROMPT_FILLS = ("reuse", "template", "none")
_NEEDED = {
    "coco": {"data_root": "name the folder of COCO's annotations/", "split": "name a split, e.g. train2017"},
    "voc": {"data_root": "name the folder of VOCdevkit/", "split": "name a split, e.g. train"},
    "images": {"path": "name the folder of images (prompts.path=DIR)"},
    "file": {"path": "name the JSON file of captions (prompts.path=FILE)"},
}
"""The settings that each source needs, with the remedy if one is missing."""
WRITERS = ("voc", "coco")
SPLIT_NAME = re.compile(r"\w[\w-]*", re.ASCII)


@dataclass(frozen=True)
class VocabularySettings:
    """The classes of the data set."""

    name: str = "voc"
    """voc, coco, or a .yaml file of your own classes"""
    classes: list[Any] | None = None
    """a list of classes instead of the file's, e.g. '[cat,hot air balloon,zebra]'"""
    words: dict[str, str] | None = None
    """other words for classes in prompts, e.g. '{aeroplane: airplane}'"""

    def __post_init__(self) -> None:
        require(bool(self.name), "vocabulary.name", self.name, "name voc, coco or a .yaml file")
        require(
            self.classes != [], "vocabulary.classes", self.classes, "list at least one, e.g. '[cat,hot air balloon]'"
        )


@dataclass(frozen=True)
class CaptionerSettings:
    """The BLIP that captions images. Finished captions are kept: a stopped run resumes, and the next needs no model."""

    path: str = "Salesforce/blip-image-captioning-base"
    """a BLIP model: a hub id or a folder, as for transformers' from_pretrained"""
    revision: str | None = None
    """branch, tag or commit of the hub repository"""
    batch_size: int = 8
    """images captioned at once"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    cache_dir: str = "datasets/captions"
    """folder for finished captions"""

    def __post_init__(self) -> None:
        require(bool(self.path), "prompts.captioner.path", self.path, "name a BLIP model on the hub, or its folder")
        require(self.batch_size >= 1, "prompts.captioner.batch_size", self.batch_size, "must be 1 or more")
        require(bool(self.cache_dir), "prompts.captioner.cache_dir", self.cache_dir, "name a folder for the captions")


@dataclass(frozen=True)
class LanguageModelSettings:
    """The language model that writes captions for prompts=llm. Finished captions are kept, as with the captioner."""

    path: str = "Qwen/Qwen2.5-7B-Instruct"
    """a causal language model with a chat template: a hub id or a folder"""
    revision: str | None = None
    """branch, tag or commit of the hub repository"""
    dtype: str = "bfloat16"
    """float32, bfloat16, float16"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    batch_size: int = 16
    """captions written at once"""
    cache_dir: str = "datasets/captions"
    """folder for finished captions"""

    def __post_init__(self) -> None:
        require(bool(self.path), "prompts.writer.path", self.path, "name a language model on the hub, or its folder")
        require(self.dtype in DTYPES, "prompts.writer.dtype", self.dtype, one_of(DTYPES))
        require(self.batch_size >= 1, "prompts.writer.batch_size", self.batch_size, "must be 1 or more")
        require(bool(self.cache_dir), "prompts.writer.cache_dir", self.cache_dir, "name a folder for the captions")


@dataclass(frozen=True)
class PromptSettings:
    """Where captions come from, and how a prompt is built from them."""

    source: str = "template"
    """set by prompts=NAME"""
    mode: str = "caption_and_classes"
    """what the prompt consists of: simple ("a photo of" the classes), caption, classes (their words), or
    caption_and_classes; the four variants of the ablation in arXiv 2309.14303"""
    template: str = "generic"
    """style of template captions: generic, or toy (which the toy model was trained on)"""
    classes_per_image: list[float] = field(default_factory=lambda: [0.6, 0.3, 0.1])
    """for template captions: weights of images with 1, 2, ... classes"""
    cooccurrence: str | None = None
    """for template captions: a file that says which classes appear together: a table, or COCO's instances"""
    fill: str = "template"
    """for classes with too few captions in the source: reuse (the same captions again, with other seeds), template
    (template captions), none"""
    path: str | None = None
    """the file for prompts=file, or the folder of images for prompts=images"""
    data_root: str | None = None
    """the COCO or VOC folder, for prompts=coco and prompts=voc"""
    split: str | None = None
    """the split of data_root: for COCO train2017, ...; for VOC train, trainval, ... or Main/trainval (all 11,540 images
    with boxes)"""
    captioner: CaptionerSettings = field(default_factory=CaptionerSettings)
    writer: LanguageModelSettings = field(default_factory=LanguageModelSettings)

    def __post_init__(self) -> None:
        require(self.source in PROMPT_SOURCES, "prompts.source", self.source, one_of(PROMPT_SOURCES))
        require(self.mode in PROMPT_MODES, "prompts.mode", self.mode, one_of(PROMPT_MODES))
        require(self.template in PROMPT_TEMPLATES, "prompts.template", self.template, one_of(PROMPT_TEMPLATES))
        require(self.fill in PROMPT_FILLS, "prompts.fill", self.fill, one_of(PROMPT_FILLS))
        weights = self.classes_per_image
        require(
            bool(weights) and all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0,
            "prompts.classes_per_image",
            weights,
            "must be weights of images with 1, 2, ... classes, e.g. [0.6,0.3,0.1]",
        )
        for name, remedy in _NEEDED.get(self.source, {}).items():
            require(bool(getattr(self, name)), f"prompts.{name}", getattr(self, name), remedy)


@dataclass(frozen=True)
class LoraSettings:
    """Weights that adapt the model (LoRA)."""

    path: str | None = None
    """a hub id, a folder or a .safetensors file, as for diffusers' load_lora_weights; null: none"""
    file: str | None = None
    """the file's name, if the hub repository or the folder has several"""
    scale: float = 1.0
    """how strongly it changes the model; 0: not at all"""

    def __post_init__(self) -> None:
        require(math.isfinite(self.scale), "model.lora.scale", self.scale, "must be a number, e.g. 0.8")
        require(self.file is None or self.path is not None, "model.lora.file", self.file, "give model.lora.path, too")


@dataclass(frozen=True)
class ModelSettings:
    """The diffusion model."""

    path: str = "toy"
    """a hub id, a pipeline folder, or toy for the small model that comes with the package"""
    revision: str | None = None
    """branch, tag or commit of the hub repository"""
    dtype: str = "float32"
    """float32, bfloat16, float16"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    transformer: str | None = None
    """another transformer for SD3, Flux or Z-Image, perhaps quantised: a hub id, a folder or a file; null: the
    model's own"""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """weights that adapt the model"""
    variant: str | None = None
    """which of the model's weight files, e.g. fp16; null: fp16 if dtype=float16 and the model has such files, otherwise
    those without a variant"""
    cpu_offload: bool = False
    """true: keep each part of the model on the GPU only while it runs; slower, for a GPU with little memory"""
    vae_slicing: bool = False
    """true: decode the images of a batch one by one; takes less memory"""
    vae_tiling: bool = False
    """true: decode images in tiles; takes less memory for large images, whose pixels change a little"""
    channels_last: bool = False
    """true: run convolutions in the channels-last memory format, which is faster on some GPUs"""

    def __post_init__(self) -> None:
        require(bool(self.path), "model.path", self.path, "name a hub id or a pipeline folder")
        require(self.dtype in DTYPES, "model.dtype", self.dtype, one_of(DTYPES))


@dataclass(frozen=True)
class SamplerSettings:
    """How images are sampled; named as in diffusers. The defaults are the paper's released settings."""

    num_inference_steps: int = 100
    """denoising steps; more are slower and, up to a point, better"""
    guidance_scale: float = 7.5
    """how closely images follow their prompt"""
    scheduler: str | None = None
    """ddim, pndm, dpmsolver++, ...; null: the model's own"""
    negative_prompt: str = ""
    """what images should not look like"""
    image_size: list[int] | None = None
    """height and width in pixels, e.g. [384,512]; null: the size that the model was trained for"""

    def __post_init__(self) -> None:
        steps = self.num_inference_steps
        require(1 <= steps <= 1000, "sampler.num_inference_steps", steps, "must lie in 1 ... 1000")
        guidance = self.guidance_scale
        require(0 <= guidance < math.inf, "sampler.guidance_scale", guidance, "must be a number of 0 or more")
        size = self.image_size
        require(
            size is None or (len(size) == 2 and min(size) >= 1),
            "sampler.image_size",
            size,
            "must be height and width, e.g. [384,512], or null",
        )


@dataclass(frozen=True)
class AttentionSettings:
    """Which attention the masks are made from (arXiv 2309.14303)."""

    self_resolution: int | None = None
    """side of the self-attention map; null: half the latent's side (32 for images of 512), or the nearest that the
    model has"""
    cross_resolution: int | None = None
    """side of the cross-attention map; null: a quarter of the latent's side, at least 16, or the nearest that the
    model has"""
    aggregation: str = "mean"
    """how heads and layers are combined: mean (as in the paper); weighted: heads weighted by their contribution to the
    output at each position; weighted_layers: layers weighted as well, by the similarity of their self-attention to that
    of the model's features (arXiv 2603.06178)"""
    class_prompt: str | None = None
    """where class words are read: own, in a separate text that the image never sees; appended, in the prompt; null:
    own for UNets (as in the paper), appended for transformers. With own, SD3 and Flux run every block up to the
    last recorded one twice; Z-Image supports only appended"""
    blocks: list[int] | None = None
    """transformers (SD3, Flux, Z-Image): the numbers of the blocks to record; null: those known to localise best"""
    steps: list[float] | None = None
    """which part of the sampler's steps to record, e.g. [0.5,0.75]: 0 is the noise, 1 the image; null: all"""
    power: int = 4
    """exponent tau of the self-attention matrix: how far it spreads a class's evidence; 0 uses only cross-attention"""

    def __post_init__(self) -> None:
        for name in ("self_resolution", "cross_resolution"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"attention.{name}", value, "must be 1 or more, or null")
        steps = self.steps
        require(
            steps is None or (len(steps) == 2 and 0 <= steps[0] < steps[1] <= 1),
            "attention.steps",
            steps,
            "must be two numbers of 0 to 1, the smaller one first, e.g. [0.5,0.75], or null",
        )
        require(self.aggregation in AGGREGATIONS, "attention.aggregation", self.aggregation, one_of(AGGREGATIONS))
        require(
            self.class_prompt in (None, *CLASS_PROMPTS),
            "attention.class_prompt",
            self.class_prompt,
            f"{one_of(CLASS_PROMPTS)}, or null",
        )
        require(self.blocks != [], "attention.blocks", self.blocks, "name at least one block, e.g. [9], or null")
        require(0 <= self.power <= 64, "attention.power", self.power, "must lie in 0 ... 64")


@dataclass(frozen=True)
class MaskSettings:
    """How scores become labels (arXiv 2309.14303; the defaults are its released values)."""

    threshold: float = 0.6
    """a pixel gets its best class if that class's score is at least this"""
    uncertainty_threshold: float = 0.5
    """a pixel is background if all its scores are below this; in between, it is ignored"""

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
class GenerateSettings:
    """All settings of a `dd-generate` run."""

    output_dir: str
    """the dataset folder; a stopped run resumes in it"""
    num_images: int | None
    """number of images in the folder (a larger number later adds to it); null: each caption of the source once. With
    prompts=voc, coco and images, null gives another order, so a folder started with it cannot be given a number later.
    A plan is used whole, unless a smaller number is given"""
    seed: int
    """another seed gives other images; each sample's seed is derived from it and the sample's id"""
    batch_size: int
    """images sampled at once; affects only rounding"""
    dry_run: bool = False
    """true: write the plan and its report, but make no images"""
    compare_with: str | None = None
    """dry_run=true: another plan (a folder or a file of captions) whose variety is printed next to this one's"""
    shard: str | None = None
    """i/N, i from 0: one of N processes that make one folder; set automatically under torchrun, accelerate and srun"""
    verify: bool = False
    """true: compare every file of output_dir with its manifest and make nothing; needs only output_dir"""
    repair: bool = False
    """true: verify, and regenerate what is missing or damaged"""
    keep_evidence: bool = True
    """true: keep each class's evidence next to the masks (evidence/, 8 KiB per class with 32 x 32 maps), for remask"""
    remask: str | None = None
    """a finished folder: make output_dir from its images and evidence with another attention.power (0, 1, 2 or 4),
    mask.threshold or mask.uncertainty_threshold, without sampling; all other settings are those of that folder"""
    strict: bool = False
    """true: refuse to resume with library versions or a device other than those that the folder was started with"""
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    """the classes"""
    prompts: PromptSettings = field(default_factory=PromptSettings)
    """where captions come from: template writes them from the class words; llm has a language model write them; coco
    and voc take the images of a split, with the classes of their annotations and COCO's captions or, for voc, BLIP's;
    images captions a folder with BLIP and finds the classes in the captions; file reads captions (JSON), or a
    prompts.jsonl to repeat its run"""
    model: ModelSettings = field(default_factory=ModelSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    writer: str = "voc"
    """layout of the dataset folder: voc; coco adds COCO's files to it once the folder is complete"""
    coco_components: bool = False
    """writer=coco: true writes one segment per connected component, not one per class in an image"""
    splits: dict[str, float] | None = None
    """shares of the splits, e.g. '{train: 0.9, val: 0.1}'; null: all samples are train. A sample's split depends only
    on its caption: no sample moves when the folder grows, and samples with the same caption are in the same split"""

    def __post_init__(self) -> None:
        number = self.num_images
        require(number is None or number >= 1, "num_images", number, "must be 1 or more, or null for each caption once")
        require(self.writer in WRITERS, "writer", self.writer, one_of(WRITERS))
        require(self.batch_size >= 1, "batch_size", self.batch_size, "must be 1 or more")
        require(self.seed >= 0, "seed", self.seed, "must be 0 or more")
        require(bool(self.output_dir), "output_dir", self.output_dir, "name a folder")
        if self.splits is not None:
            self._require_shares(self.splits)

    def _require_shares(self, splits: dict[str, float]) -> None:
        require("train" in splits, "splits", splits, "needs a split train, e.g. '{train: 0.9, val: 0.1}'")
        for name, share in splits.items():
            require(bool(SPLIT_NAME.fullmatch(name)), "splits", name, "must be letters, digits, '_' and '-'")
            require(0 < share <= 1, f"splits.{name}", share, "must lie in (0, 1]")
        total = sum(splits.values())
        require(abs(total - 1) < 1e-6, "splits", splits, f"add up to {total:g}; the shares must add up to 1")

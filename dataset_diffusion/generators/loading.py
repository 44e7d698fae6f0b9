"""Load the pipeline that the settings name, and identify its model."""

import contextlib
import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError

from dataset_diffusion import paths
from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.generators.families import FAMILIES, describe_families
from dataset_diffusion.generators.family import Family
from dataset_diffusion.generators.hub import choose_variant, explain_hub_error, wanted_variants
from dataset_diffusion.generators.parts import add_lora, fingerprint_parts, load_transformer
from dataset_diffusion.hardware import find_device
from dataset_diffusion.settings.generate import ModelSettings, SamplerSettings

TOY_MODEL = "toy"
INDEX_FILE = "model_index.json"
WEIGHTED_COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae")
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    # With its Runge-Kutta steps, PNDM would call the UNet 9 more times.
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    # For models that were distilled to few steps.
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
"""By name in `sampler.scheduler`: diffusers' class, and the options not taken from the model's own scheduler."""


def silence_libraries() -> None:
    """Silence diffusers, transformers and the hub: failures are raised, and nobody can act on the rest.

    Call this before a pipeline's name is first used: diffusers only imports it then, and the import already logs.
    """
    for library_logging in (transformers.logging, diffusers.utils.logging):
        library_logging.set_verbosity(library_logging.CRITICAL)
        library_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="The `local_dir_use_symlinks` argument is deprecated")
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")


def load_pipeline(model: ModelSettings, sampler: SamplerSettings) -> "diffusers.DiffusionPipeline":
    """Load the pipeline that `model` names onto its device, with the scheduler that `sampler` names.

    Raises InputError if there is no such folder or hub model, if it is not one of FAMILIES, if the device or the
    scheduler does not exist, if the device does not support the dtype, or if it has too little memory.
    """
    device = _choose_device(model)
    if sampler.scheduler is not None and sampler.scheduler not in SCHEDULERS:
        raise InputError(f"sampler.scheduler={sampler.scheduler}: must be one of {', '.join(SCHEDULERS)}, or null")
    folder, family = _find_model_folder(model)
    if sampler.scheduler is not None and not family.takes_schedulers:
        raise InputError(
            f"sampler.scheduler={sampler.scheduler}: {family.title} samples by flow matching, with its own scheduler; "
            "use null"
        )
    try:
        pipe = getattr(diffusers, family.pipeline).from_pretrained(
            folder,
            dtype=getattr(torch, model.dtype),
            variant=choose_variant(model, folder),
            local_files_only=True,
            **family.load_options,
            **load_transformer(model, folder),
        )
        if not model.cpu_offload:
            pipe.to(device)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(model) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"model.path={model.path}: cannot be loaded: {first_line(error)}") from error
    _require_tokenizers(pipe, model)
    add_lora(pipe, model.lora)
    _save_memory(pipe, model, device)
    if sampler.scheduler is not None:
        class_name, options = SCHEDULERS[sampler.scheduler]
        pipe.scheduler = getattr(diffusers, class_name).from_config(pipe.scheduler.config, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def out_of_memory(model: ModelSettings, batch_size: int = 1) -> InputError:
    """The error for a device that is out of memory, with a remedy that a folder already started accepts."""
    problem = f"model.path={model.path}"
    if batch_size > 1:
        problem, remedy = f"batch_size={batch_size}", f"resume with batch_size={batch_size // 2}"
    elif not model.cpu_offload:
        remedy = "set model.cpu_offload=true to keep only one part at a time on it"
    else:
        remedy = "use a smaller model or sampler.image_size, or a larger GPU"
    return InputError(f"{problem}: the device is out of memory; {remedy}")


def _save_memory(pipe: "diffusers.DiffusionPipeline", model: ModelSettings, device: torch.device) -> None:
    """Enable what the settings ask for, each by diffusers' own switch."""
    if model.vae_slicing:
        pipe.vae.enable_slicing()
    if model.vae_tiling:
        pipe.vae.enable_tiling()
    if model.channels_last:
        for part in ("unet", "vae"):  # transformers have no convolutions to speak of
            if (module := getattr(pipe, part, None)) is not None:
                module.to(memory_format=torch.channels_last)
    if model.cpu_offload:
        pipe.enable_model_cpu_offload(device=device)


def load_tokenizer(model: ModelSettings) -> "transformers.PreTrainedTokenizerFast":
    """Load only the tokenizer that limits the prompts of the pipeline that `model` names: a few MB of a hub model.

    Its model_max_length is what the pipeline reads of a prompt. Raises InputError as load_pipeline does.
    """
    folder = _model_folder(model)
    source = model.path if folder is None else folder
    family = _find_family(model, source)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source, subfolder=family.prompt_tokenizer, revision=model.revision
        )
    except (OSError, ValueError) as error:
        raise InputError(f"model.path={model.path}: its tokenizer cannot be loaded: {first_line(error)}") from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        # transformers makes up such a tokenizer where the files are missing.
        raise InputError(f"model.path={model.path}: its tokenizer has no words; are its files complete?")
    return family.limited(tokenizer)


def model_fingerprint(pipe: "diffusers.DiffusionPipeline", model: ModelSettings) -> dict[str, str]:
    """Identify the model: `id` as in the settings, and `revision`.

    The revision is the hub's commit; for a folder it is the SHA-256 of the weights in it ("sha256:..."), wherever the
    folder is, which takes about a second per gigabyte. Parts that were replaced or added are appended to it.
    """
    folder = Path(pipe.name_or_path)
    is_from_hub = folder.parent.name == "snapshots"
    revision = folder.name if is_from_hub else f"sha256:{_hash_weights(folder)}"
    return {"id": model.path, "revision": revision + fingerprint_parts(model)}


def _hash_weights(folder: Path) -> str:
    total = hashlib.sha256()
    for component in _weighted_components(folder):
        files = sorted((folder / component).glob("*.safetensors")) or sorted((folder / component).glob("*.bin"))
        for file in files:
            with file.open("rb") as stream:
                total.update(f"{component}/{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _weighted_components(folder: Path) -> list[str]:
    """The parts of a pipeline of any kind that have weights, the denoiser first."""
    parts = json.loads((folder / INDEX_FILE).read_bytes())
    return [part for part in WEIGHTED_COMPONENTS if parts.get(part, (None,))[0] is not None]


def _choose_device(model: ModelSettings) -> torch.device:
    device = find_device(model.device, "model.device", kinds=("cuda", "mps", "cpu"))
    if device.type == "cpu" and model.dtype == "float16":
        raise InputError("model.dtype=float16: works only on a GPU; use float32 or bfloat16 on a CPU")
    if device.type == "cpu" and model.cpu_offload:
        raise InputError("model.cpu_offload=true: needs a GPU to move parts of the model to; set it to false")
    return device


def _find_model_folder(model: ModelSettings) -> tuple[Path, type[Family]]:
    """The pipeline's folder and family. A hub model that is not in the cache is downloaded, without unneeded parts."""
    folder = _model_folder(model)
    if folder is not None:
        return folder, _find_family(model, folder)
    family = _find_family(model, model.path)
    pipeline = getattr(diffusers, family.pipeline)
    transformers.logging.enable_progress_bar()  # also switches the hub's: gigabytes may be on their way
    try:
        return _download(pipeline, family, model), family
    finally:
        transformers.logging.disable_progress_bar()


def _download(pipeline: Any, family: type[Family], model: ModelSettings) -> Path:
    """Download the best variant of the weights. Without a network, that can be a cached one that is not the best."""
    *better, last = wanted_variants(model)
    for variant in better:
        with contextlib.suppress(OSError, ValueError):
            return Path(pipeline.download(model.path, revision=model.revision, variant=variant, **family.load_options))
    try:
        return Path(pipeline.download(model.path, revision=model.revision, variant=last, **family.load_options))
    except (OSError, ValueError) as error:
        problem = explain_hub_error(model.path, error, otherwise="cannot be downloaded")
        raise InputError(f"model.path={model.path}: {problem}") from error


def _model_folder(model: ModelSettings) -> Path | None:
    """The folder that `model` names, or None where it must be a hub id."""
    where = f"model.path={model.path}"
    folder = paths.toy_model_dir() if model.path == TOY_MODEL else Path(model.path).expanduser()
    if folder.is_dir():
        if model.revision is not None:
            raise InputError(f"model.revision={model.revision}: only hub models have revisions; {where} is a folder")
        return folder
    if folder.is_file():
        raise InputError(f"{where}: is a file; name a pipeline folder, as diffusers' save_pretrained() writes it")
    if model.path.startswith(("/", ".", "~")) or model.path == TOY_MODEL:
        raise InputError(f"{where}: no such folder")
    return None


def _find_family(model: ModelSettings, source: Path | str) -> type[Family]:
    """Read only the pipeline's model_index.json, before gigabytes are downloaded or read."""
    where = f"model.path={model.path}"
    try:
        config = diffusers.DiffusionPipeline.load_config(source, revision=model.revision)
    except (OSError, ValueError) as error:
        is_folder = isinstance(source, Path)
        problem = f"not a pipeline folder: {first_line(error)}" if is_folder else explain_hub_error(model.path, error)
        raise InputError(f"{where}: {problem}") from error
    found = config.get("_class_name") if isinstance(config, dict) else type(config).__name__
    if found not in FAMILIES:
        raise InputError(f"{where}: is a {found}; these pipelines work: {describe_families()}")
    return FAMILIES[found]


def _require_tokenizers(pipe: "diffusers.DiffusionPipeline", model: ModelSettings) -> None:
    """Refuse the tokenizer of a few tokens that transformers makes up where the tokenizer's files are missing."""
    for suffix in ("", "_2", "_3"):
        tokenizer, encoder = getattr(pipe, f"tokenizer{suffix}", None), getattr(pipe, f"text_encoder{suffix}", None)
        if tokenizer is None or encoder is None:
            continue
        # Some text encoders have room for more tokens than their tokenizer has.
        has, needs = len(tokenizer), encoder.config.vocab_size
        if has < needs // 2 or (has < needs and encoder.config.model_type.startswith("clip")):
            raise InputError(
                f"model.path={model.path}: its tokenizer{suffix} has {has} of {needs} tokens; are its files complete?"
            )

"""Parts of a pipeline that are replaced or added when it is loaded: another transformer, a LoRA."""

import hashlib
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.settings.generate import LoraSettings, ModelSettings

GGUF = ".gguf"
FILES = (".safetensors", ".bin", GGUF)


def load_transformer(model: ModelSettings, pipeline_folder: Path) -> dict[str, Any]:
    """The transformer that replaces the pipeline's, as arguments for from_pretrained; empty keeps the pipeline's own.

    Raises InputError if the pipeline has no transformer, or if the one that `model.transformer` names cannot be loaded.
    """
    if model.transformer is None:
        return {}
    where = f"model.transformer={model.transformer}"
    _, class_name = json.loads((pipeline_folder / "model_index.json").read_bytes()).get("transformer", (None, None))
    if class_name is None:
        raise InputError(f"{where}: {model.path} has a UNet and no transformer; leave it null")
    dtype = getattr(torch, model.dtype)
    path = Path(model.transformer).expanduser()
    kind = getattr(diffusers, class_name)
    try:
        if path.suffix == GGUF:
            quantized = diffusers.GGUFQuantizationConfig(compute_dtype=dtype)
            options = {"config": str(pipeline_folder), "subfolder": "transformer"}
            transformer = kind.from_single_file(str(path), quantization_config=quantized, torch_dtype=dtype, **options)
        elif path.suffix in FILES:
            options = {"config": str(pipeline_folder), "subfolder": "transformer"}
            transformer = kind.from_single_file(str(path), torch_dtype=dtype, **options)
        else:
            transformer = kind.from_pretrained(str(path) if path.is_dir() else model.transformer, torch_dtype=dtype)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise InputError(f"{where}: cannot be loaded: {first_line(error)}") from error
    return {"transformer": transformer}


def add_lora(pipe: "diffusers.DiffusionPipeline", lora: LoraSettings) -> None:
    """Merge a LoRA into the weights themselves, so that it costs nothing while images are made.

    Raises InputError if peft is missing, or if the settings' path has no LoRA for this model.
    """
    if lora.path is None:
        return
    where = f"model.lora.path={lora.path}"
    options = {} if lora.file is None else {"weight_name": lora.file}
    path = Path(lora.path).expanduser()
    if path.is_file():
        path, options = path.parent, {"weight_name": path.name}
    elif not path.is_dir() and lora.path.startswith(("/", ".", "~")):
        raise InputError(f"{where}: no such file or folder")
    try:
        pipe.load_lora_weights(str(path) if path.is_dir() else lora.path, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if "PEFT backend" in str(error):
            raise InputError(f"{where}: needs a package that is not installed: pip install peft") from error
        raise InputError(f"{where}: cannot be loaded: {first_line(error)}") from error
    if not pipe.get_list_adapters():
        raise InputError(f"{where}: has no weights for a {type(pipe).__name__}; is it a LoRA of another model?")
    # Without their names, Flux's text encoder would be left out.
    parts = [part for part in pipe._lora_loadable_modules if getattr(pipe, part, None) is not None]
    pipe.fuse_lora(components=parts, lora_scale=lora.scale)
    pipe.unload_lora_weights()


def fingerprint_parts(model: ModelSettings) -> str:
    """What identifies replaced and added parts: for files the SHA-256 of their content, otherwise the hub id."""
    parts = {"transformer": model.transformer, "lora": model.lora.path}
    return "".join(f" {name}:{_fingerprint(path)}" for name, path in parts.items() if path is not None)


def _fingerprint(name: str) -> str:
    path = Path(name).expanduser()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in FILES)
    if not files:
        return name
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{total.hexdigest()}"

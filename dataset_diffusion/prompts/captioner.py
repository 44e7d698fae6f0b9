"""Captions of images, written by BLIP (arXiv 2201.12086) and kept on disk."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import ExifTags, Image, ImageOps
from safetensors import SafetensorError
from tqdm import tqdm

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.hardware import find_device
from dataset_diffusion.images import IMAGE_ERRORS
from dataset_diffusion.prompts.cache import TextCache
from dataset_diffusion.settings.generate import CaptionerSettings

# The number of beams that BLIP's own captions use.
GENERATION = {"num_beams": 3, "max_new_tokens": 40, "do_sample": False}
MODEL_TYPE = "blip"

WriteCaptions = Callable[[Sequence[Path]], list[str]]


def caption_images(paths: Sequence[Path], settings: CaptionerSettings, progress: bool = True) -> list[str]:
    """A caption for each image file, in one line of text.

    Captions are kept in `settings.cache_dir`, by model and image content, batch by batch: a stopped run resumes where
    it was, and a run that finds all of them loads no model. Raises InputError if an image cannot be read, or if the
    model cannot be loaded or is not a BLIP.
    """
    cache = TextCache(settings.cache_dir, settings.path, [settings.revision, GENERATION], ("image", "caption"))
    digests = [_digest(path) for path in tqdm(paths, unit="file", desc="reading", disable=not progress, delay=5)]
    missing = {digest: path for digest, path in zip(digests, paths, strict=True) if digest not in cache.texts}
    if missing:
        write = load_captioner(settings)
        with tqdm(total=len(missing), unit="caption", desc="captions", disable=not progress) as bar:
            for start in range(0, len(missing), settings.batch_size):
                batch = dict(islice(missing.items(), start, start + settings.batch_size))
                cache.add(dict(zip(batch, write(list(batch.values())), strict=True)))
                bar.update(len(batch))
    return [cache.texts[digest] for digest in digests]


def load_captioner(settings: CaptionerSettings) -> WriteCaptions:
    """The function that writes captions for a batch of image files.

    Raises InputError if `settings.path` is neither a BLIP on the hub nor a folder with one, or if there is no such
    device.
    """
    device = find_device(settings.device, "prompts.captioner.device", kinds=("cuda", "mps", "cpu"))
    where = f"prompts.captioner.path={settings.path}"
    source: dict[str, Any] = {"pretrained_model_name_or_path": settings.path, "revision": settings.revision}
    try:
        found = transformers.AutoConfig.from_pretrained(**source).model_type
        if found != MODEL_TYPE:
            raise InputError(f"{where}: is a {found}; only BLIP models work")
        # The classes are named here because the automatic choice needs torchvision.
        processor = transformers.BlipProcessor(
            transformers.BlipImageProcessorPil.from_pretrained(**source),
            transformers.AutoTokenizer.from_pretrained(**source),
        )
        model = transformers.BlipForConditionalGeneration.from_pretrained(**source).to(device).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{where}: cannot be loaded: {first_line(error)}") from error

    @torch.inference_mode()
    def write(paths: Sequence[Path]) -> list[str]:
        inputs = processor(images=[_open(path) for path in paths], return_tensors="pt").to(device)
        tokens = model.generate(**inputs, **GENERATION)
        return [" ".join(text.split()) for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    return write


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    # Earlier versions captioned turned photos as stored, and the cache may still have those captions.
    return f"{digest} upright" if _is_turned(path) else digest


def _is_turned(path: Path) -> bool:
    """Whether a photo's EXIF data say that it must be turned or mirrored for display."""
    try:
        with Image.open(path) as image:
            # Without the first check a PNG would be decoded to its end, where it could have EXIF data.
            return "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    except IMAGE_ERRORS:  # Reported when the image is needed: its caption may already be there.
        return False


def _open(path: Path) -> Image.Image:
    """The image as people see it: BLIP was trained on upright photos."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except IMAGE_ERRORS as error:
        raise InputError(f"{path}: not a readable image ({first_line(error)}); repair or remove it") from error

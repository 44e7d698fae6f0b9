"""Captions of images, written by BLIP (arXiv 2201.12086) and kept on disk."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import torch
import transformers
from PIL import Image
from safetensors import SafetensorError
from tqdm import tqdm

from dataset_diffusion.errors import InputError, first_line
from dataset_diffusion.hardware import find_device
from dataset_diffusion.images import IMAGE_ERRORS
from dataset_diffusion.settings.generate import CaptionerSettings

# The number of beams of BLIP's own captions.
GENERATION = {"num_beams": 3, "max_new_tokens": 40, "do_sample": False}
MODEL_TYPE = "blip"

WriteCaptions = Callable[[Sequence[Path]], list[str]]


def caption_images(paths: Sequence[Path], settings: CaptionerSettings, progress: bool = True) -> list[str]:
    """A caption for each image file, in one line of text.

    Captions are kept in `settings.cache_dir`, by model and by the image's content, batch by batch: a stopped run goes
    on where it was, and one that finds all of them loads no model. Raises InputError if an image cannot be read, or if
    the model cannot be loaded or is no BLIP.
    """
    cache = CaptionCache(settings)
    digests = [_digest(path) for path in tqdm(paths, unit="file", desc="reading", disable=not progress, delay=5)]
    missing = {digest: path for digest, path in zip(digests, paths, strict=True) if digest not in cache.captions}
    if missing:
        write = load_captioner(settings)
        with tqdm(total=len(missing), unit="caption", desc="captions", disable=not progress) as bar:
            for start in range(0, len(missing), settings.batch_size):
                batch = dict(islice(missing.items(), start, start + settings.batch_size))
                cache.add(dict(zip(batch, write(list(batch.values())), strict=True)))
                bar.update(len(batch))
    return [cache.captions[digest] for digest in digests]


class CaptionCache:
    """A file of JSON Lines, {"image": SHA-256 of its file, "caption": ...}, for each model and revision."""

    def __init__(self, settings: CaptionerSettings) -> None:
        model = Path(settings.path).expanduser()
        # A folder may be named from anywhere.
        name = str(model.resolve()) if model.is_dir() else settings.path
        key = hashlib.sha256(json.dumps([name, settings.revision, GENERATION]).encode()).hexdigest()[:16]
        self._path = Path(settings.cache_dir).expanduser() / f"{Path(name).name}-{key}.jsonl"
        self.captions = dict(self._read())

    def add(self, captions: dict[str, str]) -> None:
        """Keep captions by the digests of their images."""
        lines = "".join(
            json.dumps({"image": digest, "caption": text}, ensure_ascii=False) + "\n"
            for digest, text in captions.items()
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as stream:
                # A killed run may have left half a line: the next one begins on its own.
                stream.write((b"\n" if _is_torn(stream) else b"") + lines.encode())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from error
        self.captions.update(captions)

    def _read(self) -> Iterator[tuple[str, str]]:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from error
        for line in lines:
            try:
                record = json.loads(line)
                yield str(record["image"]), str(record["caption"])
            except (ValueError, KeyError, TypeError):  # Blank, or half a line of a killed run: written anew.
                continue


def load_captioner(settings: CaptionerSettings) -> WriteCaptions:
    """The function that writes captions of a batch of image files.

    Raises InputError if `settings.path` is no BLIP of the hub and no folder of one, or if there is no such device.
    """
    device = find_device(settings.device, "prompts.captioner.device", kinds=("cuda", "mps", "cpu"))
    where = f"prompts.captioner.path={settings.path}"
    source: dict[str, Any] = {"pretrained_model_name_or_path": settings.path, "revision": settings.revision}
    try:
        found = transformers.AutoConfig.from_pretrained(**source).model_type
        if found != MODEL_TYPE:
            raise InputError(f"{where}: is a {found}; only a BLIP works")
        # The class itself: the automatic choice asks for torchvision.
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


def _is_torn(stream: BinaryIO) -> bool:
    """Whether a file, opened to be added to, ends within a line."""
    if not stream.tell():
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read() != b"\n"


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except IMAGE_ERRORS as error:
        raise InputError(f"{path}: not a readable image ({first_line(error)}); mend or remove it") from error

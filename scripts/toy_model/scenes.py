"""The rendered training scenes and their latents, made once and kept in the work folder."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import tqdm

from dataset_diffusion.parallel import parallel_map
from dataset_diffusion.toy.scenes import TRAINING_SEEDS, Scene, SceneObject, render_scene
from scripts.toy_model.recipe import IMAGE_SIZE

Description = tuple[tuple[SceneObject, ...], str]
"""The input for writing a caption: a scene's objects and its background."""


def describe(scene: Scene) -> Description:
    """The parts of a scene that captions describe."""
    return scene.objects, scene.background


class SceneStore:
    """Renders the first `num_scenes` training scenes, in parallel, and keeps images and latents in files."""

    def __init__(self, folder: Path, num_scenes: int) -> None:
        self._folder = folder
        self._seeds = TRAINING_SEEDS[:num_scenes]

    def images(self) -> np.ndarray:
        """[scenes, 128, 128, 3] uint8, memory-mapped from its file."""
        return np.load(self._rendered("images.npy"), mmap_mode="r")

    def descriptions(self) -> list[Description]:
        """What each scene shows."""
        content = json.loads(self._rendered("descriptions.json").read_text())
        return [(tuple(SceneObject(**item) for item in objects), background) for objects, background in content]

    def _rendered(self, file_name: str) -> Path:
        folder = self._folder / f"scenes_{len(self._seeds)}"
        if not folder.exists():
            _write_whole(folder, partial(_render, self._seeds))
        return folder / file_name

    def latents(self, size: int, vae: AutoencoderKL) -> Tensor:
        """[scenes, 4, size / 4, size / 4] float16: the autoencoder's latents of the images, reduced to `size`."""
        path = self._folder / f"latents_{size}_{len(self._seeds)}.pt"
        if not path.exists():
            latents = torch.cat(list(_encode(vae, self.images(), size)))
            _write_whole(path, partial(torch.save, latents))
        return torch.load(path, weights_only=True)


def encode_images(vae: AutoencoderKL, images: np.ndarray) -> Tensor:
    """Encode images [B, H, W, 3] uint8 to latents [B, 4, h, w] float32, the mean of the autoencoder's distribution."""
    pixels = torch.tensor(images).to(vae.device).permute(0, 3, 1, 2) / 127.5 - 1
    return vae.encode(pixels).latent_dist.mean


@torch.no_grad()
def _encode(vae: AutoencoderKL, images: np.ndarray, size: int, batch_size: int = 16) -> Iterator[Tensor]:
    factor = images.shape[1] // size
    with tqdm(total=len(images), desc=f"latents {size}", unit="scene") as bar:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            reduced = batch.reshape(len(batch), size, factor, size, factor, 3).mean(axis=(2, 4)).round()
            yield encode_images(vae, reduced.astype(np.uint8)).half().cpu()
            bar.update(len(batch))


def _render(seeds: range, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shape = (len(seeds), IMAGE_SIZE, IMAGE_SIZE, 3)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    descriptions = []
    rendered = parallel_map(partial(render_scene, size=IMAGE_SIZE), seeds)
    for index, scene in enumerate(tqdm(rendered, total=len(seeds), desc="scenes", unit="scene")):
        images[index] = scene.image
        descriptions.append(([item._asdict() for item in scene.objects], scene.background))
    images.flush()
    (folder / "descriptions.json").write_text(json.dumps(descriptions))


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Whatever exists at `path` is complete: a killed run leaves only an unfinished file or folder behind."""
    unfinished = path.with_name(f"unfinished_{path.name}")
    write(unfinished)
    unfinished.replace(path)

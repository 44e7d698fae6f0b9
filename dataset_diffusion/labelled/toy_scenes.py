"""The toy world's validation set: scenes with exact masks, made from their seeds when first needed."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from tqdm import tqdm

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically
from dataset_diffusion.images import encode_image, write_label_mask
from dataset_diffusion.paths import PACKAGE_DIR
from dataset_diffusion.toy.scenes import VALIDATION_SEEDS, render_scene

NUM_VALIDATION_SCENES = 500


def toy_validation_set(cache_dir: Path, seeds: range = VALIDATION_SEEDS[:NUM_VALIDATION_SCENES]) -> Path:
    """The VOC-style folder of the scenes of `seeds`, with the split "val"; made in `cache_dir` unless it is there.

    The folder's name has a digest of the seeds and of the code that draws the scenes, so that no scenes of another
    version are read. It appears whole or not at all. Raises InputError when `cache_dir` cannot be written.
    """
    root = cache_dir / f"toy_validation_{_digest(seeds)}"
    if root.exists():
        return root
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=cache_dir))
    except OSError as error:
        raise InputError(f"cache_dir={cache_dir}: cannot be written ({error.strerror}); choose another") from error
    try:
        write_scenes(unfinished, seeds, split="val")
        unfinished.chmod(0o755)  # mkdtemp keeps a folder to its owner, but a data set may be shared
        _move_unless_there(unfinished, root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def _digest(seeds: range) -> str:
    toy = PACKAGE_DIR / "toy"
    sources = [toy / "draw.py", toy / "scenes.py", Path(__file__), *sorted((toy / "drawings").glob("*.py"))]
    digest = hashlib.sha256(repr(seeds).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def write_scenes(root: Path, seeds: range, split: str) -> None:
    """Render scenes into a VOC-style folder; the file of the split comes last."""
    progress = tqdm(seeds, desc="toy scenes", unit="scene", dynamic_ncols=True)
    ids = [_write_scene(root, seed) for seed in progress]
    lines = "".join(f"{sample_id}\n" for sample_id in ids)
    write_atomically(root / "ImageSets" / "Segmentation" / f"{split}.txt", lines.encode())


def _write_scene(root: Path, seed: int) -> str:
    scene, sample_id = render_scene(seed), f"toy_{seed}"
    write_atomically(root / "JPEGImages" / f"{sample_id}.jpg", encode_image(scene.image))
    write_label_mask(root / "SegmentationClass" / f"{sample_id}.png", scene.label_mask)
    return sample_id


def _move_unless_there(unfinished: Path, root: Path) -> None:
    try:
        unfinished.rename(root)
    except OSError:
        # Another run has made the same folder in the meantime; it is as good as ours.
        if not root.exists():
            raise

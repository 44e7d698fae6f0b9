"""The toy world's validation set: scenes with exact masks, made from their seeds when first needed."""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset_diffusion.errors import InputError
from dataset_diffusion.files import write_atomically
from dataset_diffusion.images import encode_image, write_label_mask
from dataset_diffusion.paths import PACKAGE_DIR
from dataset_diffusion.toy.scenes import ALL_CLASSES, VALIDATION_SEEDS, VOC_WORDS, render_scene
from dataset_diffusion.vocabulary import load_vocabulary, normalise

NUM_VALIDATION_SCENES = 500


def toy_class_ids(setting: str, label_names: Sequence[str]) -> tuple[int, ...]:
    """The toy world's class (1..20) of each label from 1; names are VOC's ("diningtable") or words ("dining table").

    Raises InputError that begins with `setting` if the toy world draws no such class.
    """
    names = load_vocabulary("voc").label_names[1:]
    known = {name: class_id for words in (names, VOC_WORDS) for class_id, name in enumerate(words, start=1)}
    class_ids = tuple(known.get(normalise(name), 0) for name in label_names[1:])
    if 0 in class_ids:
        label = class_ids.index(0) + 1
        raise InputError(
            f"{setting}: the toy world does not draw {label_names[label]!r} (label {label} in training), only VOC's "
            "classes; choose another dataset"
        )
    return class_ids


def toy_validation_set(
    cache_dir: Path, class_ids: Sequence[int], seeds: range = VALIDATION_SEEDS[:NUM_VALIDATION_SCENES]
) -> Path:
    """The VOC-style folder of the scenes of `seeds`, with the split "val"; made in `cache_dir` if it is missing.

    Label i is class `class_ids[i - 1]` of the toy world, and the scenes show no other classes. With all classes in
    their usual order, they are the scenes that the seeds give by default.

    The folder's name contains a digest of the classes, the seeds and the code that draws the scenes, so that no scenes
    of another version are read. The folder is made atomically. Raises InputError if `cache_dir` cannot be written.
    """
    root = cache_dir / f"toy_validation_{_digest(class_ids, seeds)}"
    if root.exists():
        return root
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=cache_dir))
    except OSError as error:
        raise InputError(f"cache_dir={cache_dir}: cannot be written ({error.strerror}); choose another") from error
    try:
        write_scenes(unfinished, seeds, "val", class_ids)
        unfinished.chmod(0o755)  # mkdtemp makes a folder private to its owner, but a dataset may be shared
        _move_unless_there(unfinished, root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def _digest(class_ids: Sequence[int], seeds: range) -> str:
    toy = PACKAGE_DIR / "toy"
    sources = [toy / "draw.py", toy / "scenes.py", Path(__file__), *sorted((toy / "drawings").glob("*.py"))]
    digest = hashlib.sha256(repr((tuple(class_ids), seeds)).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def write_scenes(root: Path, seeds: range, split: str, class_ids: Sequence[int] = ALL_CLASSES) -> None:
    """Render scenes of some classes, the first of which has label 1, into a VOC-style folder.

    The split file is written last.
    """
    progress = tqdm(seeds, desc="toy scenes", unit="scene", dynamic_ncols=True)
    ids = [_write_scene(root, seed, class_ids) for seed in progress]
    lines = "".join(f"{sample_id}\n" for sample_id in ids)
    write_atomically(root / "ImageSets" / "Segmentation" / f"{split}.txt", lines.encode())


def _write_scene(root: Path, seed: int, class_ids: Sequence[int]) -> str:
    scene, sample_id = render_scene(seed, among=class_ids), f"toy_{seed}"
    label_of = np.zeros(len(VOC_WORDS) + 1, dtype=np.uint8)
    label_of[list(class_ids)] = np.arange(1, len(class_ids) + 1)
    write_atomically(root / "JPEGImages" / f"{sample_id}.jpg", encode_image(scene.image))
    write_label_mask(root / "SegmentationClass" / f"{sample_id}.png", label_of[scene.label_mask])
    return sample_id


def _move_unless_there(unfinished: Path, root: Path) -> None:
    try:
        unfinished.rename(root)
    except OSError:
        # Another run has made the same folder in the meantime; it is as good as ours.
        if not root.exists():
            raise

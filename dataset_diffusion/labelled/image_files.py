"""Finds the image file of a sample."""

from pathlib import Path

SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG")
"""Cityscapes' images are PNGs; cameras write .JPG."""


def find_image(folder: Path, sample_id: str) -> Path:
    """The image file of an id: the first of SUFFIXES for which `<id><suffix>` exists in the folder, else `<id>.jpg`."""
    paths = [folder / f"{sample_id}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])

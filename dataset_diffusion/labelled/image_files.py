"""Where the image of a sample is."""

from pathlib import Path

SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG")
"""Cityscapes' images are PNGs; cameras write .JPG."""


def find_image(folder: Path, sample_id: str) -> Path:
    """The image of an id in a folder: the first of `<id>` with each of SUFFIXES that is there, else `<id>.jpg`."""
    paths = [folder / f"{sample_id}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])

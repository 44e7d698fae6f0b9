"""Where the image of a sample is."""

from pathlib import Path


def find_image(folder: Path, sample_id: str) -> Path:
    """`<id>.jpg` in a folder, or `<id>.png` where that alone is there (Cityscapes' images are PNGs)."""
    jpeg, png = folder / f"{sample_id}.jpg", folder / f"{sample_id}.png"
    return png if png.is_file() and not jpeg.is_file() else jpeg

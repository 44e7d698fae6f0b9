"""Pictures in the report: thumbnails of samples, and maps of where each class is in the image."""

import base64
import io
from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from PIL import Image

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.source import Labels
from dataset_diffusion.drawing import draw_overlay, shrink
from dataset_diffusion.errors import InputError
from dataset_diffusion.images import read_label_mask

THUMBNAIL_SIDE = 160
MAP_SIDE = 24
MAP_COLOURS = ((255, 255, 255), (72, 120, 168), (12, 34, 66))
"""The colours for a share of zero, half the largest share, and the largest share."""


def draw_thumbnail(folder: VocFolder, sample_id: str, labels: Labels) -> str:
    """A data URI: the image, and the image under its mask, side by side."""
    image, small = shrink(*folder.read(sample_id), THUMBNAIL_SIDE)
    return data_uri(np.concatenate([image, draw_overlay(image, small, labels.palette)], axis=1), "JPEG")


def mean_maps(folder: VocFolder, sample_ids: Iterable[str], num_labels: int) -> np.ndarray:
    """For each label and place, the share of masks with that label there: [num_labels, MAP_SIDE, MAP_SIDE] in [0, 1].

    Masks are scaled to a square. Files that cannot be read are left out: damaged folders also get a report.
    """
    totals = np.zeros((num_labels, MAP_SIDE, MAP_SIDE))
    count = 0
    for sample_id in sample_ids:
        try:
            labels = read_label_mask(folder.mask_path(sample_id), num_labels)
        except InputError:
            continue
        count += 1
        for label in np.unique(labels):
            if label < num_labels:
                region = (labels == label).astype(np.float32)
                totals[label] += cv2.resize(region, (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA)
    return totals / max(count, 1)


def draw_map(shares: np.ndarray) -> str:
    """A data URI of a map [h, w] of shares, with its largest value in the darkest colour."""
    highest = float(shares.max())
    places = shares / highest if highest else shares
    channels = [np.interp(places, (0, 0.5, 1), [colour[channel] for colour in MAP_COLOURS]) for channel in range(3)]
    return data_uri(np.stack(channels, axis=-1).round().astype(np.uint8), "PNG")


def data_uri(picture: np.ndarray, kind: str) -> str:
    """A data URI that holds a picture [H, W, 3] uint8."""
    stream = io.BytesIO()
    options: Mapping[str, int] = {"quality": 80} if kind == "JPEG" else {}
    Image.fromarray(picture).save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"

"""First step of planning: read the entries of the source that the settings name."""

from pathlib import Path

from dataset_diffusion.prompts.caption_file import read_caption_file
from dataset_diffusion.prompts.coco_captions import read_coco_captions
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.voc_images import list_images, read_voc_images
from dataset_diffusion.settings.generate import PromptSettings
from dataset_diffusion.vocabulary import Vocabulary


def read_entries(settings: PromptSettings, vocabulary: Vocabulary) -> list[Entry]:
    """All entries of the source, in its order; none if captions are written only from the class words.

    Raises InputError that names the file and its fault.
    """
    # PromptSettings has checked that the settings a source needs are not None.
    path, data_root = (Path(name or "").expanduser() for name in (settings.path, settings.data_root))
    split = settings.split or ""
    if settings.source == "file":
        return read_caption_file(path, vocabulary)
    if settings.source == "images":
        return list_images(path)
    if settings.source == "coco":
        return read_coco_captions(data_root, split, vocabulary)
    if settings.source == "voc":
        return read_voc_images(data_root, split, vocabulary)
    return []

"""Where the published datasets come from, and how their archives are laid out once unpacked."""

from pathlib import Path

from dataset_diffusion.errors import InputError

VOC_SOURCE = "VOCtrainval_11-May-2012.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
COCO_ANNOTATIONS_SOURCE = "annotations_trainval2017.zip from https://cocodataset.org/#download"


def find_voc(data_root: Path, setting: str = "data_root", needed: str = "ImageSets/Segmentation") -> Path:
    """The folder VOC2012 in `data_root`, which can be that folder, its parent VOCdevkit, or the folder above.

    `needed` is the subfolder by which it is recognised. Raises InputError naming `setting`.
    """
    for root in (data_root / "VOCdevkit" / "VOC2012", data_root / "VOC2012", data_root):
        if (root / needed).is_dir():
            return root
    raise InputError(f"{setting}={data_root}: has no VOCdevkit/VOC2012/{needed}; unpack {VOC_SOURCE} there")

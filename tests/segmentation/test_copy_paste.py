import numpy as np

from dataset_diffusion.segmentation.copy_paste import paste_objects


def test_pasted_objects_cover_the_target_and_keep_their_ignored_outline() -> None:
    # Sizes differ: a downscaled image can be smaller than the crop.
    source = {"img": np.full((2, 4, 3), 200.0), "gt_seg_map": np.array([[0, 255, 7, 7], [0, 0, 255, 7]])}
    target = {"img": np.full((3, 3, 3), 50.0), "gt_seg_map": np.array([[1, 1, 1], [0, 255, 0], [2, 2, 2]])}
    before = {name: array.copy() for name, array in target.items()}
    originals = dict(target)
    paste_objects(source, target)
    np.testing.assert_array_equal(target["gt_seg_map"], [[1, 255, 7], [0, 255, 255], [2, 2, 2]])
    np.testing.assert_array_equal(
        target["img"], np.array([[50, 200, 200], [50, 50, 200], [50, 50, 50]])[..., None].repeat(3, axis=2)
    )
    for name, array in originals.items():  # another draw can use them
        np.testing.assert_array_equal(array, before[name])

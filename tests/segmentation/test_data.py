from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion.images import read_image
from dataset_diffusion.labelled.images_with_masks import ImagesWithMasks, open_images_with_masks
from dataset_diffusion.segmentation.data import (
    DrawSampler,
    MixtureSampler,
    Source,
    shares,
    training_loader,
    training_steps,
    validation_loader,
)
from dataset_diffusion.settings.protocol import TestProtocol
from tests.segmentation.tiny_voc import SIZE, write_tiny_voc


def opened(root: Path) -> ImagesWithMasks:
    return open_images_with_masks("root", root, "train", root / "cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImagesWithMasks:
    root = write_tiny_voc(tmp_path_factory.mktemp("data") / "voc")
    return opened(root)


def batches(
    data: ImagesWithMasks, count: int, *, seed: int = 0, num_workers: int = 0, skip: int = 0, copy_paste: float = 0.0
) -> list[torch.Tensor]:
    """Images of the first batches of two, each joined with its mask: [4, H, W]."""
    loader = training_loader(
        [Source(data)],
        crop_size=SIZE,
        scale_range=[0.5, 2.0],
        batch_size=2,
        seed=seed,
        num_workers=num_workers,
        copy_paste=copy_paste,
    )
    loader.sampler.skip(2 * skip)
    drawn = []
    for batch, _ in zip(loader, range(count), strict=False):
        samples = zip(batch["inputs"], batch["data_samples"], strict=True)
        # Downscaled images can be smaller than the crop; the model pads them.
        drawn += [torch.cat([image, sample.gt_sem_seg.data]) for image, sample in samples]
    return drawn


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("copy_paste", [0.0, 0.5])
def test_a_draw_depends_only_on_its_seed_and_number(data: ImagesWithMasks, copy_paste: float) -> None:
    drawn = batches(data, 4, copy_paste=copy_paste)
    np.random.seed(5)
    assert equal(batches(data, 4, copy_paste=copy_paste), drawn)
    assert not equal(batches(data, 4, copy_paste=copy_paste, seed=1), drawn)
    # A run that resumes after two batches gets the third; the number of loading processes does not matter.
    assert equal(batches(data, 2, copy_paste=copy_paste, skip=2), drawn[4:])
    assert equal(batches(data, 4, copy_paste=copy_paste, num_workers=2), drawn)


def test_copy_paste_changes_the_given_share_of_images(data: ImagesWithMasks) -> None:
    plain, half, all_of_them = (batches(data, 50, copy_paste=share) for share in (0.0, 0.5, 1.0))
    pasted = [not torch.equal(a, b) for a, b in zip(plain, all_of_them, strict=True)]
    assert np.mean(pasted) > 0.9  # the rest drew a crop of background, or the same image
    kept = [torch.equal(a, b) or torch.equal(a, c) for a, b, c in zip(half, plain, all_of_them, strict=True)]
    assert all(kept)
    assert 0.35 < np.mean([not torch.equal(a, b) for a, b in zip(plain, half, strict=True)]) < 0.65


def test_objects_are_pasted_from_the_same_folder(tmp_path: Path) -> None:
    sources = []
    for label in (1, 2):
        root = write_tiny_voc(tmp_path / str(label), num_images=4)
        for path in (root / "SegmentationClass").iterdir():
            mask = np.array(Image.open(path))
            Image.fromarray(np.where(mask == label, mask, 0).astype(np.uint8)).save(path)
        sources.append(Source(opened(root), 0.5))
    dataset = training_loader(
        sources, crop_size=SIZE, scale_range=[1.0, 1.0], batch_size=2, seed=0, num_workers=0, copy_paste=1.0
    ).dataset
    for draw in range(32):
        index = draw % 8
        found = set(dataset[draw, index]["data_samples"].gt_sem_seg.data.unique().tolist())
        assert found <= {0, 1 + index // 4}


def test_an_image_is_augmented_differently_in_each_round(data: ImagesWithMasks) -> None:
    loader = training_loader(
        [Source(data)], crop_size=SIZE, scale_range=[0.5, 2.0], batch_size=2, seed=0, num_workers=0
    )
    first, second = loader.dataset[0, 3], loader.dataset[6, 3]
    assert first["data_samples"].img_path == second["data_samples"].img_path
    assert not equal([first["inputs"]], [second["inputs"]])


def test_each_round_draws_every_image_once(data: ImagesWithMasks) -> None:
    drawn = [key for key, _ in zip(DrawSampler(range(5), seed=0), range(15), strict=False)]
    assert [draw for draw, _ in drawn] == list(range(15))
    for start in (0, 5, 10):
        assert sorted(index for _, index in drawn[start : start + 5]) == list(range(5))
    assert [index for _, index in drawn[:5]] != [index for _, index in drawn[5:10]]


def test_two_processes_draw_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def draws(rank: int, world_size: int, count: int) -> list[tuple[int, int]]:
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: (rank, world_size))
        return [key for key, _ in zip(DrawSampler(range(5), seed=0), range(count), strict=False)]

    alone, first, second = draws(0, 1, 12), draws(0, 2, 6), draws(1, 2, 6)
    assert sorted(first + second) == alone
    assert not set(first) & set(second)


def mixture(shares: list[float], sizes: list[int], batch_size: int, count: int, seed: int = 0) -> list[int]:
    """The source index of each of the first draws."""
    sampler = MixtureSampler(range(sum(sizes)), sizes, shares, batch_size, seed)
    edges = np.cumsum(sizes)
    return [
        int(np.searchsorted(edges, index, side="right")) for (_, index), _ in zip(sampler, range(count), strict=False)
    ]


def test_weights_are_shares_of_every_batch() -> None:
    drawn = np.array(mixture([0.5, 0.3, 0.2], [3, 100, 7], batch_size=10, count=200)).reshape(20, 10)
    assert all(np.bincount(batch, minlength=3).tolist() == [5, 3, 2] for batch in drawn)
    # The order within a batch varies, so no process always gets the same source.
    assert len({tuple(batch) for batch in drawn}) > 15
    # A share below one image per batch is met over several batches.
    rare = np.array(mixture([0.95, 0.05], [10, 10], batch_size=4, count=400))
    assert (rare == 1).sum() == 20


def test_each_source_is_drawn_in_permutations() -> None:
    sampler = MixtureSampler(range(9), [4, 5], [0.5, 0.5], 8, seed=0)
    indices = [index for (_, index), _ in zip(sampler, range(40), strict=False)]
    assert all(indices.count(index) == 5 for index in range(4))
    assert all(indices.count(index) == 4 for index in range(4, 9))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([None, None], [0.75, 0.25]),
        ([None, 0.5], [0.5, 0.5]),
        ([2.0, 6.0], [0.25, 0.75]),
        ([None, None, 0.2], [0.6, 0.2, 0.2]),
    ],
)
def test_folders_without_a_weight_share_the_rest_by_size(weights: list[float | None], expected: list[float]) -> None:
    np.testing.assert_allclose(shares([300, 100, 5][: len(weights)], weights), expected)


def test_images_and_masks_stay_together(tmp_path: Path) -> None:
    # The image encodes its labels: grey 60 k where the mask is k. Away from edges, resizing does not change that.
    labels = np.kron(np.random.default_rng(0).integers(0, 3, (4, 4)), np.ones((24, 24))).astype(np.uint8)
    root = write_tiny_voc(tmp_path / "voc", num_images=1)
    Image.fromarray(labels * 60).convert("RGB").save(root / "JPEGImages/image_0.jpg", quality=100)
    Image.fromarray(labels).save(root / "SegmentationClass/image_0.png")
    data = opened(root)
    dataset = training_loader(
        [Source(data)], crop_size=SIZE, scale_range=[0.5, 2.0], batch_size=2, seed=0, num_workers=0
    ).dataset
    dataset.pipeline.transforms = [
        step for step in dataset.pipeline.transforms if type(step).__name__ != "PhotoMetricDistortion"
    ]
    agreement = []
    for draw in range(20):
        item = dataset[draw, 0]
        seen = (item["inputs"][0].float() / 60).round()
        agreement.append((seen == item["data_samples"].gt_sem_seg.data[0]).float().mean().item())
    assert min(agreement) > 0.9  # the rest are edge pixels


def test_augmentation_adds_no_labels(data: ImagesWithMasks) -> None:
    dataset = training_loader(
        [Source(data)], crop_size=SIZE, scale_range=[0.5, 2.0], batch_size=2, seed=0, num_workers=0
    ).dataset
    sizes = set()
    for draw in range(30):
        item = dataset[draw, draw % 6]
        mask = item["data_samples"].gt_sem_seg.data
        assert set(mask.unique().tolist()) <= {0, 1, 2, 255}
        assert item["inputs"].shape[1:] == mask.shape[1:]
        assert max(mask.shape[1:]) <= SIZE
        sizes.add(tuple(mask.shape[1:]))
    assert len(sizes) > 5  # the scale is random


def test_validation_sees_each_image_once_and_unchanged(data: ImagesWithMasks) -> None:
    loader = validation_loader(data, protocol=TestProtocol(), num_workers=0)
    seen = {Path(batch["data_samples"][0].img_path).stem: batch for batch in loader}
    assert sorted(seen) == sorted(data.ids)
    images, masks = (dict(zip(data.ids, paths, strict=True)) for paths in (data.images, data.masks))
    for sample_id, batch in seen.items():
        mask = np.array(Image.open(masks[sample_id]))
        np.testing.assert_array_equal(batch["data_samples"][0].gt_sem_seg.data[0], mask)
        # In OpenCV's channel order, which the model's preprocessor reverses; JPEG decoders differ slightly.
        image = np.array(Image.open(images[sample_id]).convert("RGB"))[..., ::-1]
        np.testing.assert_allclose(batch["inputs"][0].permute(1, 2, 0), image, atol=8)


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_exif_orientation_rotates_neither_image_nor_mask(tmp_path: Path, orientation: int) -> None:
    turned = opened(write_tiny_voc(tmp_path / "voc", num_images=1))
    with Image.open(turned.images[0]) as image:
        exif = image.getexif()
        exif[0x0112] = orientation
        image.crop((0, 0, SIZE, SIZE - 16)).save(turned.images[0], exif=exif)
    (item,) = validation_loader(turned, protocol=TestProtocol(), num_workers=0)
    seen = item["inputs"][0].numpy()[::-1].transpose(1, 2, 0)
    assert np.array_equal(seen, read_image(turned.images[0]))


def test_augmentation_has_the_usual_steps() -> None:
    steps = {step["type"]: step for step in training_steps(512, [0.5, 2.0])}
    assert list(steps)[2:] == ["RandomResize", "RandomCrop", "RandomFlip", "PhotoMetricDistortion", "PackSegInputs"]
    assert steps["RandomResize"]["scale"] == (2048, 512)
    assert steps["RandomResize"]["ratio_range"] == (0.5, 2.0)
    assert steps["RandomCrop"]["cat_max_ratio"] == 0.75

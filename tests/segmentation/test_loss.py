"""Ignored pixels do not affect the real model's loss, except for its divisor."""

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from torch import Tensor

from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.segmentation.model import build_segmentor, init_weights, segmentor_config
from tests.segmentation.tiny_voc import TINY

import_mmseg()
from mmseg.structures import SegDataSample  # noqa: E402

SIZE = 48


def tiny_model(avg_non_ignore: bool = False) -> Any:
    torch.manual_seed(0)
    model = build_segmentor(segmentor_config(TINY, crop_size=SIZE, avg_non_ignore=avg_non_ignore))
    init_weights(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    return model.train()


def data_samples(masks: Tensor) -> list[SegDataSample]:
    return [SegDataSample(gt_sem_seg=PixelData(data=mask[None])) for mask in masks]


def total_loss(model: Any, images: Tensor, masks: Tensor) -> Tensor:
    losses = model(images, data_samples(masks), mode="loss")
    return sum(value for name, value in losses.items() if "loss" in name)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE)


@pytest.fixture
def true_labels() -> Tensor:
    return torch.randint(0, 3, (2, SIZE, SIZE))


@pytest.fixture
def ignored() -> Tensor:
    return torch.rand(2, SIZE, SIZE) < 0.4


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_labels_under_ignored_pixels_do_not_change_the_loss(images, true_labels, ignored, avg_non_ignore) -> None:
    model = tiny_model(avg_non_ignore)
    others = torch.where(ignored, (true_labels + 1) % 3, true_labels)
    assert not torch.equal(others, true_labels)
    masks, other_masks = true_labels.masked_fill(ignored, 255), others.masked_fill(ignored, 255)
    loss = total_loss(model, images, masks)
    assert torch.equal(total_loss(model, images, other_masks), loss)
    # The test is sensitive: other labels at labelled pixels do change the loss.
    masks[0, ~ignored[0]] = (masks[0, ~ignored[0]] + 1) % 3
    assert not torch.equal(total_loss(model, images, masks), loss)


@pytest.mark.parametrize("avg_non_ignore", [False, True])
@pytest.mark.parametrize("head_name", ["decode_head", "auxiliary_head"])
def test_scores_at_ignored_pixels_do_not_change_the_loss(true_labels, ignored, avg_non_ignore, head_name) -> None:
    head = getattr(tiny_model(avg_non_ignore), head_name)
    masks = data_samples(true_labels.masked_fill(ignored, 255))
    scores = torch.randn(2, 3, SIZE, SIZE, requires_grad=True)
    loss = head.loss_by_feat(scores, masks)["loss_ce"]
    loss.backward()
    moved = scores.grad.abs().amax(dim=1) > 0
    assert torch.equal(moved, ~ignored)
    others = torch.where(ignored[:, None], torch.randn_like(scores), scores)
    assert torch.equal(head.loss_by_feat(others, masks)["loss_ce"], loss)


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_fully_ignored_images_have_finite_gradients(images, avg_non_ignore) -> None:
    model = tiny_model(avg_non_ignore)
    loss = total_loss(model, images, torch.full((2, SIZE, SIZE), 255))
    loss.backward()
    assert loss.item() == 0
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_avg_non_ignore_divides_by_the_labelled_pixels(images, true_labels, ignored) -> None:
    masks = true_labels.masked_fill(ignored, 255)
    by_all = total_loss(tiny_model(avg_non_ignore=False), images, masks).item()
    by_labelled = total_loss(tiny_model(avg_non_ignore=True), images, masks).item()
    share = (~ignored).double().mean().item()
    np.testing.assert_allclose(by_all, by_labelled * share, rtol=1e-5)


def test_the_loss_is_cross_entropy_over_labelled_pixels(true_labels, ignored) -> None:
    head = tiny_model(avg_non_ignore=True).decode_head
    scores = torch.randn(2, 3, SIZE, SIZE)
    loss = head.loss_by_feat(scores, data_samples(true_labels.masked_fill(ignored, 255)))["loss_ce"]
    chosen = scores.softmax(dim=1).gather(1, true_labels[:, None])[:, 0]
    torch.testing.assert_close(loss, -chosen[~ignored].log().mean())

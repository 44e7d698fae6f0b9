"""Segmentors other than DeepLabV3: mmsegmentation configs and transformers' Mask2Former."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from dataset_diffusion.errors import InputError
from dataset_diffusion.segmentation.architectures import describe_architecture, model_config, read_architecture
from dataset_diffusion.segmentation.checkpoints import load_strictly
from dataset_diffusion.segmentation.mask2former import Mask2FormerArchitecture, Mask2FormerSegmentor
from dataset_diffusion.segmentation.mask2former_loss import ValidPixelsLoss, is_valid
from dataset_diffusion.segmentation.mmseg_configs import Published, fit, read_mmseg_config
from dataset_diffusion.segmentation.model import build_segmentor, segmentor_config
from dataset_diffusion.segmentation.networks import Network
from dataset_diffusion.segmentation.pretrained import BackboneWeights
from dataset_diffusion.segmentation.segmentor import Segmentor, load_segmentor
from dataset_diffusion.segmentation.train import train
from dataset_diffusion.settings.protocol import TestProtocol
from dataset_diffusion.settings.train import SegmentorSettings
from tests.segmentation.tiny_voc import TINY, random_model, tiny_settings

SEGFORMER = "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512"
SMALL_MASK2FORMER: dict[str, Any] = {
    "kind": "mask2former",
    "pretrained": "none",
    "depth": 18,
    "base_channels": 16,
    "num_queries": 8,
    "hidden_dim": 64,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_points": 128,
}
SMALL = {
    "mmseg": SegmentorSettings(kind="mmseg", config=SEGFORMER, pretrained="none"),
    "mask2former": SegmentorSettings(**SMALL_MASK2FORMER),
}


@pytest.mark.parametrize("kind", SMALL)
def test_each_kind_trains_validates_relabels_resumes_and_is_exported(
    dataset_dir: Path, work_dir: Path, kind: str
) -> None:
    changes: dict[str, Any] = {"segmentor": SMALL[kind], "iterations": 2, "val_split": "train", "self_training": True}
    settings = tiny_settings(dataset_dir, work_dir, val=str(dataset_dir), resume=True, **changes)
    exported = train(settings)
    content = load_strictly(exported)  # weights_only=True
    assert content["architecture"]["kind"] == kind
    image = np.array(Image.open(dataset_dir / "JPEGImages/image_0.jpg"))
    segmentor = load_segmentor(exported, "cpu")
    for tta in (False, True):
        assert segmentor.predict([image], tta=tta)[0].shape == (64, 64)
    torch.testing.assert_close(segmentor.predict_probabilities(image).sum(dim=0), torch.ones(64, 64))
    # A training that lost its exported file resumes from its checkpoint.
    (work_dir / "second_training/segmentor.pth").unlink()
    before = load_strictly(exported)["state_dict"]
    exported.unlink()
    after = load_strictly(train(settings))["state_dict"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_image_too_small_for_a_network_is_refused(dataset_dir: Path, work_dir: Path) -> None:
    exported = train(tiny_settings(dataset_dir, work_dir, segmentor=SMALL["mmseg"], iterations=1))
    image = np.zeros((20, 48, 3), np.uint8)
    with pytest.raises(InputError, match=r"48 x 20 pixels is too small .* at 24 x 10; set test_scale"):
        load_segmentor(exported, "cpu").predict([image], tta=True)
    assert load_segmentor(exported, "cpu", test_scale="128x64").predict([image])[0].shape == (20, 48)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("segformer/segformer_mit-b9", r"no such config; .* such as segformer/segformer_mit-b"),
        ("mask2former/mask2former_r50_8xb2-160k_ade20k-512x512", r"needs mmdet\.MSDeformAttnPixelDecoder"),
        ("convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512", r"needs mmpretrain\.ConvNeXt"),
        ("point_rend/pointrend_r50_4xb4-160k_ade20k-512x512", r"cannot be built here \(.*point_sample"),
        ("pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes", r"cannot be trained on crops of crop_size=64 \(.*gt_edge"),
        ("vpd/vpd_sd_4xb8-25k_nyu-512x512", r"is a DepthEstimator, not an encoder with a segmentation head"),
    ],
)
def test_configs_that_cannot_be_trained_are_refused_by_name(config: str, complaint: str) -> None:
    def plan() -> None:
        model, _ = read_mmseg_config(config)
        fit(config, model, num_labels=3, crop_size=64, avg_non_ignore=False, sync_batch_norm=False)

    with pytest.raises(InputError, match=complaint) as refused:
        plan()
    assert f"segmentor.config={config}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_config_is_fitted_to_the_labels(tmp_path: Path) -> None:
    model, published = read_mmseg_config("deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-769x769")
    assert published == Published("open-mmlab://resnet18_v1c", "ResNetV1c")
    fitted = fit("r18", model, num_labels=3, crop_size=64, avg_non_ignore=True, sync_batch_norm=False)
    built: Any = build_segmentor(model_config(fitted, crop_size=64))
    for head in (built.decode_head, built.auxiliary_head):
        assert (head.num_classes, head.out_channels, head.ignore_index) == (3, 3, 255)
        assert head.conv_seg.out_channels == 3
        assert head.loss_decode.avg_non_ignore
    assert built.data_preprocessor.size == (64, 64)
    assert read_architecture(describe_architecture(fitted)) == fitted


def test_weights_are_loaded_into_the_part_of_the_backbone_that_the_config_names() -> None:
    _, published = read_mmseg_config("bisenetv1/bisenetv1_r18-d32-in1k-pre_4xb4-160k_cityscapes-1024x1024")
    assert published == Published("open-mmlab://resnet18_v1c", "ResNet")
    model: Any = build_segmentor(segmentor_config(TINY))
    inner = model.backbone
    state = {name: torch.full_like(value, 3) for name, value in inner.state_dict().items()}
    model.backbone = torch.nn.ModuleDict({"context": inner, "spatial": torch.nn.Linear(2, 2)})
    Network(TINY, BackboneWeights("file", state, deep_stem=True), type(inner).__name__).load_pretrained(model)
    assert (inner.layer4[1].conv2.weight == 3).all()


def test_a_network_of_fixed_sizes_sees_padded_images() -> None:
    name = "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024"
    model, _ = read_mmseg_config(name)
    fitted = fit(name, model, num_labels=3, crop_size=64, avg_non_ignore=False, sync_batch_norm=False)
    segmentor = Segmentor(
        build_segmentor(model_config(fitted)), ("a", "b", "c"), ((0, 0, 0),) * 3, TestProtocol(), torch.device("cpu")
    )
    assert segmentor.predict([np.zeros((62, 94, 3), np.uint8)])[0].shape == (62, 94)


def test_compiling_reaches_backbone_and_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    model = random_model()
    Network.compile(model)
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(1, 3, 64, 64))
        for head in (None, model.decode_head, model.auxiliary_head):
            if head is not None:
                head.predict(features, [{"img_shape": (64, 64)}], {})
            assert compiled
            compiled.clear()


def test_a_file_can_name_only_parts_of_mmsegmentation() -> None:
    model, _ = read_mmseg_config(SEGFORMER)
    fitted = fit("b0", model, num_labels=3, crop_size=64, avg_non_ignore=False, sync_batch_norm=False)
    content: Any = describe_architecture(fitted)
    for trap in ("os.system", "builtins.exec", "subprocess.Popen", "torch.nn.Linear"):
        with pytest.raises(ValueError, match="not a part of mmsegmentation"):
            read_architecture({**content, "model": content["model"].replace("MixVisionTransformer", trap)})


def test_weights_that_do_not_fit_are_refused(dataset_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    torch.save({"layers.0.0.projection.weight": torch.zeros(3)}, tmp_path / "weights.pth")
    other = SegmentorSettings(kind="mmseg", config=SEGFORMER, pretrained=str(tmp_path / "weights.pth"))
    with pytest.raises(InputError, match=r"weights.pth: has 0 of the backbone's \d+ tensors"):
        train(tiny_settings(dataset_dir, work_dir, segmentor=other))


@pytest.fixture(scope="module")
def config() -> Mask2FormerConfig:
    return Mask2FormerConfig(num_labels=4, train_num_points=200)


WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


def predictions(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 6, 16, 16, generator=generator), torch.randn(2, 6, 5, generator=generator)


def losses(criterion: Any, masks: list[torch.Tensor], classes: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    mask_logits, class_logits = predictions()
    found: dict[str, torch.Tensor] = criterion(mask_logits, class_logits, masks, classes)
    return found


def some_masks() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    masks = [(torch.rand(count, 64, 64, generator=generator) > 0.5).float() for count in (2, 3)]
    return masks, [torch.tensor([0, 2]), torch.tensor([1, 2, 3])]


def test_with_all_pixels_labelled_the_loss_equals_that_of_transformers(config) -> None:
    masks, classes = some_masks()
    ours = ValidPixelsLoss(config, WEIGHTS)
    with ours.ignoring(torch.zeros(2, 64, 64, dtype=torch.bool)):
        # Both sample points outside the outermost pixel centres with zero padding.
        found = losses(ours, masks, classes)
    expected = losses(Mask2FormerLoss(config, WEIGHTS), masks, classes)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_masks_under_ignored_pixels_change_no_bit_of_the_loss(config) -> None:
    masks, classes = some_masks()
    ignored = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(2)) > 0.9
    ignored[:, :20] = True
    others = [mask.where(~hidden, torch.rand_like(mask)) for mask, hidden in zip(masks, ignored, strict=True)]
    assert not torch.equal(masks[0], others[0])
    ours = ValidPixelsLoss(config, WEIGHTS)
    with ours.ignoring(ignored):
        first, second = losses(ours, masks, classes), losses(ours, others, classes)
    for name, value in first.items():
        assert torch.equal(value, second[name])
        assert torch.isfinite(value)
    with ours.ignoring(torch.zeros_like(ignored)):
        assert not torch.equal(losses(ours, masks, classes)["loss_mask"], losses(ours, others, classes)["loss_mask"])


def test_ignored_pixels_give_masks_no_gradient(config) -> None:
    masks, classes = some_masks()
    ignored = torch.zeros(2, 64, 64, dtype=torch.bool)
    ignored[:, :32] = True
    ours = ValidPixelsLoss(config, WEIGHTS)
    mask_logits, class_logits = predictions()
    mask_logits.requires_grad_()
    with ours.ignoring(ignored):
        found = ours(mask_logits, class_logits, masks, classes)
    for name in ("loss_mask", "loss_dice"):
        (moved,) = torch.autograd.grad(found[name], mask_logits, retain_graph=True)
        assert not moved[:, :, :7].any()  # row 7 of 16 reaches half a row below itself
        assert moved[:, :, 8:].any()


def test_the_mask_loss_is_the_mean_over_valid_points(config) -> None:
    masks, classes = some_masks()
    ignored = torch.zeros(2, 64, 64, dtype=torch.bool)
    ignored[:, :, :40] = True
    ours = ValidPixelsLoss(config, WEIGHTS)
    with ours.ignoring(ignored):
        found = ours(torch.zeros(2, 6, 16, 16), torch.zeros(2, 6, 5), masks, classes)
    assert found["loss_mask"].item() == pytest.approx(np.log(2))


def test_queries_are_matched_by_their_predictions_at_valid_pixels(config) -> None:
    left = torch.arange(64).expand(64, 64) < 32
    ignored = torch.arange(64)[:, None].expand(64, 64) < 48
    masks = torch.stack([left, ~left]).float()
    # On ignored pixels, three quarters of all, each query predicts the other's mask.
    queries = 10 - 20 * (masks.bool() == ignored).float()[:, ::4, ::4]
    matcher = ValidPixelsLoss(config, WEIGHTS).matcher
    matcher.valid = (~ignored).float()[None, None]
    ((rows, columns),) = matcher(queries[None], torch.zeros(1, 2, 5), [masks], [torch.tensor([0, 1])])
    assert rows.tolist() == columns.tolist() == [0, 1]


def test_a_point_is_valid_if_all_pixels_around_it_are() -> None:
    valid = torch.ones(1, 1, 4, 4)
    valid[0, 0, 1, 1] = 0
    # In row 1: the centres of pixels 1 and 3, and the points between pixels 1 and 2 and between 2 and 3.
    points = torch.tensor([[[1.5, 1.5], [3.5, 1.5], [2.0, 1.5], [3.0, 1.5]]]) / 4
    assert is_valid(valid, points).tolist() == [[False, True, False, True]]


def test_images_without_labels_have_a_finite_loss(config) -> None:
    architecture = Mask2FormerArchitecture(18, True, 8, 4, 4, 64, 1, 1, 32)
    model: Any = build_segmentor(model_config(architecture, crop_size=64))
    assert isinstance(model, Mask2FormerSegmentor)
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 64, 64), 255)))
    found = model.loss(torch.randn(2, 3, 64, 64), [sample, sample])
    assert found["loss_mask"] == 0
    total = sum(found.values())
    total.backward()
    assert torch.isfinite(total)


def test_a_mask2former_architecture_survives_writing() -> None:
    architecture = Mask2FormerArchitecture(50, False, 32, 3)
    assert read_architecture(describe_architecture(architecture)) == architecture

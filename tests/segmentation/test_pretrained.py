"""Backbones from other libraries, imitated by renaming the model's own tensors."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dataset_diffusion.errors import InputError
from dataset_diffusion.segmentation.mmseg_modules import import_mmseg
from dataset_diffusion.segmentation.model import Architecture, build_segmentor, segmentor_config
from dataset_diffusion.segmentation.pretrained import BackboneWeights, load_backbone, read_backbone

import_mmseg()
from mmseg.registry import MODELS  # noqa: E402


def backbone(depth: int = 18, deep_stem: bool = True, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model: Any = build_segmentor(segmentor_config(Architecture(depth, deep_stem, (1, 2), 3)))
    return model.backbone


def as_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's resnet18c ...: conv1 = [conv, norm, relu, conv, norm, relu, conv], then bn1; a classifier on top."""
    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"^stem\.7\.", "bn1.", name)
        renamed[re.sub(r"^stem\.", "conv1.", name)] = tensor
    return {**renamed, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def as_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


STYLES = {
    "mmseg backbone": (True, lambda state: {"state_dict": state, "meta": {}}),
    "mmseg segmentor": (
        True,
        lambda state: {f"backbone.{name}": tensor for name, tensor in state.items()} | {"decode_head.x": torch.ones(1)},
    ),
    "data parallel": (True, lambda state: {f"module.{name}": tensor for name, tensor in state.items()}),
    "timm": (True, as_timm),
    "torchvision": (False, as_torchvision),
    "without counters": (
        False,
        lambda state: {name: tensor for name, tensor in state.items() if "num_batches" not in name},
    ),
}


@pytest.mark.parametrize(("deep_stem", "saved_as"), STYLES.values(), ids=STYLES)
def test_known_styles_are_recognised_and_load_completely(tmp_path: Path, capsys, deep_stem, saved_as) -> None:
    original = backbone(deep_stem=deep_stem)
    path = tmp_path / "resnet.pth"
    torch.save(saved_as(original.state_dict()), path)
    weights = read_backbone(str(path))
    assert weights is not None
    assert weights.deep_stem == deep_stem
    other = backbone(deep_stem=deep_stem, seed=1)
    assert load_backbone(other, weights) == 1.0
    for name, tensor in original.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    images = torch.randn(1, 3, 32, 32)
    original.eval()
    other.eval()
    assert torch.equal(other(images)[-1], original(images)[-1])
    assert "(100%)" in capsys.readouterr().out


def test_timms_safetensors_are_read(tmp_path: Path) -> None:
    original = backbone()
    path = tmp_path / "model.safetensors"
    save_file(as_timm(original.state_dict()), path)
    weights = read_backbone(str(path))
    assert weights is not None
    assert load_backbone(backbone(seed=1), weights) == 1.0
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors: is not a checkpoint, or is damaged"):
        read_backbone(str(path))


def test_a_few_missing_tensors_are_reported_and_more_are_refused(tmp_path: Path, capsys) -> None:
    state = backbone().state_dict()
    counted = [name for name in state if "num_batches" not in name]
    few = set(counted[:5])
    torch.save({name: tensor for name, tensor in state.items() if name not in few}, tmp_path / "most.pth")
    # Without its first tensors the kind of stem is unknown, so the last ones are removed below.
    with pytest.raises(InputError, match="contains no ResNet"):
        read_backbone(str(tmp_path / "most.pth"))
    few = set(counted[-4:])
    torch.save({name: tensor for name, tensor in state.items() if name not in few}, tmp_path / "most.pth")
    share = load_backbone(backbone(), read_backbone(str(tmp_path / "most.pth")))
    assert share == (len(counted) - 4) / len(counted)
    assert f"has {len(counted) - 4} of the backbone's {len(counted)} tensors ({share:.0%})" in capsys.readouterr().out

    few = set(counted[-5:])
    torch.save({name: tensor for name, tensor in state.items() if name not in few}, tmp_path / "random.pth")
    with pytest.raises(InputError, match=r"random\.pth: has .* but no layer4\.1\.conv2\.weight of the right shape"):
        load_backbone(backbone(), read_backbone(str(tmp_path / "random.pth")))

    tenth = set(counted[-(len(counted) // 10 + 1) :])
    torch.save({name: tensor for name, tensor in state.items() if name not in tenth}, tmp_path / "less.pth")
    before = {name: tensor.clone() for name, tensor in backbone().state_dict().items()}
    target = backbone()
    with pytest.raises(InputError, match=r"less\.pth: has .* needs 90%"):
        load_backbone(target, read_backbone(str(tmp_path / "less.pth")))
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_position_embeddings_for_another_grid_are_resized() -> None:
    def transformer(size: int) -> Any:
        sizes = {"patch_size": 16, "embed_dims": 16, "num_layers": 1, "num_heads": 2}
        return MODELS.build({"type": "VisionTransformer", "img_size": (size, size), **sizes})

    small, large = transformer(64), transformer(128)
    torch.nn.init.constant_(small.pos_embed, 0.5)
    torch.nn.init.normal_(large.pos_embed)
    assert load_backbone(large, BackboneWeights("vit", small.state_dict(), deep_stem=False)) == 1.0
    torch.testing.assert_close(large.pos_embed.data, torch.full((1, 1 + 8 * 8, 16), 0.5))


def test_another_depth_is_refused(tmp_path: Path) -> None:
    torch.save(backbone(depth=18).state_dict(), tmp_path / "resnet18.pth")
    with torch.device("meta"):
        deeper = backbone(depth=50)
    with pytest.raises(InputError, match="segmentor's kind and size"):
        load_backbone(deeper, read_backbone(str(tmp_path / "resnet18.pth")))


def test_a_resnet_d_is_refused(tmp_path: Path) -> None:
    state = as_timm(backbone().state_dict())
    state["layer2.0.downsample.2.weight"] = torch.zeros(128)
    torch.save(state, tmp_path / "resnet18d.pth")
    with pytest.raises(InputError, match="ResNet-D"):
        read_backbone(str(tmp_path / "resnet18d.pth"))


@pytest.mark.parametrize("content", [torch.zeros(3), {"state_dict": {"a": 1}}, {"conv.weight": torch.zeros(1)}, {}])
def test_weights_without_a_resnet_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"segmentor.pretrained=.*other\.pth: contains no"):
        read_backbone(str(tmp_path / "other.pth"))


def test_pretrained_none_reads_no_weights() -> None:
    assert read_backbone("none") is None


def test_hub_models_are_downloaded_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(url: str, path: str, progress: bool) -> None:
        fetched.append(url)
        torch.save(backbone().state_dict(), path)

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    for _ in range(2):
        weights = read_backbone("open-mmlab://resnet18_v1c")
        assert weights is not None
        assert load_backbone(backbone(seed=1), weights) == 1.0
    assert len(fetched) == 1
    assert "resnet18_v1c" in fetched[0]


def test_hub_errors_come_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, path: str, progress: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(InputError, match=r"no route to host.*segmentor\.pretrained=none"):
        read_backbone("open-mmlab://resnet50_v1c")
    with pytest.raises(InputError, match="no such model; use one of resnet101_v1c, resnet18_v1c, resnet50_v1c"):
        read_backbone("open-mmlab://resnet77")

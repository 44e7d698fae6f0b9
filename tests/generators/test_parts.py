"""A LoRA changes the weights by its product of matrices; another transformer replaces the pipeline's."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict

from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.loading import load_pipeline, model_fingerprint
from dataset_diffusion.settings.generate import LoraSettings, ModelSettings, SamplerSettings
from tests.tiny_families import build_tiny_flux
from tests.tiny_pipeline import build_tiny_pipeline

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def load(**model: object):
    return load_pipeline(ModelSettings(device="cpu", **model), SamplerSettings())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pipeline(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def lora(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A LoRA's folder, and its change to LAYER's weight."""
    torch.manual_seed(1)
    pipe = load(path=str(folder))
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    path = tmp_path_factory.mktemp("lora")
    StableDiffusionPipeline.save_lora_weights(path, unet_lora_layers=get_peft_model_state_dict(pipe.unet))
    layer = pipe.unet.get_submodule(LAYER)
    return path, (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach()


def weight(pipe) -> torch.Tensor:
    return pipe.unet.get_submodule(LAYER).weight.detach()


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.0])
def test_a_lora_is_added_to_the_weights(folder: Path, lora, scale: float) -> None:
    path, change = lora
    adapted = load(path=str(folder), lora=LoraSettings(str(path), scale=scale))
    torch.testing.assert_close(weight(adapted), weight(load(path=str(folder))) + scale * change, atol=1e-6, rtol=1e-5)
    assert not [name for name, _ in adapted.unet.named_modules() if "lora" in name]


def test_a_flux_lora_is_also_added_to_its_text_encoder(tmp_path: Path) -> None:
    folder = build_tiny_flux(tmp_path / "flux")
    pipe = load(path=str(folder))
    layers = {}
    for part, name in (("transformer", "to_q"), ("text_encoder", "q_proj")):
        model = getattr(pipe, part)
        model.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=[name], init_lora_weights=False))
        layers[part] = next(layer for layer in model.modules() if hasattr(layer, "lora_A"))
    FluxPipeline.save_lora_weights(
        tmp_path / "lora",
        transformer_lora_layers=get_peft_model_state_dict(pipe.transformer),
        text_encoder_lora_layers=get_peft_model_state_dict(pipe.text_encoder),
    )
    adapted = load(path=str(folder), lora=LoraSettings(str(tmp_path / "lora"), scale=0.5))
    for part, layer in layers.items():
        name = next(name for name, module in getattr(pipe, part).named_modules() if module is layer)
        expected = layer.weight + 0.5 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        found = getattr(adapted, part).get_submodule(name).weight
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_lora_can_be_a_file_and_is_part_of_the_fingerprint(folder: Path, lora, tmp_path: Path) -> None:
    path, change = lora
    (file,) = path.glob("*.safetensors")
    moved = shutil.copy(file, tmp_path / "mine.safetensors")
    settings = ModelSettings(str(folder), device="cpu", lora=LoraSettings(str(moved)))
    pipe = load_pipeline(settings, SamplerSettings())
    torch.testing.assert_close(weight(pipe), weight(load(path=str(folder))) + change, atol=1e-6, rtol=1e-5)
    revision = model_fingerprint(pipe, settings)["revision"]
    assert revision == model_fingerprint(pipe, ModelSettings(str(folder), lora=LoraSettings(str(path))))["revision"]
    assert revision != model_fingerprint(pipe, ModelSettings(str(folder)))["revision"]


def test_a_missing_lora_and_one_of_another_model_are_refused(folder: Path, lora, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.lora\.path=/no/such: no such file or folder"):
        load(path=str(folder), lora=LoraSettings("/no/such"))
    with pytest.raises(InputError, match=r"model\.lora\.path="):
        load(path=str(build_tiny_flux(tmp_path)), lora=LoraSettings(str(lora[0])))


def test_another_transformer_replaces_the_pipelines(tmp_path: Path, folder: Path) -> None:
    flux = build_tiny_flux(tmp_path / "flux")
    other = load(path=str(flux)).transformer
    for parameter in other.parameters():
        parameter.data += 1
    other.save_pretrained(tmp_path / "other")
    settings = ModelSettings(str(flux), device="cpu", transformer=str(tmp_path / "other"))
    pipe = load_pipeline(settings, SamplerSettings())
    for (name, found), expected in zip(pipe.transformer.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(found, expected), name
    assert " transformer:sha256:" in model_fingerprint(pipe, settings)["revision"]
    with pytest.raises(InputError, match=r"model\.transformer=/no/such: cannot be loaded: "):
        load(path=str(flux), transformer="/no/such")
    with pytest.raises(InputError, match=r"has a UNet and no transformer; leave it null"):
        load(path=str(folder), transformer=str(tmp_path / "other"))

"""Attention of a user's own pipeline call: dd-generate's maps, unchanged images, clear errors."""

import copy
import inspect
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from dataset_diffusion import record_attention
from dataset_diffusion.drawing import draw_heatmap
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass
from tests.tiny_families import BUILDERS
from tests.tiny_pipeline import build_tiny_pipeline

ALL = {"sd": build_tiny_pipeline, **BUILDERS}
WORDS = [["cat", "sofa"], ["dog"]]
TEXTS = ["a cat on a sofa; cat sofa", "a dog; dog"]
STEPS = 2


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory):
    settings = {
        name: ModelSettings(str(build(tmp_path_factory.mktemp(name))), device="cpu") for name, build in ALL.items()
    }
    return {name: load_pipeline(model, SamplerSettings()) for name, model in settings.items()}


@pytest.fixture(params=ALL)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def call(pipe, texts=TEXTS, **options) -> np.ndarray:
    number = len(texts) * options.get("num_images_per_prompt", 1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(number)]
    defaults = {"num_inference_steps": STEPS, "guidance_scale": 2.0, "height": 32, "width": 32, "output_type": "np"}
    return pipe(prompt=list(texts), generator=generators, **{**defaults, **options}).images


def test_it_records_the_same_maps_as_dd_generate(pipes, family: str) -> None:
    pipe = pipes[family]
    with record_attention(pipe, WORDS) as recorded:
        images = call(pipe)
    assert np.array_equal(images, call(pipe))
    assert "encode_prompt" not in vars(pipe)
    vocabulary = Vocabulary("pets", tuple(VocabularyClass(word, word) for word in ("cat", "sofa", "dog")))
    sampler = SamplerSettings(num_inference_steps=STEPS, guidance_scale=2.0, image_size=[32, 32])
    generator = Generator(pipe, sampler, AttentionSettings(), vocabulary)
    prompts = [Prompt("0", "a cat on a sofa", (1, 2), seed=0), Prompt("1", "a dog", (3,), seed=1)]
    for sample, maps, spans in zip(generator.sample(prompts), recorded.maps, recorded.spans, strict=True):
        assert torch.equal(sample.attention.cross, maps.cross)
        assert torch.equal(sample.attention.self_attention, maps.self_attention)
        assert spans == generator.class_spans(sample.prompt)


def test_masks_heat_maps_and_overlays_have_the_images_shape(pipes, family: str) -> None:
    with record_attention(pipes[family], WORDS) as recorded:
        images = call(pipes[family], width=48)
    masks = recorded.label_masks(threshold=0.5, uncertainty_threshold=0.3, power=1)
    heatmaps = recorded.heatmaps()
    assert [mask.shape for mask in masks] == [(32, 48)] * 2
    assert set(np.unique(masks[0])) <= {0, 1, 2, 255}
    assert set(np.unique(recorded.label_masks(threshold=0.5)[1])) == {0, 1}
    assert [heatmap.shape for heatmap in heatmaps] == [(2, 32, 48), (1, 32, 48)]
    assert heatmaps[0].min() == 0
    assert heatmaps[0].max() > 0.95
    overlays = recorded.overlays(images)
    assert overlays[0][1].shape == (32, 48, 3)
    of_bytes = recorded.overlays([(255 * image).round().astype(np.uint8) for image in images])
    assert np.array_equal(overlays[0][1], of_bytes[0][1])


def test_several_images_per_prompt(pipes, family: str) -> None:
    pipe = pipes[family]
    with record_attention(pipe, WORDS) as recorded:
        images = call(pipe, num_images_per_prompt=2)
    assert len(images) == len(recorded.maps) == len(recorded.spans) == 4
    assert [len(maps) for maps in recorded.heatmaps()] == [2, 2, 1, 1]
    assert not torch.equal(recorded.maps[0].cross, recorded.maps[1].cross)


def test_flux_with_a_negative_prompt_records_the_calls_with_the_prompt(pipes) -> None:
    """A scale that cancels the negative prompt gives the same images, and so must give the same maps."""
    with record_attention(pipes["flux"], WORDS) as plain:
        call(pipes["flux"])
    with record_attention(pipes["flux"], WORDS) as recorded:
        call(pipes["flux"], negative_prompt=["ugly"] * 2, true_cfg_scale=1 + 1e-6)
    torch.testing.assert_close(recorded.maps[0].cross, plain.maps[0].cross, atol=1e-4, rtol=0)
    assert recorded._recorder._cross._count == plain._recorder._cross._count


def test_stable_diffusion_3_skips_the_calls_of_skip_layer_guidance(pipes) -> None:
    with record_attention(pipes["sd3"], WORDS) as plain:
        call(pipes["sd3"], num_inference_steps=3)
    with record_attention(pipes["sd3"], WORDS) as recorded:
        call(
            pipes["sd3"],
            num_inference_steps=3,
            skip_guidance_layers=[0],
            skip_layer_guidance_scale=0.0,
            skip_layer_guidance_start=0.0,
            skip_layer_guidance_stop=1.0,
        )
    assert torch.equal(recorded.maps[0].cross, plain.maps[0].cross)


@pytest.mark.parametrize("kind", ["Img2Img", "Inpaint"])
def test_image_to_image_and_inpainting(pipes, family: str, kind: str) -> None:
    source = pipes[family]
    name = type(source).__name__.replace("Pipeline", f"{kind}Pipeline")
    pipe = getattr(diffusers, name)(**source.components)
    pipe.set_progress_bar_config(disable=True)
    image = torch.rand(1, 3, 32, 32)
    options = {"image": image, "strength": 0.8, "num_inference_steps": 4}
    if kind == "Inpaint":
        options["mask_image"] = (torch.rand(1, 1, 32, 32) > 0.5).float()

    if "height" in inspect.signature(pipe.__call__).parameters:
        options |= {"height": 32, "width": 32}

    def run() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return pipe(prompt=TEXTS[0], output_type="np", generator=generator, **options).images

    with record_attention(pipe, WORDS[:1]) as recorded:
        images = run()
    assert np.array_equal(images, run())
    assert recorded.heatmaps()[0].shape == (2, 32, 32)
    positions = len(recorded.maps[0].self_attention)
    torch.testing.assert_close(recorded.maps[0].self_attention.sum(dim=1), torch.ones(positions), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("words", "texts", "message"),
    [
        (["cat"], TEXTS[:1], r"give a list of class words for each prompt"),
        ([["cat"]], TEXTS, "2 prompts, but class words for 1"),
        (
            [["sheep"]],
            TEXTS[:1],
            r"class word 'sheep': not in the prompt .*append it: 'a cat on a sofa; cat sofa; sheep'",
        ),
    ],
)
def test_words_that_do_not_fit_the_prompts_are_refused(pipes, words, texts, message: str) -> None:
    with pytest.raises(InputError, match=message), record_attention(pipes["flux"], words):
        call(pipes["flux"], texts)
    assert "encode_prompt" not in vars(pipes["flux"])
    assert not any(module._forward_pre_hooks for module in pipes["flux"].transformer.modules())


def test_prompt_embeddings_two_calls_and_no_call_are_refused(pipes) -> None:
    pipe = pipes["sd"]
    embeddings, _ = pipe.encode_prompt("a cat", "cpu", 1, False)
    with pytest.raises(InputError, match="prompt as text"), record_attention(pipe, [["cat"]]):
        pipe(prompt_embeds=embeddings, guidance_scale=1.0, num_inference_steps=1)
    with record_attention(pipe, WORDS):
        call(pipe)
        with pytest.raises(InputError, match="only once"):
            call(pipe)
    with record_attention(pipe, WORDS) as recorded:
        pass
    with pytest.raises(RuntimeError, match="call the pipeline inside"):
        recorded.heatmaps()


def test_a_recorder_cannot_be_used_for_a_second_block(pipes) -> None:
    recorded = record_attention(pipes["sd"], WORDS)
    with recorded:
        call(pipes["sd"])
    with pytest.raises(InputError, match="call record_attention again"), recorded:
        pass


def test_a_block_within_a_block_is_refused_and_the_outer_one_still_records(pipes) -> None:
    pipe = pipes["sd"]
    with record_attention(pipe, WORDS) as recorded:
        with pytest.raises(InputError, match="already being recorded"), record_attention(pipe, WORDS):
            pass
        call(pipe)
    assert len(recorded.heatmaps()) == 2
    assert "encode_prompt" not in vars(pipe)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 1.5}, "mask.threshold=1.5"),
        ({"threshold": 0.5, "uncertainty_threshold": 0.6}, "mask.uncertainty_threshold=0.6"),
        ({"power": -1}, "attention.power=-1"),
    ],
)
def test_mask_settings_that_dd_generate_refuses_are_refused(pipes, values, message: str) -> None:
    with record_attention(pipes["sd"], WORDS) as recorded:
        call(pipes["sd"])
    with pytest.raises(InputError, match=message):
        recorded.label_masks(**values)


def test_a_pipeline_of_another_family_and_a_compiled_one_are_refused(pipes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a object cannot be recorded; these pipelines can: StableDiffusionP"):
        record_attention(object(), WORDS)
    pipe = load_pipeline(ModelSettings(str(build_tiny_pipeline(tmp_path)), device="cpu"), SamplerSettings())
    pipe.unet.compile(backend="eager")
    with pytest.raises(InputError, match="the model is compiled"), record_attention(pipe, WORDS):
        pass


def test_a_model_can_be_compiled_while_it_is_recorded(pipes) -> None:
    """Flux's two double blocks share their code, and only the second one is recorded."""
    pipe = copy.copy(pipes["flux"])
    pipe.register_modules(transformer=copy.deepcopy(pipe.transformer))
    with record_attention(pipe, WORDS) as plain:
        images = call(pipe)
    with record_attention(pipe, WORDS) as recorded:
        pipe.transformer.compile(backend="eager")
        assert np.array_equal(call(pipe), images)
    assert torch.equal(recorded.maps[0].cross, plain.maps[0].cross)
    assert torch.equal(recorded.maps[0].self_attention, plain.maps[0].self_attention)
    assert np.array_equal(call(pipe), images)
    torch._dynamo.reset()


def test_importing_the_package_imports_neither_torch_nor_diffusers() -> None:
    code = "import sys, dataset_diffusion; assert 'torch' not in sys.modules and 'diffusers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_overlay_is_dark_grey_at_low_and_yellow_at_high_heat() -> None:
    image = np.full((1, 2, 3), (200, 100, 0), np.uint8)  # a mean of 100
    low, high = draw_heatmap(image, np.array([[0.0, 1.0]], np.float32))[0]
    assert low.tolist() == [35, 35, 35]
    assert high.tolist() == [206, 206, 15]  # a quarter of 60 and three quarters of yellow

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from dataset_diffusion.attention import recorder as recorder_module
from dataset_diffusion.attention.layers import AttentionLayer, find_attention_layers, select_layers
from dataset_diffusion.attention.recorder import AttentionRecorder, PromptText, attention_probabilities
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.loading import SCHEDULERS, load_pipeline
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from dataset_diffusion.types import AttentionMaps
from tests.tiny_pipeline import LATENT_SIZE, build_tiny_pipeline, tiny_unet

PROMPTS = ["a cat on a sofa; cat sofa", "a dog; dog"]
STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_pipeline(tmp_path_factory.mktemp("tiny"))


def load(folder, scheduler="ddim", dtype="float32"):
    return load_pipeline(
        ModelSettings(path=str(folder), dtype=dtype, device="cpu"), SamplerSettings(scheduler=scheduler)
    )


@pytest.fixture(scope="module")
def pipe(folder):
    return load(folder)


def encode(pipe, texts: Sequence[str]) -> Tensor:
    with torch.no_grad():
        return pipe.encode_prompt(list(texts), "cpu", 1, do_classifier_free_guidance=False)[0]


def layers_of(unet: nn.Module, cross: int = 16, self_attention: int = 8) -> tuple[AttentionLayer, ...]:
    layers = find_attention_layers(unet, (LATENT_SIZE, LATENT_SIZE))
    settings = AttentionSettings(cross_resolution=cross, self_resolution=self_attention)
    return select_layers(layers, settings, (LATENT_SIZE, LATENT_SIZE))


def make_images(pipe, guidance: float = 7.5) -> np.ndarray:
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
    return pipe(
        PROMPTS, num_inference_steps=STEPS, guidance_scale=guidance, generator=generators, output_type="np"
    ).images


def record(
    pipe, class_texts=("cat sofa", "dog"), guidance=7.5, **resolutions
) -> tuple[np.ndarray, list[AttentionMaps]]:
    with AttentionRecorder(pipe.unet, layers_of(pipe.unet, **resolutions), encode(pipe, class_texts)) as recorder:
        images = make_images(pipe, guidance)
    return images, recorder.maps()


class StoringProcessor(AttnProcessor2_0):
    """The oracle: diffusers' own processor, which also keeps every probability of every call in float64."""

    def __init__(self, class_embeddings: Tensor):
        super().__init__()
        self.class_embeddings = class_embeddings
        self.calls: list[Tensor] = []

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **kwargs):
        batch = len(self.class_embeddings)
        is_cross = encoder_hidden_states is not None
        context = self.class_embeddings if is_cross else hidden_states[-batch:]
        query = attn.to_q(hidden_states[-batch:]).double().unflatten(-1, (attn.heads, -1))
        key = attn.to_k(context).double().unflatten(-1, (attn.heads, -1))
        scores = torch.einsum("bnhd,bthd->bhnt", query, key) / query.shape[-1] ** 0.5
        self.calls.append(scores.softmax(dim=-1))
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


def stored_maps(pipe, class_texts, guidance: float) -> dict[tuple[str, int], Tensor]:
    """Mean over all calls, layers and heads, by kind ("attn1", "attn2") and number of positions: [B, N, T or N]."""
    processors = {name: StoringProcessor(encode(pipe, class_texts)) for name in pipe.unet.attn_processors}
    pipe.unet.set_attn_processor(dict(processors))
    make_images(pipe, guidance)
    pipe.unet.set_attn_processor(AttnProcessor2_0())
    groups: dict[tuple[str, int], list[Tensor]] = {}
    for name, processor in processors.items():
        for call in processor.calls:
            groups.setdefault((name.split(".")[-2], call.shape[2]), []).append(call)
    return {key: torch.stack(calls).mean(dim=(0, 2)) for key, calls in groups.items()}


@pytest.mark.parametrize("guidance", [7.5, 1.0, 0.0])
@pytest.mark.parametrize("scheduler", ["ddim", "pndm"])
def test_maps_equal_the_mean_of_all_stored_probabilities(folder, scheduler, guidance):
    pipe = load(folder, scheduler)
    stored = stored_maps(pipe, ["cat sofa", "dog"], guidance)
    for cross, self_attention in [(16, 8), (8, 16)]:
        _, maps = record(pipe, guidance=guidance, cross=cross, self_attention=self_attention)
        for sample in range(2):
            expected_cross = stored["attn2", cross**2][sample].T.reshape(-1, cross, cross)
            torch.testing.assert_close(maps[sample].cross.double(), expected_cross, atol=1e-6, rtol=0)
            expected_self = stored["attn1", self_attention**2][sample]
            torch.testing.assert_close(maps[sample].self_attention.double(), expected_self, atol=1e-6, rtol=0)


def test_the_oracle_is_sensitive(pipe):
    """The tiny model's maps differ between samples, texts and positions by much more than the tolerance."""
    _, (first, second) = record(pipe)
    assert (first.cross - second.cross).abs().max() > 0.01
    assert (first.self_attention - second.self_attention).abs().max() > 0.01
    assert (first.cross.std(dim=(1, 2)) / first.cross.mean(dim=(1, 2))).min() > 0.1


def test_probabilities_sum_to_one(pipe):
    _, maps = record(pipe)
    for sample in maps:
        assert sample.cross.dtype == sample.self_attention.dtype == torch.float32
        torch.testing.assert_close(sample.cross.sum(dim=0), torch.ones(16, 16), atol=1e-5, rtol=0)
        torch.testing.assert_close(sample.self_attention.sum(dim=1), torch.ones(64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_the_image_is_bit_identical_with_and_without_recording(folder, scheduler, dtype):
    pipe = load(folder, scheduler, dtype)
    plain = make_images(pipe)
    recorded, _ = record(pipe)
    assert plain.std() > 0.05
    assert np.array_equal(plain, recorded)


def test_the_class_prompt_changes_the_maps_but_no_bit_of_the_image(pipe):
    images, maps = record(pipe, ["cat sofa", "dog"])
    other_images, other_maps = record(pipe, ["bus", "dog"])
    assert np.array_equal(images, other_images)
    assert (maps[0].cross - other_maps[0].cross).abs().max() > 0.01
    assert torch.equal(maps[0].self_attention, other_maps[0].self_attention)
    assert torch.equal(maps[1].cross, other_maps[1].cross)


def test_bfloat16_maps_are_float32_and_close_to_the_stored_probabilities(folder):
    pipe = load(folder, dtype="bfloat16")
    stored = stored_maps(pipe, ["cat sofa", "dog"], 7.5)
    _, maps = record(pipe)
    assert maps[0].cross.dtype == torch.float32
    torch.testing.assert_close(maps[1].self_attention.double(), stored["attn1", 64][1], atol=1e-6, rtol=0)
    torch.testing.assert_close(maps[1].self_attention.sum(dim=1), torch.ones(64), atol=1e-5, rtol=0)


def test_other_attention_processors_give_the_same_maps(folder):
    pipe = load(folder)
    _, maps = record(pipe)
    pipe.enable_attention_slicing(1)
    _, sliced = record(pipe)
    pipe.disable_attention_slicing()
    pipe.fuse_qkv_projections()
    _, fused = record(pipe)
    for other in (sliced, fused):
        torch.testing.assert_close(other[0].cross, maps[0].cross, atol=1e-4, rtol=0)
        torch.testing.assert_close(other[0].self_attention, maps[0].self_attention, atol=1e-4, rtol=0)


@pytest.mark.parametrize("most", [1, 2 * 64 * 10, 2 * 64 * 64 * 2, 10**9])
def test_chunks_of_rows_and_of_heads_give_the_same_maps(pipe, monkeypatch, most):
    """With 64 positions and two samples: one row, ten rows, two heads or everything at once."""
    _, expected = record(pipe)
    monkeypatch.setattr(recorder_module, "MOST_SCORES", {"cpu": most})
    _, maps = record(pipe)
    for found, sample in zip(maps, expected, strict=True):
        torch.testing.assert_close(found.cross, sample.cross, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.self_attention, sample.self_attention, atol=1e-6, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gpu_probabilities_equal_those_of_the_rounded_queries_and_keys(dtype):
    """Scores exceed float16's largest number, and queries have diffusers' memory layout."""
    query = 80 * torch.randn(2, 65, 3, 64, device="cuda", dtype=dtype).transpose(1, 2)
    key = 80 * torch.randn(2, 77, 3, 64, device="cuda", dtype=dtype).transpose(1, 2)
    scores = query.double() @ key.double().transpose(-1, -2)
    assert scores.max() > torch.finfo(torch.float16).max
    scale = 1e-4
    found = attention_probabilities(query, key, scale)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), (scores * scale).softmax(dim=-1), atol=1e-4, rtol=0)


def hooks_on(unet: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in unet.modules())


def test_hooks_exist_only_inside_the_block(pipe):
    layers = layers_of(pipe.unet)
    recorder = AttentionRecorder(pipe.unet, layers, encode(pipe, PROMPTS))
    assert hooks_on(pipe.unet) == 0
    with recorder:
        assert hooks_on(pipe.unet) == 2 * len(layers)
    assert hooks_on(pipe.unet) == 0


def test_hooks_are_gone_after_an_exception(pipe):
    def interrupt(pipe, step, timestep, kwargs):
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        AttentionRecorder(pipe.unet, layers_of(pipe.unet), encode(pipe, ["dog"])),
    ):
        pipe("a dog", num_inference_steps=3, callback_on_step_end=interrupt)
    assert hooks_on(pipe.unet) == 0


def test_a_batch_size_other_than_the_class_prompts_is_refused(pipe):
    with (
        pytest.raises(ValueError, match="ran a batch of 4, but there are 3 texts"),
        AttentionRecorder(pipe.unet, layers_of(pipe.unet), encode(pipe, ["cat", "dog", "bus"])),
    ):
        make_images(pipe)
    assert hooks_on(pipe.unet) == 0


def test_maps_without_a_recorded_call_are_refused(pipe):
    with AttentionRecorder(pipe.unet, layers_of(pipe.unet), encode(pipe, ["dog"])) as recorder:
        pass
    with pytest.raises(RuntimeError, match="no attention was recorded"):
        recorder.maps()


def test_layers_of_different_sizes_are_refused(pipe):
    layers = find_attention_layers(pipe.unet, (LATENT_SIZE, LATENT_SIZE))
    with pytest.raises(ValueError, match="same map size"):
        AttentionRecorder(pipe.unet, layers, encode(pipe, ["dog"]))


class UnitValues(nn.Module):
    """Replaces `to_v`: if each token's value is a unit vector, a layer's output *is* its probabilities."""

    def __init__(self, tokens: int, heads: int):
        super().__init__()
        self.values = torch.eye(tokens).repeat(1, heads)

    def forward(self, context: Tensor) -> Tensor:
        return self.values.expand(len(context), -1, -1)


@pytest.mark.parametrize("is_cross", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": True, "norm_num_groups": 4},
        {"qk_norm": "layer_norm"},
        {"qk_norm": "rms_norm"},
        {"upcast_attention": True, "upcast_softmax": True},
        {"cross_attention_norm": "layer_norm"},
        {"cross_attention_norm": "group_norm", "cross_attention_norm_num_groups": 2},
        {"scale_qk": False},
    ],
    ids=str,
)
def test_a_single_layer_yields_the_probabilities_it_uses(options, is_cross):
    tokens, heads, channels = 6, 3, 16
    layer = Attention(
        channels, cross_attention_dim=12 if is_cross else None, heads=heads, dim_head=tokens, **options
    ).requires_grad_(False)
    for parameter in layer.parameters():
        parameter += torch.randn_like(parameter)
    hidden, context = torch.randn(2, tokens, channels), torch.randn(2, tokens, 12)
    recorded = {"attn1": Attention(channels), "attn2": Attention(channels, cross_attention_dim=12)}
    recorded["attn2" if is_cross else "attn1"] = layer
    unet = nn.ModuleDict(recorded)
    layers = [AttentionLayer("attn1", False, (2, 3)), AttentionLayer("attn2", True, (2, 3))]
    with AttentionRecorder(unet, layers, context) as recorder:
        unet["attn1"](hidden)
        unet["attn2"](hidden, encoder_hidden_states=torch.randn(2, 9, 12))
    maps = recorder.maps()

    layer.to_v = UnitValues(tokens, heads)
    layer.to_out = nn.ModuleList([nn.Identity(), nn.Identity()])
    probabilities = layer(hidden, encoder_hidden_states=context if is_cross else None)
    expected = probabilities.unflatten(2, (heads, tokens)).mean(dim=2)
    for sample in range(2):
        found = maps[sample].cross.flatten(1).T if is_cross else maps[sample].self_attention
        torch.testing.assert_close(found, expected[sample], atol=1e-5, rtol=0)


class SharedKeys(nn.Module):
    """Four query heads share two key heads, with a non-default scale; a second attention call follows."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.key = torch.randn(1, 2, tokens, 8)

    def forward(self, hidden_states: Tensor) -> Tensor:
        query = hidden_states.unflatten(2, (4, 8)).transpose(1, 2)
        F.scaled_dot_product_attention(query, self.key, self.key, scale=0.3, enable_gqa=True)
        return F.scaled_dot_product_attention(query, query, query)


def test_scale_and_shared_keys_come_from_a_modules_first_call() -> None:
    model = nn.ModuleDict({"attn1": SharedKeys(6), "attn2": SharedKeys(5)})
    layers = [AttentionLayer("attn1", False, (2, 3)), AttentionLayer("attn2", True, (2, 3))]
    hidden = torch.randn(1, 6, 32)
    with AttentionRecorder(model, layers, PromptText(1)) as recorder:
        model["attn1"](hidden)
        model["attn2"](hidden)
    (maps,) = recorder.maps()
    for found, layer in ((maps.self_attention, "attn1"), (maps.cross.flatten(1).T, "attn2")):
        heads = [
            (hidden[0, :, 8 * head : 8 * head + 8] @ model[layer].key[0, head // 2].T * 0.3).softmax(dim=1)
            for head in range(4)
        ]
        torch.testing.assert_close(found, torch.stack(heads).mean(dim=0))


def test_scores_beyond_float16_are_handled():
    """As in Stable Diffusion 2, which sets `upcast_attention` for such scores."""
    attention = {
        "attn1": Attention(8, heads=1, dim_head=8, upcast_attention=True),
        "attn2": Attention(8, cross_attention_dim=8, heads=1, dim_head=8, upcast_attention=True),
    }
    unet = nn.ModuleDict(attention).requires_grad_(False).half()
    for layer in unet.values():
        layer.to_q.weight.copy_(500 * torch.eye(8))
        layer.to_k.weight.copy_(500 * torch.eye(8))
    layers = [AttentionLayer("attn1", False, (2, 2)), AttentionLayer("attn2", True, (2, 2))]
    hidden = torch.eye(8)[None, :4].half()
    with AttentionRecorder(unet, layers, torch.eye(8)[None].half()) as recorder:
        unet["attn1"](hidden)
        unet["attn2"](hidden, encoder_hidden_states=hidden)
    (maps,) = recorder.maps()
    assert torch.equal(maps.self_attention, torch.eye(4))
    assert torch.equal(maps.cross.flatten(1).T, torch.eye(8)[:4])


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (18, 10), (9, 13)])
def test_map_sizes_equal_those_of_a_real_run(size):
    unet = tiny_unet()
    observed = {}
    for name, module in unet.named_modules():
        if isinstance(module, Transformer2DModel):
            module.register_forward_pre_hook(lambda _, args, name=name: observed.update({name: args[0].shape[-2:]}))
    with torch.no_grad():
        unet(torch.randn(1, 4, *size), 5, torch.randn(1, 7, 32))
    layers = find_attention_layers(unet, size)
    assert len(layers) == 2 * len(observed) == 14
    for layer in layers:
        assert layer.size == tuple(observed[layer.name.partition(".transformer_blocks")[0]])
        assert unet.get_submodule(layer.name).is_cross_attention == layer.is_cross


def test_finding_layers_does_not_change_the_model():
    unet = tiny_unet()
    before = copy.deepcopy(unet.state_dict())
    state = torch.get_rng_state()
    find_attention_layers(unet, (16, 16))
    assert hooks_on(unet) == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())


def test_maps_of_a_non_square_latent_have_its_shape():
    unet = tiny_unet(sample_size=(16, 24))
    layers = select_layers(find_attention_layers(unet, (16, 24)), AttentionSettings(), (16, 24))
    with torch.no_grad(), AttentionRecorder(unet, layers, torch.randn(1, 7, 32)) as recorder:
        unet(torch.randn(2, 4, 16, 24), 5, torch.randn(2, 7, 32))
    (maps,) = recorder.maps()
    assert maps.cross.shape == (7, 16, 24)
    assert maps.self_attention.shape == (8 * 12, 8 * 12)


def square_layers(*resolutions: int) -> list[AttentionLayer]:
    return [
        AttentionLayer(f"block{side}.attn{1 + is_cross}", is_cross, (side, side))
        for side in resolutions
        for is_cross in (False, True)
    ]


@pytest.mark.parametrize(
    ("latent", "available", "cross", "self_attention"),
    [
        (64, (64, 32, 16, 8), 16, 32),  # Stable Diffusion 1 and 2-base: the paper's choice
        (96, (96, 48, 24, 12), 24, 48),  # Stable Diffusion 2
        (32, (16, 8), 16, 16),  # the toy model
        (32, (32, 16, 8), 16, 16),
        (128, (64, 32), 32, 64),
        (8, (8, 4), 8, 4),
    ],
)
def test_default_resolutions(latent, available, cross, self_attention):
    layers = select_layers(square_layers(*available), AttentionSettings(), (latent, latent))
    assert {(layer.is_cross, layer.resolution) for layer in layers} == {(True, cross), (False, self_attention)}


@pytest.mark.parametrize("setting", ["self_resolution", "cross_resolution"])
def test_an_unavailable_resolution_is_refused_with_the_available_ones(setting):
    with pytest.raises(InputError, match=f"attention.{setting}=24: this model has attention at 64, 32, 16, 8;"):
        select_layers(square_layers(16, 64, 8, 32), AttentionSettings(**{setting: 24}), (64, 64))

"""For every model family: maps equal a slow computation, images equal the stock pipeline's, words are found."""

import itertools
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dataset_diffusion import record_attention
from dataset_diffusion.attention.aggregate import class_attention
from dataset_diffusion.attention.recorder import StepWindow, _Call, _head_weights
from dataset_diffusion.cli import generate as cli
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.families import FAMILIES
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.loading import load_pipeline, load_tokenizer, model_fingerprint
from dataset_diffusion.labelled.faults import find_faults
from dataset_diffusion.prompts.tokens import prompt_tokens
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from dataset_diffusion.types import Prompt, Sample
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass
from tests.clip import real_clip_tokenizer
from tests.generators.slow_attention import layer_weights, mean_probabilities, observed
from tests.tiny_families import BUILDERS, IMAGE_SIZE, qwen_tokenizer, t5_tokenizer, words

VOCABULARY = Vocabulary("pets", tuple(map(VocabularyClass, ("cat", "dog", "sofa"), ("cat", "dog", "small sofa"))))
PROMPTS = [Prompt("0", "a cat on a sofa", (1, 3), seed=11), Prompt("1", "a dog", (2,), seed=12)]
SWAPPED = [Prompt("0", "a cat on a sofa", (3, 1), seed=11), PROMPTS[1]]
STEPS = 2
JOINT = ["sd3", "flux", "z_image"]
GUIDANCE = {"sdxl": 3.0, "sd3": 3.0, "flux": 3.0, "z_image": 2.0}


@pytest.fixture(scope="module", params=BUILDERS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: build(tmp_path_factory.mktemp(name)) for name, build in BUILDERS.items()}


def load(folder: Path, dtype: str = "float32"):
    return load_pipeline(ModelSettings(path=str(folder), dtype=dtype, device="cpu"), SamplerSettings())


@pytest.fixture(scope="module")
def pipes(folders: dict[str, Path]):
    return {name: load(folder) for name, folder in folders.items()}


def generator(pipes, family: str, image_size=IMAGE_SIZE, **attention) -> Generator:
    sampler = SamplerSettings(num_inference_steps=STEPS, guidance_scale=GUIDANCE[family], image_size=list(image_size))
    return Generator(pipes[family], sampler, AttentionSettings(**attention), VOCABULARY)


def denoiser(pipes, family: str) -> nn.Module:
    return FAMILIES[type(pipes[family]).__name__](pipes[family]).denoiser


def hooks_on(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("family", JOINT)
@pytest.mark.parametrize("block", [0, 1])
def test_maps_equal_a_slow_computation_from_the_weights(pipes, family: str, block: int) -> None:
    made_by = generator(pipes, family, blocks=[block])
    name = made_by.family.blocks()[block]
    with observed(denoiser(pipes, family).get_submodule(name)) as calls:
        samples = made_by.sample(PROMPTS)
    assert len(calls) == STEPS
    image_start, text_start = made_by.family.starts((8, 8))
    rows = slice(0, 2) if family == "z_image" else slice(-2, None)
    image = slice(image_start, image_start + 64)
    texts, class_words = ["a cat on a sofa; cat small sofa", "a dog; dog"], [["cat", "small sofa"], ["dog"]]
    tokens = [made_by.family._find(*pair) for pair in zip(texts, class_words, strict=True)]
    keys = [[text_start + position for position in found.words] for found in tokens]
    module = denoiser(pipes, family).get_submodule(name)
    cross = mean_probabilities(family, module, calls, rows, image, keys)
    selves = mean_probabilities(family, module, calls, rows, image, [list(range(image.start, image.stop))] * 2)
    for sample, found, slow, slow_self in zip(samples, tokens, cross, selves, strict=True):
        columns = [found.words.index(position) for span in found.spans for position in span]
        torch.testing.assert_close(sample.attention.cross.flatten(1).double(), slow[:, columns].T, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(sample.attention.self_attention.double(), slow_self, atol=2e-6, rtol=1e-5)
        assert slow.std() > 0.01


def test_the_image_equals_the_stock_pipelines(pipes, family: str) -> None:
    made_by = generator(pipes, family)
    samples = made_by.sample(PROMPTS)
    images = pipes[family](
        prompt=["a cat on a sofa; cat small sofa", "a dog; dog"],
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE[family],
        height=32,
        width=32,
        generator=[torch.Generator().manual_seed(prompt.seed) for prompt in PROMPTS],
    ).images
    for sample, image in zip(samples, images, strict=True):
        assert sample.image.std() > 10
        assert np.array_equal(sample.image, np.asarray(image))


def test_swapped_class_words_swap_their_maps(pipes, family: str) -> None:
    """The image changes a little with the prompt, but each word's map stays closer to itself than to the other's."""
    made_by = generator(pipes, family)
    (first, *_), (second, *_) = made_by.sample(PROMPTS), made_by.sample(SWAPPED)
    cat, sofa = class_attention(first.attention.cross, made_by.class_spans(PROMPTS[0]))
    sofa_again, cat_again = class_attention(second.attention.cross, made_by.class_spans(SWAPPED[0]))
    stays = (cat - cat_again).abs().mean() + (sofa - sofa_again).abs().mean()
    swaps = (cat - sofa_again).abs().mean() + (sofa - cat_again).abs().mean()
    assert stays < swaps


def test_hooks_are_gone_after_an_exception(pipes, family: str) -> None:
    made_by = generator(pipes, family)
    (name, *_) = {layer.name for layer in made_by._layers}
    model = denoiser(pipes, family)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handle = model.get_submodule(name).to_q.register_forward_hook(interrupt)
    before = hooks_on(model)
    with pytest.raises(KeyboardInterrupt):
        made_by.sample(PROMPTS)
    assert hooks_on(model) == before
    handle.remove()
    assert torch._C._len_torch_function_stack() == 0


def test_bfloat16_and_a_non_square_image(folders: dict[str, Path], family: str) -> None:
    made_by = generator({family: load(folders[family], "bfloat16")}, family, image_size=(32, 48))
    (sample,) = made_by.sample(PROMPTS[:1])
    assert sample.image.shape == (32, 48, 3)
    height, width = sample.attention.cross.shape[1:]
    assert height / width == 32 / 48
    positions = len(sample.attention.self_attention)
    torch.testing.assert_close(sample.attention.self_attention.sum(dim=1), torch.ones(positions), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match=r"sampler\.image_size=\[32,33\]: .* multiples of"):
        generator({family: made_by._pipe}, family, image_size=(32, 33))


@pytest.mark.parametrize("family", JOINT)
def test_pooled_self_attention_is_the_mean_of_rows_and_the_sum_of_columns(pipes, family: str) -> None:
    (fine,) = generator(pipes, family, image_size=(32, 64)).sample(PROMPTS[:1])
    (pooled,) = generator(pipes, family, image_size=(32, 64), self_resolution=4).sample(PROMPTS[:1])
    cells = fine.attention.self_attention.reshape(4, 2, 8, 2, 4, 2, 8, 2)
    expected = cells.mean(dim=(1, 3)).sum(dim=(3, 5)).reshape(32, 32)
    torch.testing.assert_close(pooled.attention.self_attention, expected, atol=1e-6, rtol=1e-5)
    with pytest.raises(InputError, match=r"attention\.self_resolution=3: this model has attention at 8, 4, 2, 1;"):
        generator(pipes, family, image_size=(32, 64), self_resolution=3)


@pytest.mark.parametrize("family", JOINT)
def test_attention_that_bypasses_scaled_dot_product_attention_is_refused(
    pipes, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other attention backends do so; attention with rotary embeddings or two texts cannot be recomputed."""

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1) @ value

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    with pytest.raises(InputError, match="cannot be recorded: it does not call torch's scaled_dot_product_attention"):
        generator(pipes, family).sample(PROMPTS[:1])


@pytest.mark.parametrize("family", JOINT)
def test_a_block_that_does_not_exist_is_named(pipes, family: str) -> None:
    with pytest.raises(InputError, match=r"attention\.blocks=\[0, 9\]: this model has blocks 0 to "):
        generator(pipes, family, blocks=[0, 9])


@pytest.mark.parametrize("family", JOINT)
def test_a_prompt_without_its_class_words_is_refused(pipes, family: str) -> None:
    made_by = Generator(
        pipes[family], SamplerSettings(image_size=list(IMAGE_SIZE)), AttentionSettings(), VOCABULARY, "caption"
    )
    with pytest.raises(InputError, match=r"class word 'small sofa': not in the prompt 'a cat on a sofa'; append it"):
        made_by.sample(PROMPTS)


@pytest.mark.parametrize("family", JOINT)
def test_stable_diffusions_schedulers_are_refused(folders: dict[str, Path], family: str) -> None:
    with pytest.raises(InputError, match=r"sampler\.scheduler=ddim: .* flow matching"):
        load_pipeline(ModelSettings(path=str(folders[family])), SamplerSettings(scheduler="ddim"))


def test_the_fingerprint_is_a_hash_and_the_tokenizer_loads_alone(folders: dict[str, Path], pipes, family: str) -> None:
    model = ModelSettings(path=str(folders[family]))
    assert re.fullmatch("sha256:[0-9a-f]{64}", model_fingerprint(pipes[family], model)["revision"])
    alone, used = load_tokenizer(model), FAMILIES[type(pipes[family]).__name__](pipes[family]).tokenizer
    assert alone("a cat; cat")["input_ids"] == used("a cat; cat")["input_ids"]
    assert alone.model_max_length == used.model_max_length


def test_dd_generate_makes_a_folder_and_resumes(
    folders: dict[str, Path], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: Path, number: int) -> dict[str, bytes]:
        settings = {
            "output_dir": folder,
            "num_images": number,
            "model.path": folders[family],
            "sampler.num_inference_steps": STEPS,
            "sampler.image_size": "[32,32]",
            "sampler.scheduler": "null",
            "sampler.guidance_scale": GUIDANCE[family],
            "prompts.template": "generic",
            "batch_size": 2,
        }
        monkeypatch.setattr(sys, "argv", ["dd-generate", *(f"{key}={value}" for key, value in settings.items())])
        cli.main()
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}

    whole = run(tmp_path / "whole", 4)
    (tmp_path / "parts").mkdir()
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 4)
    assert find_faults(tmp_path / "whole", "train", 21) == []
    different = {name for name in whole if whole[name] != parts[name]}
    assert different <= {"dataset.json", "report.html", "report.json"}
    assert sum(name.endswith(".png") and "Class" in name for name in whole) == 4


TOKENIZERS = {
    "clip": (real_clip_tokenizer, ("", "")),
    "t5": (t5_tokenizer, ("", "")),
    "qwen": (qwen_tokenizer, ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_class_word_is_found_in_its_place(name: str) -> None:
    """Every VOC and COCO name alone, and random pairs, in a prompt whose caption already mentions them."""
    make, around = TOKENIZERS[name]
    tokenizer = make()
    drawn = random.Random(0)
    pairs = [drawn.sample(words(), 2) for _ in range(500)]
    for chosen in itertools.chain(([word] for word in words()), pairs):
        text = f"a {chosen[0]} by the sea, {chosen[-1]}; {' '.join(chosen)}"
        found = prompt_tokens(tokenizer, text, chosen, 256, around)
        ids = tokenizer(around[0] + text + around[1])["input_ids"]
        read = ["".join(tokenizer.decode([ids[p] for p in span]).split()) for span in found.spans]
        assert read == [word.replace(" ", "") for word in chosen]
        assert [span[-1] for span in found.spans] == sorted(span[-1] for span in found.spans)
        assert found.spans[-1][-1] == found.words[-1]
        everything = tokenizer.decode([ids[position] for position in found.words])
        assert "".join(everything.split()) == text.replace(" ", "")


def test_the_last_mention_counts_if_words_are_not_appended() -> None:
    tokenizer = real_clip_tokenizer()
    text = "a photo of a hot dog and a Dog on a sofa"
    found = prompt_tokens(tokenizer, text, ["dog", "hot dog"], 77)
    ids = tokenizer(text)["input_ids"]
    assert [tokenizer.decode([ids[p] for p in span]).strip() for span in found.spans] == ["dog", "hot dog"]
    assert found.spans[0][0] > found.spans[1][-1]
    with pytest.raises(InputError, match="reads 8 tokens, has none for it"):
        prompt_tokens(tokenizer, text, ["sofa"], 8)


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "z_image"])
def test_head_weights_equal_those_of_contributions_computed_one_by_one(pipes, family: str) -> None:
    """A head's weight is the dot product of the layer's output with that head alone and its full output."""
    made_by = generator(pipes, family, aggregation="weighted")
    plain = generator(pipes, family)
    name = next(layer.name for layer in made_by._layers if not layer.is_cross)
    module = denoiser(pipes, family).get_submodule(name)
    torch.manual_seed(0)
    output = torch.randn(2, module.heads, 5, module.to_out[0].weight.shape[1] // module.heads)
    weights = _head_weights(module, _Call(output, output, 1.0, output))
    alone = []
    for head in range(module.heads):
        only = torch.zeros_like(output)
        only[:, head] = output[:, head]
        alone.append(only.transpose(1, 2).flatten(2) @ module.to_out[0].weight.T)
    whole = sum(alone)
    expected = torch.stack([(contribution * whole).sum(dim=2) for contribution in alone], dim=1).clamp(min=0)
    expected = expected / expected.mean(dim=1, keepdim=True)
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)

    (sample, *_), (unweighted, *_) = made_by.sample(PROMPTS), plain.sample(PROMPTS)
    assert np.array_equal(sample.image, unweighted.image)
    assert (sample.attention.cross - unweighted.attention.cross).abs().max() > 1e-4
    rows = sample.attention.self_attention.sum(dim=1)
    torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", JOINT)
@pytest.mark.parametrize("resolution", [8, 4])
def test_weighted_blocks_equal_a_slow_computation(pipes, family: str, resolution: int) -> None:
    """One step: each block's maps alone, weighted by the input of the last block."""
    sampler = SamplerSettings(num_inference_steps=1, guidance_scale=GUIDANCE[family], image_size=list(IMAGE_SIZE))

    def sample(blocks: list[int]) -> list[Sample]:
        attention = AttentionSettings(aggregation="weighted_layers", blocks=blocks, self_resolution=resolution)
        return Generator(pipes[family], sampler, attention, VOCABULARY).sample(PROMPTS)

    made_by = generator(pipes, family)
    with observed(denoiser(pipes, family).get_submodule(made_by.family.blocks()[1])) as calls:
        both = sample([1, 0])
    states = calls[0]["hidden_states"]
    states = states[:2] if family == "z_image" else states[-2:]
    parts = [sample([0]), sample([1])]
    for index, found in enumerate(both):
        selves = [part[index].attention.self_attention for part in parts]
        weights = layer_weights(selves, states[index][:64], (8, 8), 8 // resolution)
        for kind in ("cross", "self_attention"):
            maps = [getattr(part[index].attention, kind) for part in parts]
            expected = sum(weight * map_ for weight, map_ in zip(weights, maps, strict=True))
            torch.testing.assert_close(getattr(found.attention, kind), expected, atol=2e-6, rtol=1e-5)
        assert max(weights) > 1.01 * min(weights)


def test_weighting_is_refused_if_a_block_fuses_its_output(pipes) -> None:
    made_by = generator(pipes, "flux", aggregation="weighted", blocks=[2])
    with pytest.raises(InputError, match=r"attention\.aggregation=weighted: .* use mean"):
        made_by.sample(PROMPTS)


def test_steps_outside_the_window_are_not_recorded(pipes, family: str) -> None:
    """The maps of four one-step windows average to those of all four steps; record_attention takes the third."""
    sampler = SamplerSettings(num_inference_steps=4, guidance_scale=GUIDANCE[family], image_size=list(IMAGE_SIZE))

    def maps(steps: list[float] | None) -> torch.Tensor:
        (sample,) = Generator(pipes[family], sampler, AttentionSettings(steps=steps), VOCABULARY).sample(PROMPTS[:1])
        return sample.attention.cross

    parts = [maps([begin, begin + 0.25]) for begin in (0.0, 0.25, 0.5, 0.75)]
    torch.testing.assert_close(torch.stack(parts).mean(dim=0), maps(None), atol=1e-6, rtol=1e-5)
    assert (parts[0] - parts[3]).abs().max() > 1e-4
    with record_attention(pipes[family], [["cat", "small sofa"]], steps=[0.5, 0.75]) as recorded:
        pipes[family](
            prompt=["a cat on a sofa; cat small sofa"],
            num_inference_steps=4,
            guidance_scale=GUIDANCE[family],
            height=32,
            width=32,
            generator=[torch.Generator().manual_seed(PROMPTS[0].seed)],
        )
    assert torch.equal(recorded.maps[0].cross, parts[2])


@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_a_window_without_a_step_is_refused_before_any_image_is_generated(pipes, family: str) -> None:
    message = r"attention\.steps=\[0\.25,0\.3\]: none of the sampler's 4 steps .* use \[0\.25,0\.5\], or null"
    sampler = SamplerSettings(num_inference_steps=4, image_size=list(IMAGE_SIZE))
    with pytest.raises(InputError, match=message):
        Generator(pipes[family], sampler, AttentionSettings(steps=[0.25, 0.3]), VOCABULARY)
    Generator(pipes[family], sampler, AttentionSettings(steps=[0.25, 0.5]), VOCABULARY)
    with record_attention(pipes[family], [["cat", "dog"]], steps=[0.25, 0.3]) as recorded:
        pipes[family]("a cat with a dog; cat dog", num_inference_steps=4, height=32, width=32, output_type="latent")
    with pytest.raises(InputError, match=message):
        _ = recorded.maps


@pytest.mark.parametrize("number", [1, 3, 28, 999, 1000, 1001])
def test_the_proposed_window_has_a_step(number: int) -> None:
    for begin in (0.0, 0.1003, 0.7004, 1 - 1e-6):
        with pytest.raises(InputError) as refused:
            StepWindow(begin, begin + 1e-7, lambda: number).check()
        found = re.search(r"use \[(.+),(.+)\]", str(refused.value))
        assert found
        StepWindow(float(found[1]), float(found[2]), lambda: number).check()


def test_blocks_of_a_unet_are_refused(pipes) -> None:
    with pytest.raises(InputError, match=r"attention\.blocks=\[15, 99\]: only transformers .* use null"):
        generator(pipes, "sdxl", blocks=[15, 99])

"""attention.class_prompt, checked slowly: class words in the prompt, or in a text that no image attends to."""

import copy
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dataset_diffusion import record_attention
from dataset_diffusion.attention.aggregate import class_attention
from dataset_diffusion.cli import generate as cli
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.families import FAMILIES
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.labelled.faults import find_faults
from dataset_diffusion.settings.generate import AttentionSettings, SamplerSettings
from dataset_diffusion.types import Prompt
from tests.generators.slow_attention import attention_inputs, mean_probabilities, observed, pass_text
from tests.generators.test_families import GUIDANCE, PROMPTS, STEPS, SWAPPED, VOCABULARY, hooks_on, load
from tests.tiny_families import BUILDERS, IMAGE_SIZE
from tests.tiny_pipeline import TEXT_LENGTH, build_tiny_pipeline

ALL = {"sd": build_tiny_pipeline, **BUILDERS}
UNETS, STREAMED = ("sd", "sdxl"), ("sd3", "flux")
CLASS_PROMPTS = ["background floor grass tree sky; cat small sofa", "background floor grass tree sky; dog"]
WORDS = [["cat", "small sofa"], ["dog"]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: build(tmp_path_factory.mktemp(name)) for name, build in ALL.items()}


@pytest.fixture(scope="module")
def pipes(folders: dict[str, Path]):
    return {name: load(folder) for name, folder in folders.items()}


def generator(pipes, family: str, mode: str = "caption_and_classes", **attention) -> Generator:
    guidance = GUIDANCE.get(family, 3.0)
    sampler = SamplerSettings(num_inference_steps=STEPS, guidance_scale=guidance, image_size=list(IMAGE_SIZE))
    return Generator(pipes[family], sampler, AttentionSettings(**attention), VOCABULARY, mode)


def denoiser(pipes, family: str):
    return FAMILIES[type(pipes[family]).__name__](pipes[family]).denoiser


def encode(pipe, texts: Sequence[str]) -> Tensor:
    with torch.no_grad():
        return pipe.encode_prompt(
            list(texts), device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]


@pytest.mark.parametrize("family", UNETS)
@pytest.mark.parametrize("class_prompt", [None, "appended"])
def test_maps_of_unets_equal_a_slow_computation_from_the_weights(pipes, family: str, class_prompt: str | None) -> None:
    made_by = generator(pipes, family, class_prompt=class_prompt)
    unet, texts = pipes[family].unet, ["cat small sofa", "dog"]
    with ExitStack() as stack:
        calls = {layer: stack.enter_context(observed(unet.get_submodule(layer.name))) for layer in made_by._layers}
        samples = made_by.sample(PROMPTS)
    context = {} if class_prompt else {"encoder_hidden_states": encode(pipes[family], texts)}
    found: dict[bool, list[list[Tensor]]] = {False: [], True: []}
    for layer, seen in calls.items():
        assert len(seen) == STEPS
        inputs = [{name: call[name][-2:] for name in call if call[name] is not None} for call in seen]
        inputs = [call | context if layer.is_cross else call for call in inputs]
        number = TEXT_LENGTH if layer.is_cross else layer.size[0] * layer.size[1]
        module = unet.get_submodule(layer.name)
        keys = [list(range(number))] * 2
        found[layer.is_cross].append(mean_probabilities(family, module, inputs, slice(None), slice(None), keys))
    for index, sample in enumerate(samples):
        for maps, kind in ((sample.attention.cross.flatten(1).T, True), (sample.attention.self_attention, False)):
            slow = torch.stack([layer[index] for layer in found[kind]]).mean(dim=0)
            torch.testing.assert_close(maps.double(), slow, atol=2e-6, rtol=1e-5)
    tokenizer, text = pipes[family].tokenizer, ("a cat on a sofa; cat small sofa" if class_prompt else texts[0])
    ids = tokenizer(text)["input_ids"]
    spans = made_by.class_spans(PROMPTS[0])
    read = ["".join(tokenizer.decode([ids[position] for position in span]).split()) for span in spans]
    assert read == ["cat", "smallsofa"]
    assert spans[1][-1] == len(ids) - 2


@pytest.mark.parametrize(
    ("family", "block"), [("sd3", 0), ("sd3", 1), ("sd3", 2), ("flux", 0), ("flux", 1), ("flux", 2)]
)
def test_maps_of_a_separate_class_prompt_equal_a_slow_computation(pipes, family: str, block: int) -> None:
    """Block after block in float64; SD3's last block outputs no text, and Flux's third joins text and image."""
    made_by = generator(pipes, family, class_prompt="own", blocks=[block])
    model = denoiser(pipes, family)
    names = [name.removesuffix(".attn") for name in made_by.family.blocks().values()][: block + 1]
    with ExitStack() as stack:
        calls = [stack.enter_context(observed(model.get_submodule(name))) for name in names]
        samples = made_by.sample(PROMPTS)
    exact = copy.deepcopy(model).double()
    given = []
    with torch.no_grad():
        for step in range(STEPS):
            text = exact.context_embedder(encode_beside(pipes[family], family).double())
            for name, seen in zip(names[:-1], calls, strict=False):
                text = pass_text(family, exact.get_submodule(name), seen[step], text)
            given.append(attention_inputs(exact.get_submodule(names[-1]), calls[-1][step], text))
    image_start, text_start = made_by.family.starts((8, 8))
    found = [made_by.family._find(*pair) for pair in zip(CLASS_PROMPTS, WORDS, strict=True)]
    keys = [[text_start + position for position in tokens.words] for tokens in found]
    image = slice(image_start, image_start + 64)
    module = exact.get_submodule(f"{names[-1]}.attn")
    slow = mean_probabilities(family, module, given, slice(None), image, keys)
    for sample, tokens, expected in zip(samples, found, slow, strict=True):
        columns = [tokens.words.index(position) for span in tokens.spans for position in span]
        maps = sample.attention.cross.flatten(1).double()
        torch.testing.assert_close(maps, expected[:, columns].T, atol=5e-6, rtol=1e-4)
        assert expected[:, columns].std() > 0.003
    usual = generator(pipes, family, blocks=[block]).sample(PROMPTS)
    for sample, other in zip(samples, usual, strict=True):
        assert torch.equal(sample.attention.self_attention, other.attention.self_attention)


def encode_beside(pipe, family: str) -> Tensor:
    with torch.no_grad():
        if family == "flux":
            return pipe.encode_prompt(CLASS_PROMPTS, None)[0]
        return pipe.encode_prompt(CLASS_PROMPTS, None, None, do_classifier_free_guidance=False)[0]


@pytest.mark.parametrize("family", STREAMED)
@pytest.mark.parametrize("aggregation", ["mean", "weighted", "weighted_layers"])
def test_a_separate_class_prompt_does_not_change_the_image(pipes, family: str, aggregation: str) -> None:
    """Images are the same with, without and with swapped class words; two words' maps swap with the words."""
    made_by = generator(pipes, family, "caption", class_prompt="own", aggregation=aggregation, blocks=[1])
    (first, other), (second, _) = made_by.sample(PROMPTS), made_by.sample(SWAPPED)
    plain = generator(pipes, family, "caption").images(PROMPTS)
    assert np.array_equal(first.image, (plain[0] * 255).round())
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(other.image, (plain[1] * 255).round())
    assert torch.equal(first.attention.self_attention, second.attention.self_attention)
    cat, sofa = class_attention(first.attention.cross, made_by.class_spans(PROMPTS[0]))
    sofa_again, cat_again = class_attention(second.attention.cross, made_by.class_spans(SWAPPED[0]))
    stays = (cat - cat_again).abs().mean() + (sofa - sofa_again).abs().mean()
    swaps = (cat - sofa_again).abs().mean() + (sofa - cat_again).abs().mean()
    assert stays < swaps


@pytest.mark.parametrize("family", STREAMED)
def test_a_sample_does_not_depend_on_its_batch(pipes, family: str) -> None:
    made_by = generator(pipes, family, class_prompt="own")
    alone, together = made_by.sample(PROMPTS[:1])[0], made_by.sample(PROMPTS)[0]
    torch.testing.assert_close(alone.attention.cross, together.attention.cross, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("family", [*UNETS, *STREAMED])
def test_record_attention_records_the_same_maps(pipes, family: str) -> None:
    class_prompt = "appended" if family in UNETS else "own"
    with record_attention(pipes[family], WORDS, class_prompt=class_prompt) as recorded:
        pipes[family](
            prompt=["a cat on a sofa; cat small sofa", "a dog; dog"],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE.get(family, 3.0),
            height=IMAGE_SIZE[0],
            width=IMAGE_SIZE[1],
            generator=[torch.Generator().manual_seed(prompt.seed) for prompt in PROMPTS],
        )
    made_by = generator(pipes, family, class_prompt=class_prompt)
    for sample, maps, spans in zip(made_by.sample(PROMPTS), recorded.maps, recorded.spans, strict=True):
        assert torch.equal(sample.attention.cross, maps.cross)
        assert spans == made_by.class_spans(sample.prompt)


@pytest.mark.parametrize("family", STREAMED)
def test_hooks_are_gone_after_an_exception_while_a_class_prompt_runs(pipes, family: str) -> None:
    made_by = generator(pipes, family, class_prompt="own")
    model = denoiser(pipes, family)
    runs = []

    def interrupt(*_: object) -> None:
        runs.append(1)
        if len(runs) == 2:
            raise KeyboardInterrupt

    handle = model.transformer_blocks[0].attn.to_q.register_forward_hook(interrupt)
    before = hooks_on(model)
    with pytest.raises(KeyboardInterrupt):
        made_by.sample(PROMPTS)
    handle.remove()
    assert hooks_on(model) == before - 1
    assert torch._C._len_torch_function_stack() == 0


@pytest.mark.parametrize("family", STREAMED)
def test_class_prompts_change_dd_generates_masks_but_not_its_images(
    folders: dict[str, Path], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(class_prompt: str) -> dict[str, bytes]:
        settings = {
            "output_dir": tmp_path / class_prompt,
            "num_images": 2,
            "batch_size": 2,
            "model.path": folders[family],
            "sampler.num_inference_steps": 1,
            "sampler.image_size": "[32,32]",
            "attention.class_prompt": class_prompt,
        }
        arguments = [f"{key}={value}" for key, value in settings.items()]
        monkeypatch.setattr(sys, "argv", ["dd-generate", *arguments, "sampler.scheduler=null"])
        cli.main()
        assert find_faults(tmp_path / class_prompt, "train", 21) == []
        return {path.name: path.read_bytes() for path in (tmp_path / class_prompt).rglob("0*.*")}

    own, appended = run("own"), run("appended")
    images = {name for name in own if name.endswith(".jpg")}
    assert len(images) == 2
    assert {name for name in own if own[name] == appended[name]} == images


def test_unusable_class_prompts_are_refused(pipes) -> None:
    with pytest.raises(InputError, match=r"attention\.class_prompt=own: Z-Image takes no second text; use appended"):
        generator(pipes, "z_image", class_prompt="own")
    with pytest.raises(InputError, match=r"attention\.class_prompt=both: must be one of own, appended, or null"):
        AttentionSettings(class_prompt="both")
    with pytest.raises(InputError, match="class word 'small sofa': not in the prompt"):
        generator(pipes, "sd", "caption", class_prompt="appended").sample([Prompt("0", "a cat", (3,), seed=1)])


@pytest.mark.parametrize("family", ["sd3", "flux", "z_image"])
def test_a_class_word_without_another_word_is_refused(pipes, family: str) -> None:
    """Its share of the attention to words would be 1 everywhere."""
    with pytest.raises(InputError, match="class word 'small sofa': the prompt has no other word to compare it with"):
        generator(pipes, family, "classes").sample([Prompt("0", "", (3,), seed=1)])


def test_a_class_that_is_also_a_background_word_is_not_read_twice(pipes) -> None:
    with record_attention(pipes["flux"], [["tree"]], class_prompt="own", blocks=[0]) as recorded:
        pipes["flux"]("a tree", num_inference_steps=1, height=32, width=32)
    text = recorded._family._read_text("a tree", ["tree"])
    assert text == "background floor grass sky; tree"


def test_attention_slicing_gives_the_same_maps(pipes) -> None:
    pipe = pipes["sd"]
    (plain, _) = generator(pipes, "sd", class_prompt="appended").sample(PROMPTS)
    pipe.enable_attention_slicing(1)
    (sliced, _) = generator(pipes, "sd", class_prompt="appended").sample(PROMPTS)
    pipe.disable_attention_slicing()
    torch.testing.assert_close(sliced.attention.cross, plain.attention.cross, atol=1e-4, rtol=0)

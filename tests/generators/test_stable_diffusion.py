import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled

from dataset_diffusion import paths
from dataset_diffusion.attention.aggregate import class_evidence
from dataset_diffusion.errors import InputError
from dataset_diffusion.generators.generator import Generator
from dataset_diffusion.generators.loading import (
    SCHEDULERS,
    load_pipeline,
    load_tokenizer,
    model_fingerprint,
    silence_libraries,
)
from dataset_diffusion.generators.stable_diffusion import StableDiffusion
from dataset_diffusion.masks import class_scores, label_mask
from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.settings.generate import AttentionSettings, ModelSettings, SamplerSettings
from dataset_diffusion.types import Prompt, Sample
from dataset_diffusion.vocabulary import Vocabulary, VocabularyClass
from tests.tiny_pipeline import build_tiny_pipeline, tiny_unet

VOCABULARY = Vocabulary("pets", tuple(map(VocabularyClass, ("cat", "dog", "sofa"), ("cat", "dog", "small sofa"))))
STEPS = 3
PROMPTS = [
    Prompt("0", "a cat on a sofa", (1, 3), seed=11),
    Prompt("1", "a dog", (2,), seed=12),
    Prompt("2", "a dog and a cat", (2, 1), seed=2**62),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_pipeline(tmp_path_factory.mktemp("tiny"))


def load(folder, scheduler=None, **model):
    settings = ModelSettings(path=str(folder), **{"device": "cpu", **model})
    return load_pipeline(settings, SamplerSettings(scheduler=scheduler))


def make_generator(pipe, attention=AttentionSettings(), **settings) -> Generator:  # noqa: B008
    return Generator(pipe, SamplerSettings(**{"num_inference_steps": STEPS, **settings}), attention, VOCABULARY)


@pytest.fixture(scope="module")
def pipe(folder):
    return load(folder)


@pytest.fixture(scope="module")
def generator(pipe):
    return make_generator(pipe)


@pytest.fixture(scope="module")
def samples(generator):
    return generator.sample(PROMPTS)


def assert_same(found: Sample, expected: Sample) -> None:
    assert found.prompt == expected.prompt
    assert np.array_equal(found.image, expected.image)
    assert torch.equal(found.attention.cross, expected.attention.cross)
    assert torch.equal(found.attention.self_attention, expected.attention.self_attention)


def test_samples_are_images_with_maps(generator, samples):
    assert [sample.prompt for sample in samples] == PROMPTS
    assert generator.image_size == (32, 32)
    for sample in samples:
        assert (sample.image.shape, sample.image.dtype) == ((32, 32, 3), np.uint8)
        assert sample.image.std() > 10
        assert sample.attention.cross.shape == (40, 16, 16)
        assert sample.attention.self_attention.shape == (64, 64)


def test_the_image_equals_the_stock_pipelines(pipe, samples):
    texts = ["a cat on a sofa; cat small sofa", "a dog; dog", "a dog and a cat; dog cat"]
    generators = [torch.Generator().manual_seed(prompt.seed) for prompt in PROMPTS]
    images = pipe(texts, num_inference_steps=STEPS, guidance_scale=7.5, generator=generators).images
    for sample, image in zip(samples, images, strict=True):
        assert np.array_equal(sample.image, np.asarray(image))


def test_the_maps_depend_on_the_class_words(generator, samples):
    changed = [PROMPTS[0]._replace(class_ids=(3, 1)), *PROMPTS[1:]]
    assert generator.class_spans(PROMPTS[0]) != generator.class_spans(changed[0])
    other = generator.sample(changed)
    assert (other[0].attention.cross - samples[0].attention.cross).abs().max() > 0.01
    assert torch.equal(other[1].attention.cross, samples[1].attention.cross)


def test_the_class_prompt_is_encoded_by_the_text_encoder(pipe, generator):
    texts = [class_prompt(pipe.tokenizer, words) for words in (["cat", "small sofa"], ["dog"])]
    with torch.no_grad():
        expected = pipe.text_encoder(torch.tensor([text.token_ids for text in texts]))[0]
    embeddings = generator.family.encode_text([text.text for text in texts])
    assert torch.equal(embeddings, expected)
    assert not embeddings.requires_grad


def test_sampling_again_changes_no_bit(generator, samples):
    generator.sample(PROMPTS[:1])
    for found, expected in zip(generator.sample(PROMPTS), samples, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_order_and_neighbours_change_no_bit(folder, scheduler):
    generator = make_generator(load(folder, scheduler))
    samples = generator.sample(PROMPTS)
    shuffled = generator.sample([PROMPTS[2], PROMPTS[0], PROMPTS[1]])
    for found, expected in zip(shuffled, (samples[2], samples[0], samples[1]), strict=True):
        assert_same(found, expected)
    neighbours = [Prompt("x", "a bus", (), seed=5), PROMPTS[0], Prompt("y", "two dogs", (2, 3), seed=6)]
    assert_same(generator.sample(neighbours)[1], samples[0])


def test_the_batch_size_changes_only_rounding(generator, samples):
    for prompt, expected in zip(PROMPTS, samples, strict=True):
        (alone,) = generator.sample([prompt])
        difference = np.abs(alone.image.astype(int) - expected.image)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
        torch.testing.assert_close(alone.attention.cross, expected.attention.cross, atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.attention.self_attention, expected.attention.self_attention, atol=1e-4, rtol=0)


def test_seed_caption_and_negative_prompt_change_the_image(pipe, generator, samples):
    for change in ({"seed": 99}, {"caption": "a bus"}):
        (other,) = generator.sample([PROMPTS[1]._replace(**change)])
        assert not np.array_equal(other.image, samples[1].image)
    (other,) = make_generator(pipe, negative_prompt="ugly").sample(PROMPTS[1:2])
    assert not np.array_equal(other.image, generator.sample(PROMPTS[1:2])[0].image)


@pytest.mark.parametrize(("guidance", "copies"), [(0.0, 1), (1.0, 1), (1.5, 2)])
def test_the_unet_gets_an_unconditional_half_only_with_guidance(pipe, guidance, copies, samples):
    rows = []
    handle = pipe.unet.register_forward_hook(lambda _, inputs, *__: rows.append(len(inputs[0])))
    without = make_generator(pipe, guidance_scale=guidance).sample(PROMPTS)
    handle.remove()
    assert set(rows) == {copies * len(PROMPTS)}
    for sample, guided in zip(without, samples, strict=True):
        assert not np.array_equal(sample.image, guided.image)
        torch.testing.assert_close(sample.attention.cross.sum(dim=0), torch.ones(16, 16), atol=1e-5, rtol=0)


def test_a_prompt_without_classes_has_empty_maps(generator, samples):
    without = PROMPTS[1]._replace(class_ids=())
    mixed = generator.sample([PROMPTS[0], without, PROMPTS[2]])
    (alone,) = generator.sample([without])
    for sample in (mixed[1], alone):
        assert sample.attention.cross.shape == (0, 16, 16)
        assert sample.attention.self_attention.shape == (0, 0)
        spans = generator.class_spans(without)
        mask = label_mask(class_scores(class_evidence(sample.attention, spans, 4), (), generator.image_size), 0.6, 0.5)
        assert mask.labels.shape == (32, 32)
        assert not mask.labels.any()
    assert_same(mixed[0], samples[0])
    assert generator.sample([]) == []


def test_samples_give_masks_of_their_classes(generator, samples):
    for sample in samples:
        evidence = class_evidence(sample.attention, generator.class_spans(sample.prompt), power=4)
        assert evidence.shape == (len(sample.prompt.class_ids), 8, 8)
        mask = label_mask(class_scores(evidence, sample.prompt.class_ids, generator.image_size), 0.6, 0.5)
        assert set(np.unique(mask.labels)) <= {0, 255, *sample.prompt.class_ids}
        assert set(np.unique(mask.labels)) & set(sample.prompt.class_ids)


def test_attention_settings_choose_the_resolutions(pipe):
    (sample,) = make_generator(pipe, AttentionSettings(self_resolution=16, cross_resolution=8)).sample(PROMPTS[:1])
    assert sample.attention.cross.shape == (40, 8, 8)
    assert sample.attention.self_attention.shape == (256, 256)
    with pytest.raises(InputError, match=r"attention\.cross_resolution=5: this model has attention at 16, 8;"):
        make_generator(pipe, AttentionSettings(cross_resolution=5))


@pytest.mark.parametrize("scheduler", ["lcm", "tcd"])
def test_more_steps_than_a_scheduler_supports_are_refused(folder, scheduler):
    """The default is 100; these schedulers were distilled from 50 steps."""
    pipe = load(folder, scheduler)
    with pytest.raises(
        InputError, match=r"sampler\.num_inference_steps=100: a \w+Scheduler has at most 50; use no more"
    ):
        make_generator(pipe, num_inference_steps=100)
    make_generator(pipe, num_inference_steps=50)


def test_images_and_maps_of_a_non_square_model_have_its_shape(folder):
    pipe = load(folder)
    pipe.register_modules(unet=tiny_unet(sample_size=(16, 24)))
    generator = make_generator(pipe)
    (sample,) = generator.sample(PROMPTS[:1])
    assert generator.image_size == sample.image.shape[:2] == (32, 48)
    evidence = class_evidence(sample.attention, generator.class_spans(PROMPTS[0]), power=1)
    assert evidence.shape == (2, 8, 12)


def test_bfloat16_gives_images_and_float32_maps(folder, samples):
    (sample, *_) = make_generator(load(folder, dtype="bfloat16")).sample(PROMPTS)
    assert sample.image.std() > 10
    assert sample.attention.cross.dtype == torch.float32
    torch.testing.assert_close(sample.attention.cross.sum(dim=0), torch.ones(16, 16), atol=1e-5, rtol=0)


@pytest.mark.gpu
def test_float16_on_the_gpu_is_close_to_float32_on_the_cpu(folder, samples):
    for sample, expected in zip(
        make_generator(load(folder, dtype="float16", device="cuda")).sample(PROMPTS), samples, strict=True
    ):
        assert np.abs(sample.image.astype(int) - expected.image).mean() < 5
        torch.testing.assert_close(sample.attention.cross.cpu(), expected.attention.cross, atol=0.01, rtol=0)
        torch.testing.assert_close(
            sample.attention.self_attention.cpu(), expected.attention.self_attention, atol=0.01, rtol=0
        )


def test_a_non_finite_image_is_marked(folder):
    pipe = load(folder)
    pipe.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    assert [sample.is_finite for sample in make_generator(pipe).sample(PROMPTS[:2])] == [False, False]
    assert make_generator(load(folder)).sample(PROMPTS[:1])[0].is_finite


def count_unet_calls(pipe) -> int:
    calls = []
    handle = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
    make_generator(pipe, num_inference_steps=5).sample(PROMPTS[:1])
    handle.remove()
    return len(calls)


@pytest.mark.parametrize(("scheduler", "calls"), [("ddim", 5), ("pndm", 6), ("dpmsolver++", 5), ("euler", 5)])
def test_the_chosen_scheduler_is_used(folder, scheduler, calls):
    pipe = load(folder, scheduler)
    assert type(pipe.scheduler).__name__ == SCHEDULERS[scheduler][0]
    assert pipe.scheduler.config.beta_end == 0.012
    assert count_unet_calls(pipe) == calls


def test_loading_prints_nothing_and_needs_no_safety_checker(folder, capfd):
    silence_libraries()
    pipe = load(folder, "dpmsolver++")
    make_generator(pipe).sample(PROMPTS[:1])
    assert capfd.readouterr() == ("", "")
    assert pipe.safety_checker is None
    assert type(pipe.scheduler).__name__ == "DPMSolverMultistepScheduler"


def test_dtype_and_device_are_applied(folder):
    assert load(folder, dtype="bfloat16").unet.dtype == torch.bfloat16
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert load(folder, device="auto").device.type == expected


def test_toy_means_the_packages_model(folder, monkeypatch):
    monkeypatch.setattr(paths, "toy_model_dir", lambda: folder)
    pipe = load("toy")
    assert model_fingerprint(pipe, ModelSettings("toy"))["id"] == "toy"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheduler": "ddpm"}, "sampler.scheduler=ddpm: must be one of ddim, pndm"),
        ({"dtype": "float16"}, "model.dtype=float16: works only on a GPU"),
        ({"device": "gpu"}, "model.device=gpu: must be auto, cuda, mps, cpu"),
        ({"device": "cuda:99"}, "model.device=cuda:99: this machine"),
        ({"revision": "main"}, "model.revision=main: only hub models have revisions"),
    ],
)
def test_impossible_settings_are_refused(folder, settings, message):
    with pytest.raises(InputError, match=message):
        load(folder, **settings)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/no/such/folder", "no such folder"),
        ("./nothing", "no such folder"),
        ("owner/unknown-model", "neither a folder nor a model on the hub"),
        ("not a hub id", "neither a folder nor a model on the hub"),
    ],
)
def test_a_missing_model_is_named(path, message):
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value).startswith(f"model.path={path}: {message}")
    assert "\n" not in str(error.value)


def test_progress_bars_are_shown_only_for_a_download(folder, monkeypatch):
    shown = []

    def download(*_: object, **__: object) -> str:
        shown.append(not are_progress_bars_disabled())
        return str(folder)

    silence_libraries()
    monkeypatch.setattr("dataset_diffusion.generators.loading._find_family", lambda *_: StableDiffusion)
    monkeypatch.setattr("diffusers.StableDiffusionPipeline.download", download)
    load("owner/name")
    assert shown == [True]
    assert are_progress_bars_disabled()


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_file_is_refused_as_a_model(copied):
    with pytest.raises(InputError, match="is a file; name a pipeline folder"):
        load(copied / "model_index.json")


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a pipeline folder"):
        load(tmp_path)


def test_another_pipeline_is_named(copied):
    index = copied / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "SanaPipeline"}))
    with pytest.raises(InputError, match=r"is a SanaPipeline; these pipelines work: StableDiffusionPipeline \(Stable"):
        load(copied)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_pipeline_with_a_missing_part_is_refused(copied, part):
    shutil.rmtree(copied / part)
    with pytest.raises(InputError, match=f"model.path={copied}: "):
        load(copied)


def test_the_tokenizer_can_be_loaded_alone(pipe, folder, copied):
    alone = load_tokenizer(ModelSettings(path=str(folder)))
    for text in ("a cat, a dog; cat dog", "Zebra 7"):
        assert alone(text)["input_ids"] == pipe.tokenizer(text)["input_ids"]
    assert alone.model_max_length == pipe.tokenizer.model_max_length
    for file in (copied / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"model\.path=.*: its tokenizer "):
        load_tokenizer(ModelSettings(path=str(copied)))


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", b"\x00" * 100])
def test_broken_weights_are_refused(copied, content):
    (copied / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded: "):
        load(copied)


def test_the_fingerprint_identifies_the_weights(folder, copied):
    def fingerprint(path) -> dict[str, str]:
        return model_fingerprint(load(path), ModelSettings(path=str(path)))

    assert fingerprint(copied)["id"] == str(copied)
    assert fingerprint(copied)["revision"] == fingerprint(folder)["revision"]
    assert fingerprint(copied)["revision"].startswith("sha256:")
    for part in ("unet", "vae", "text_encoder"):
        before = fingerprint(copied)["revision"]
        (weights,) = (copied / part).glob("*.safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        assert fingerprint(copied)["revision"] != before


def test_the_fingerprint_of_a_hub_model_is_its_commit(folder, tmp_path):
    snapshot = shutil.copytree(folder, tmp_path / "models--owner--name" / "snapshots" / ("ab" * 20))
    assert model_fingerprint(load(snapshot), ModelSettings("owner/name")) == {
        "id": "owner/name",
        "revision": "ab" * 20,
    }

"""From the command line to the dataset folder with every kind of prompt, with a small random model."""

import json
import shutil
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion import generate as generate_module
from dataset_diffusion.cli import generate as cli
from dataset_diffusion.generators.loading import load_pipeline
from dataset_diffusion.images import encode_image
from dataset_diffusion.settings.generate import ModelSettings, SamplerSettings
from tests.tiny_blip import build_tiny_blip
from tests.tiny_language_model import build_tiny_language_model
from tests.tiny_pipeline import build_tiny_pipeline

CAPTIONS = [
    {"filename": "b.jpg", "caption": "a cat; cat", "class_prompt": "cat"},
    {"filename": "a.jpg", "caption": "a dog and a cat", "class_prompt": "dog cat"},
    {"filename": "c.jpg", "caption": "a street"},
    {"filename": "d.jpg", "caption": "puppies " * 30},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dd_generate(model: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command on the small model; later values win, and "SETTING=default" omits a setting."""

    def run(*overrides: str) -> None:
        defaults = {
            "experiment": "toy",
            "output_dir": "data",
            "num_images": "5",
            "batch_size": "2",
            "prompts.template": "generic",
            "model.path": str(model),
            "sampler.num_inference_steps": "2",
            "sampler.scheduler": "ddim",
        }
        chosen = defaults | dict(override.split("=", 1) for override in overrides)
        given = [f"{key}={value}" for key, value in chosen.items() if value != "default"]
        monkeypatch.setattr(sys, "argv", ["dd-generate", *given])
        cli.main()

    return run


def files(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def lines(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


REPEATED = ("JPEGImages/", "SegmentationClass/", "ImageSets/", "prompts.jsonl", "manifest.jsonl", "contact_sheet.png")


@pytest.mark.parametrize(("fill", "num_images"), [("template", 26), ("none", 7)])
def test_a_plan_reproduces_its_run_bit_for_bit(dd_generate, fill: str, num_images: int) -> None:
    """With all its template, file and repeated captions, although the experiment has another number of images."""
    Path("captions.json").write_text(json.dumps(CAPTIONS))
    dd_generate(
        "prompts=file", "prompts.path=captions.json", f"prompts.fill={fill}", f"num_images={num_images}", "seed=3"
    )
    plan = lines("data/prompts.jsonl")
    assert any(line["source"] == "captions.json: entry 2" for line in plan)
    assert any(line["source"] == "template" for line in plan) == (fill == "template")
    assert any(line["id"].endswith("_r1") for line in plan) == (fill == "none")
    dd_generate("prompts=file", "prompts.path=data/prompts.jsonl", "num_images=default", "output_dir=again")
    first, again = files("data"), files("again")
    assert first.keys() == again.keys()
    same = [name for name in first if name.startswith(REPEATED)]
    assert len(same) == 2 * num_images + 4
    assert [name for name in same if first[name] != again[name]] == []


def test_a_plan_is_used_completely_and_with_its_own_seeds(dd_generate, capsys: pytest.CaptureFixture[str]) -> None:
    """It is longer than the experiment's 500; a plan shorter than the given number is refused."""
    plan = "".join(f'{{"id": "{index}", "caption": "a cat", "seed": {index}}}\n' for index in range(501))
    Path("plan.jsonl").write_text(plan)
    arguments = ("prompts=file", "prompts.path=plan.jsonl")
    dd_generate(*arguments, "num_images=default", "dry_run=true")
    assert "dd-generate: prompts.path=plan.jsonl is a plan: all its 501 images are made" in capsys.readouterr().err
    assert [line["seed"] for line in lines("data/prompts.jsonl")] == list(range(501))
    for override, message in (
        ("seed=0", "seed=0: cannot change the images of prompts.path=plan.jsonl, whose lines all have a seed; leave"),
        ("num_images=502", "num_images=502: prompts.path=plan.jsonl is a plan of 501 images; use at most that"),
    ):
        with pytest.raises(SystemExit) as end:
            dd_generate(*arguments, "dry_run=true", "output_dir=refused", override)
        assert end.value.code == 2
        assert message in capsys.readouterr().err
        assert not Path("refused").exists()


@pytest.mark.parametrize("mode", ["simple", "caption", "classes", "caption_and_classes"])
def test_the_image_is_generated_from_the_modes_text(dd_generate, model: Path, mode: str) -> None:
    Path("captions.json").write_text(json.dumps(CAPTIONS[1:2]))
    dd_generate("prompts=file", "prompts.path=captions.json", "num_images=1", "batch_size=1", f"prompts.mode={mode}")
    text = {
        "simple": "a photo of a dog and a cat",
        "caption": "a dog and a cat",
        "classes": "dog cat",
        "caption_and_classes": "a dog and a cat; dog cat",
    }[mode]
    pipe = load_pipeline(ModelSettings(path=str(model)), SamplerSettings(scheduler="ddim"))
    generator = torch.Generator().manual_seed(lines("data/prompts.jsonl")[0]["seed"])
    image = pipe(text, num_inference_steps=2, guidance_scale=4.0, generator=generator, output_type="np").images[0]
    expected = encode_image((image * 255).round().astype(np.uint8))
    assert Path("data/JPEGImages/a.jpg").read_bytes() == expected
    assert json.loads(Path("data/dataset.json").read_text())["settings"]["prompts"]["mode"] == mode


def test_another_mode_is_refused_in_an_existing_folder(dd_generate, capsys: pytest.CaptureFixture[str]) -> None:
    dd_generate()
    with pytest.raises(SystemExit):
        dd_generate("prompts.mode=simple")
    assert "prompts.mode=simple: the folder data was made with caption_and_classes" in capsys.readouterr().err


def test_shortened_captions_are_reported_once(dd_generate, capfd: pytest.CaptureFixture[str]) -> None:
    Path("captions.json").write_text(json.dumps(CAPTIONS))
    dd_generate("prompts=file", "prompts.path=captions.json", "num_images=null")
    printed = "".join(capfd.readouterr())
    assert printed.count("shortened") == 1
    assert "captions shortened to what the text encoder reads: 1\n" in printed
    assert "captions left out because they have no class: 1\n" in printed


def test_masks_can_be_traced_to_blips_captions(dd_generate, tmp_path: Path) -> None:
    blip = build_tiny_blip(tmp_path / "blip")
    Path("photos/deep").mkdir(parents=True)
    for number, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (9, 90, 200))):
        Image.new("RGB", (30 + number, 20), colour).save(f"photos/deep/{number}.png")
    arguments = ("prompts=images", "prompts.path=photos", "prompts.fill=none", "num_images=3")
    captioner = (
        f"prompts.captioner.path={blip}",
        "prompts.captioner.batch_size=2",
        "prompts.captioner.cache_dir=cache",
    )
    # Classes that the random model mentions.
    vocabulary = "vocabulary.classes=[dog,cat,man,puppy,{name: sofa, synonyms: [street, and]}]"
    dd_generate(*arguments, *captioner, vocabulary)
    (cache,) = Path("cache").iterdir()
    written = {line["caption"] for line in lines(str(cache))}
    manifest = lines("data/manifest.jsonl")
    assert len(manifest) == 3
    for record in manifest:
        assert record["source"].startswith("deep/")
        assert record["source"].endswith(".png, caption by blip")
        assert record["caption"] in written
        assert record["classes"]


PLAN = {"prompts.jsonl", "prompts_report.txt", "dataset.json"}


def test_a_dry_run_writes_only_the_plan_and_its_report(
    dd_generate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "load_pipeline", None)
        dd_generate("dry_run=true", "num_images=7")
        assert files("data").keys() == PLAN
        printed = capsys.readouterr().out
        assert printed == Path("data/prompts_report.txt").read_text() + "\nplan: data/prompts.jsonl\n"
        assert "7 prompts, 7 of them with a template caption\n" in printed
        dd_generate("dry_run=true", "num_images=4")
        planned = files("data")
    # Generating images keeps the plan.
    dd_generate("num_images=4")
    made = files("data")
    same = PLAN - {"dataset.json"}
    assert {name: made[name] for name in same} == {name: planned[name] for name in same}
    assert "ImageSets/Segmentation/train.txt" in made


def test_a_dry_run_does_not_change_a_dataset(dd_generate, capsys: pytest.CaptureFixture[str]) -> None:
    dd_generate("num_images=2")
    before = files("data")
    with pytest.raises(SystemExit) as end:
        dd_generate("dry_run=true", "num_images=4")
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(
        "dd-generate: error: dry_run=true: data already holds a dataset; choose another output_dir\n"
    )
    assert files("data") == before


DOG = {"caption": "a dog", "class_prompt": "dog"}


def json_lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            json_lines(DOG, {**DOG, "class_prompt": "unicorn"}),
            "c.jsonl: line 2: class_prompt 'unicorn': 'unicorn' is not",
        ),
        (json_lines(DOG, {"class_prompt": "dog"}), "c.jsonl: line 2: has no caption; write a JSON list of"),
        (json_lines(DOG, DOG) + '{"caption": "a dog"\n', "c.jsonl: line 3: not JSON ("),
        (json_lines({**DOG, "id": "x"}, {**DOG, "id": "X"}), "c.jsonl: line 2: line 1 already has the sample id 'X'"),
        (json_lines({**DOG, "id": "../x"}), "c.jsonl: line 1: id '../x': use at most 200 letters, digits"),
        (json_lines({**DOG, "id": "a\\b"}), "c.jsonl: line 1: id 'a\\\\b': use at most 200 letters, digits"),
        ("", "c.jsonl: is empty; write a JSON list of"),
        (json_lines({"caption": "a street"}), "prompts.path=c.jsonl: no caption names a class of vocabulary voc; set"),
        (
            json_lines({"caption": "x", "class_prompt": "aeroplane bicycle sofa motorbike dining table"}),
            "class words 'aeroplane bicycle sofa motorbike dining table': 42 tokens with start and end, but",
        ),
    ],
)
def test_a_bad_file_ends_with_one_line(
    dd_generate, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    Path("c.jsonl").write_text(content)
    refused(dd_generate, capsys, message, "prompts=file", "prompts.path=c.jsonl")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["prompts=coco", "prompts.data_root=coco"],
            "coco/annotations/captions_train2017.json: has no list `annotations`",
        ),
        (["prompts=coco", "prompts.data_root=."], "annotations/instances_train2017.json: no such file; unpack"),
        (["prompts=voc", "prompts.data_root=."], "prompts.data_root=.: has no VOCdevkit/VOC2012/JPEGImages; unpack"),
        (["prompts=images", "prompts.path=empty"], "prompts.path=empty: contains no images (.bmp"),
        (["prompts=images"], "prompts.path=null: name the folder of images (prompts.path=DIR)"),
        (["prompts.cooccurrence=absent.yaml"], "prompts.cooccurrence=absent.yaml: no such file"),
        (["prompts.template=toy", "vocabulary=coco"], "the toy model cannot draw 'motorcycle', only aeroplane,"),
        (
            ["prompts.template=toy", "model.path=toy", "vocabulary.classes=[zebra]", "prompts=file", "prompts.path=a"],
            "prompts.template=toy: the toy model cannot draw 'zebra', only",
        ),
        (
            ["prompts.template=toy", "vocabulary.classes=[cat,hot air balloon]"],
            "prompts.template=toy: the toy model cannot draw 'hot air balloon', only aeroplane, bicycle,",
        ),
        (["num_images=null"], "num_images=null: prompts=template never ends; give a number"),
        (
            ["vocabulary.classes=[cat,Cat]"],
            "vocabulary.classes: class 2 has the name 'cat', which already belongs to class 1",
        ),
        (["vocabulary.classes=[cat,' ']"], "vocabulary.classes: class 2: name and word must be text"),
        (
            ["vocabulary.classes=[]"],
            "vocabulary.classes=[]: list at least one, e.g. '[cat,hot air balloon]'",
        ),
        ([f"vocabulary.classes=[{','.join(f'c{i}' for i in range(255))}]"], "vocabulary.classes: 255 classes;"),
        ([f"vocabulary.classes=[cat,{'z' * 60}]"], f"class words '{'z' * 60}': 62 tokens with start and end, but"),
        (["vocabulary.words={unicorn: horse}"], "vocabulary.words.unicorn: no class of vocabulary voc has that name"),
        (["vocabulary.words={sofa: ' '}"], "vocabulary.words.sofa: is empty; give a word"),
        (
            ["vocabulary.words={sofa: chair}"],
            "vocabulary.words: class 18 has the word 'chair', which already belongs to class 9",
        ),
    ],
)
def test_bad_settings_end_with_one_line(
    dd_generate, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    Path("empty").mkdir()
    Path("coco/annotations").mkdir(parents=True)
    Path("coco/annotations/captions_train2017.json").write_text('{"images": []}')
    categories = [{"id": 1, "name": "person"}]
    instances = {"categories": categories, "annotations": [{"image_id": 1, "category_id": 1}]}
    Path("coco/annotations/instances_train2017.json").write_text(json.dumps(instances))
    refused(dd_generate, capsys, message, *overrides)


def refused(dd_generate, capsys: pytest.CaptureFixture[str], message: str, *overrides: str) -> None:
    """Assert one line of error, exit status 2, no traceback and nothing half-written."""
    with pytest.raises(SystemExit) as end:
        dd_generate(*overrides)
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("dd-generate: error: ")
    assert message in captured.err
    assert not Path("data").exists()


def test_custom_classes_can_be_given_on_the_command_line(dd_generate) -> None:
    words = ("cat", "hot air balloon", "zebra")
    dd_generate("vocabulary.classes=[cat,hot air balloon,zebra]", "num_images=3", "dry_run=true")
    orders = (order for count in (1, 2, 3) for order in permutations(words, count))
    assert {line["class_prompt"] for line in lines("data/prompts.jsonl")} <= {" ".join(order) for order in orders}


def test_captions_from_a_file_do_not_need_the_toy_models_words(dd_generate) -> None:
    Path("c.jsonl").write_text('{"caption": "a zebra"}\n')
    settings = ("prompts.template=toy", "vocabulary.classes=[zebra]", "prompts=file", "prompts.path=c.jsonl")
    dd_generate(*settings, "dry_run=true")
    assert {line["class_prompt"] for line in lines("data/prompts.jsonl")} == {"zebra"}


def test_a_class_can_be_given_another_word(dd_generate) -> None:
    dd_generate("vocabulary.words={aeroplane: airplane}", "num_images=60", "dry_run=true")
    plan = [line for line in lines("data/prompts.jsonl") if 1 in line["class_ids"]]
    assert plan
    for line in plan:
        assert "airplane" in line["class_prompt"]
        assert "airplane" in line["caption"]
        assert "aeroplane" not in line["caption"] + line["class_prompt"]


def test_language_model_captions_are_planned_by_one_process(
    dd_generate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = build_tiny_language_model(tmp_path / "writer")
    capsys.readouterr()  # Discards what writing the model printed.
    arguments = (
        "prompts=llm",
        f"prompts.writer.path={writer}",
        "prompts.writer.dtype=float32",
        "prompts.writer.cache_dir=cache",
        "prompts.classes_per_image=[1]",
        "vocabulary.classes=[dog,cat]",
        "num_images=6",
    )
    refused(dd_generate, capsys, "prompts=llm: several processes need a finished plan", *arguments, "shard=0/2")
    dd_generate(*arguments, "dry_run=true")
    assert "captions by writer: " in capsys.readouterr().out
    plan = Path("data/prompts.jsonl").read_bytes()
    assert b"caption by writer" in plan
    # The model is no longer needed.
    shutil.rmtree(writer)
    dd_generate(*arguments, "shard=0/2")
    dd_generate(*arguments, "shard=1/2")
    assert Path("data/prompts.jsonl").read_bytes() == plan
    assert Path("data/ImageSets/Segmentation/train.txt").is_file()


def test_a_class_appended_twice_has_one_mask(dd_generate) -> None:
    entries = [{"id": "a", "caption": "two dogs and a cat; dog cat dog", "class_prompt": "dog cat dog"}]
    Path("captions.json").write_text(json.dumps(entries))
    dd_generate("prompts=file", "prompts.path=captions.json", "num_images=1")
    (planned,), (record,) = lines("data/prompts.jsonl"), lines("data/manifest.jsonl")
    assert (planned["caption"], planned["class_prompt"]) == ("two dogs and a cat", "dog cat dog")
    assert [entry["name"] for entry in record["classes"]] == ["dog", "cat"]
    dd_generate("prompts=file", "prompts.path=data/prompts.jsonl", "num_images=1", "output_dir=again")
    assert files("again")["SegmentationClass/a.png"] == files("data")["SegmentationClass/a.png"]


def test_an_unusable_language_model_gives_one_line(
    dd_generate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = build_tiny_language_model(tmp_path / "base", chat_template=None)
    capsys.readouterr()  # Discards what writing the model printed.
    cache = "prompts.writer.cache_dir=cache"
    refused(dd_generate, capsys, "has no chat template", "prompts=llm", f"prompts.writer.path={base}", cache)
    absent = f"prompts.writer.path={tmp_path / 'absent'}"
    refused(dd_generate, capsys, "absent: cannot be loaded: ", "prompts=llm", absent, cache)

import math
from dataclasses import asdict, dataclass

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from dataset_diffusion.errors import InputError
from dataset_diffusion.paths import configs_dir
from dataset_diffusion.settings.convert import to_settings
from dataset_diffusion.settings.evaluate import EvaluateSettings
from dataset_diffusion.settings.fields import describe_settings, did_you_mean, find_setting, setting_names
from dataset_diffusion.settings.generate import GenerateSettings
from dataset_diffusion.settings.train import TrainSettings
from dataset_diffusion.vocabulary import choose_vocabulary

REQUIRED = {"output_dir": "data", "num_images": 3, "seed": 0, "batch_size": 2}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(configs_dir() / "generate"), version_base="1.3"):
        return compose("config", list(overrides))


def converted(**settings: object) -> GenerateSettings:
    return to_settings(GenerateSettings, OmegaConf.create({**REQUIRED, **settings}))


@pytest.mark.parametrize("experiment", ["toy", "voc", "voc_fast", "coco", "voc_sdxl", "voc_sd35", "voc_flux"])
def test_experiments_are_complete_and_valid(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    settings = to_settings(GenerateSettings, config)
    assert len(choose_vocabulary(settings.vocabulary).classes) == (80 if experiment == "coco" else 20)
    # Settings missing from the files could not be given on the command line.
    missing = [name for name in setting_names(GenerateSettings) if OmegaConf.select(config, name, default="?") == "?"]
    assert missing == []


def test_the_toy_experiment_is_the_default() -> None:
    assert composed() == composed("experiment=toy")


def test_experiment_voc_has_the_released_settings() -> None:
    settings = to_settings(GenerateSettings, composed("experiment=voc"))
    assert (settings.sampler.num_inference_steps, settings.sampler.guidance_scale) == (100, 7.5)
    assert settings.attention.power == 4
    assert (settings.mask.threshold, settings.mask.uncertainty_threshold) == (0.6, 0.5)
    assert settings.num_images == 40000


def test_settings_survive_a_round_trip_through_a_dict() -> None:
    settings = converted(sampler={"negative_prompt": "ugly, tiled", "guidance_scale": 3})
    assert to_settings(GenerateSettings, OmegaConf.create(asdict(settings))) == settings


def test_a_tilde_expands_to_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    with initialize_config_dir(str(configs_dir() / "train"), version_base="1.3"):
        config = compose("config", ['work_dir="~/runs/a"', '++data.train.real.root="~/voc"', 'val="b~/c"'])
    settings = to_settings(TrainSettings, config)
    assert settings.work_dir == "/home/ada/runs/a"
    assert settings.data.train["real"].root == "/home/ada/voc"
    assert settings.val == "b~/c"


def test_command_line_text_is_converted_to_types() -> None:
    settings = converted(num_images="5", sampler={"guidance_scale": 7}, attention={"power": "0"})
    assert (settings.num_images, settings.sampler.guidance_scale, settings.attention.power) == (5, 7.0, 0)
    assert isinstance(settings.sampler.guidance_scale, float)
    assert converted(dry_run="false").dry_run is False
    assert converted(output_dir=2024, model={"revision": 1e3}).output_dir == "2024"


@pytest.mark.parametrize("settings_class", [GenerateSettings, TrainSettings, EvaluateSettings])
def test_every_setting_has_a_description_for_the_help(settings_class: type) -> None:
    descriptions = describe_settings(settings_class)
    assert [name for name in setting_names(settings_class) if not descriptions[name]] == []


def test_settings_are_found_by_name() -> None:
    @dataclass
    class Folder:
        root: str

    @dataclass
    class Data:
        train: dict[str, Folder] | None
        words: dict[str, str]
        folder: Folder | None

    kinds = {
        "train": "setting",
        "train.real": "entry",
        "train.real.root": "entry",
        "train.real.rot": None,
        "words.a": "entry",
        "words.a.b": None,
        "folder": "group",
        "folder.root": "setting",
        "folder.root.x": None,
        "": None,
    }
    assert {name: find_setting(Data, name) for name in kinds} == kinds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_images": "many"}, "num_images=many: must be a whole number"),
        ({"num_images": 1.5}, "num_images=1.5: must be a whole number"),
        ({"num_images": True}, "num_images=true: must be a whole number"),
        ({"num_images": 0}, "num_images=0: must be 1 or more, or null for each caption once"),
        ({"seed": None}, "seed=null: must have a value"),
        ({"seed": -1}, "seed=-1: must be 0 or more"),
        ({"seed": "???"}, "seed: is missing; give it as seed=VALUE"),
        ({"batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"vocabulary": "voc"}, "vocabulary=voc: is a group of settings, not a setting"),
        ({"vocabulary": {"classes": []}}, "vocabulary.classes=[]: list at least one, e.g. '[cat,hot air balloon]'"),
        ({"vocabulary": {"name": ""}}, "vocabulary.name=: name voc, coco or a .yaml file"),
        ({"output_dir": ""}, "output_dir=: name a folder"),
        ({"model": "x"}, "model=x: is a group of settings, not a setting"),
        ({"model": {"path": ""}}, "model.path=: name a hub id or a pipeline folder"),
        ({"model": {"dtype": "int8"}}, "model.dtype=int8: must be one of float32, bfloat16, float16"),
        ({"model": {"pth": "x"}}, "model.pth: no such setting; did you mean model.path?"),
        ({"threshold": 0.5}, "threshold: no such setting; did you mean mask.threshold?"),
        ({"sampler": {"num_inference_steps": 0}}, "sampler.num_inference_steps=0: must lie in 1 ... 1000"),
        ({"sampler": {"guidance_scale": math.nan}}, "sampler.guidance_scale=nan: must be a number of 0 or more"),
        ({"sampler": {"guidance_scale": math.inf}}, "sampler.guidance_scale=inf: must be a number of 0 or more"),
        ({"attention": {"power": -1}}, "attention.power=-1: must lie in 0 ... 64"),
        ({"attention": {"cross_resolution": 0}}, "attention.cross_resolution=0: must be 1 or more, or null"),
        ({"mask": {"threshold": "a"}}, "mask.threshold=a: must be a number"),
        ({"mask": {"threshold": 1.3}}, "mask.threshold=1.3: must lie in [0, 1]"),
        ({"mask": {"threshold": 0.3}}, "mask.uncertainty_threshold=0.5: must not be above mask.threshold=0.3"),
        ({"prompts": {"source": "blip"}}, "prompts.source=blip: must be one of template, llm, coco, voc, images, file"),
        (
            {"prompts": {"mode": "all"}},
            "prompts.mode=all: must be one of simple, caption, classes, caption_and_classes",
        ),
        ({"prompts": {"template": "odd"}}, "prompts.template=odd: must be one of generic, toy"),
        (
            {"prompts": {"classes_per_image": [0, 0]}},
            "prompts.classes_per_image=[0.0, 0.0]: must be weights of images with 1, 2, ... classes, "
            "e.g. [0.6,0.3,0.1]",
        ),
        ({"prompts": {"source": "file"}}, "prompts.path=null: name the JSON file of captions (prompts.path=FILE)"),
        ({"prompts": {"source": "images"}}, "prompts.path=null: name the folder of images (prompts.path=DIR)"),
        ({"prompts": {"source": "coco"}}, "prompts.data_root=null: name the folder of COCO's annotations/"),
        ({"prompts": {"source": "voc", "data_root": "x"}}, "prompts.split=null: name a split, e.g. train"),
        ({"prompts": {"captioner": {"batch_size": 0}}}, "prompts.captioner.batch_size=0: must be 1 or more"),
        ({"sampler": {"guidance_scale": False}}, "sampler.guidance_scale=false: must be a number"),
        ({"dry_run": "perhaps"}, "dry_run=perhaps: must be true or false"),
        ({"prompts": {"fill": "perhaps"}}, "prompts.fill=perhaps: must be one of reuse, template, none"),
        ({"prompts": {"path": True}}, "prompts.path=true: must be text"),
        ({"prompts": {"classes_per_image": [0.5, "a"]}}, "prompts.classes_per_image[1]=a: must be a number"),
        (
            {"prompts": {"classes_per_image": 2}},
            "prompts.classes_per_image=2: must be a list, e.g. 'prompts.classes_per_image=[one,two]'",
        ),
        ({"vocabulary": {"words": {"sofa": None}}}, "vocabulary.words.sofa=null: must have a value"),
        (
            {"vocabulary": {"words": "x"}},
            "vocabulary.words=x: must be names with values, e.g. 'vocabulary.words={one: 1, two: 2}'",
        ),
        ({"writer": "zip"}, "writer=zip: must be one of voc, coco"),
        (
            {"splits": {"train": 0.9, "val": 0.2}},
            "splits={'train': 0.9, 'val': 0.2}: add up to 1.1; the shares must add up to 1",
        ),
        ({"splits": {"val": 1}}, "splits={'val': 1.0}: needs a split train, e.g. '{train: 0.9, val: 0.1}'"),
        ({"splits": {"train": 1, "val": 0}}, "splits.val=0.0: must lie in (0, 1]"),
    ],
)
def test_a_wrong_setting_is_named_with_a_remedy(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        converted(**settings)
    assert str(error.value) == message


def test_suggestions_prefer_the_last_part_of_a_name() -> None:
    known = ["num_images", "model.path", "sampler.guidance_scale"]
    assert did_you_mean("guidance_scale", known) == "; did you mean sampler.guidance_scale?"
    assert did_you_mean("model.pth", ["prompts.path", *known]) == "; did you mean model.path?"
    assert did_you_mean("num_image", known) == "; did you mean num_images?"
    assert did_you_mean("zebra", known) == ""

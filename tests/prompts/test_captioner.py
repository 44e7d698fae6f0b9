"""BLIP with random weights, run through its real processor and generate()."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image
from transformers import AutoTokenizer, BertConfig, BlipForConditionalGeneration, BlipImageProcessorPil

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts import captioner
from dataset_diffusion.prompts.captioner import GENERATION, caption_images
from dataset_diffusion.settings.generate import CaptionerSettings
from tests.tiny_blip import build_tiny_blip

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (255, 255, 0))


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = []
    for number, colour in enumerate(COLOURS):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (30 + number, 20), colour).save(paths[-1])
    return paths


def settings(blip: Path, tmp_path: Path, **changes: object) -> CaptionerSettings:
    return CaptionerSettings(**{"path": str(blip), "batch_size": 2, "cache_dir": str(tmp_path / "cache")} | changes)


class StoppedError(Exception):
    pass


def refuse_to_load(*_: object) -> None:
    raise StoppedError


def caption_by_hand(blip: Path, path: Path) -> str:
    """Caption one image with the model directly, without the captioner."""
    pixels = BlipImageProcessorPil.from_pretrained(blip)(Image.open(path).convert("RGB"), return_tensors="pt")
    with torch.no_grad():
        tokens = BlipForConditionalGeneration.from_pretrained(blip).generate(**pixels, **GENERATION)
    return AutoTokenizer.from_pretrained(blip).decode(tokens[0], skip_special_tokens=True).strip()


def test_each_image_gets_its_own_caption(blip: Path, images: list[Path], tmp_path: Path) -> None:
    captions = caption_images(images, settings(blip, tmp_path), progress=False)
    assert captions == [caption_by_hand(blip, path) for path in images]
    assert len(set(captions)) == len(captions)


def test_finished_captions_need_no_model(
    blip: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = caption_images(images, settings(blip, tmp_path), progress=False)
    monkeypatch.setattr(captioner, "load_captioner", refuse_to_load)
    # Images are recognised by content, so a moved file is the same image.
    moved = images[0].rename(tmp_path / "moved.png")
    again = settings(blip, tmp_path, batch_size=1)
    assert caption_images([moved, *images[1:]], again, progress=False) == captions
    for changed in (settings(blip, tmp_path, revision="x"), settings(blip, tmp_path, cache_dir=str(tmp_path / "new"))):
        with pytest.raises(StoppedError):
            caption_images([moved], changed, progress=False)


def test_a_photo_is_captioned_upright(blip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upright = Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    stored, exif = upright.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # Viewers rotate it by 90 degrees clockwise.
    # PNG is lossless.
    stored.save(tmp_path / "photo.png", exif=exif)
    opened = captioner._open(tmp_path / "photo.png")
    assert opened.size == (40, 24)
    assert opened.tobytes() == upright.tobytes()
    # A caption that an earlier version cached by file content alone is not used.
    chosen = settings(blip, tmp_path)
    caption_images([tmp_path / "photo.png"], chosen, progress=False)
    (cache,) = (tmp_path / "cache").iterdir()
    digest = hashlib.sha256((tmp_path / "photo.png").read_bytes()).hexdigest()
    cache.write_text(json.dumps({"image": digest, "caption": "a fallen tower"}) + "\n")
    monkeypatch.setattr(captioner, "load_captioner", lambda _: lambda paths: ["a tower"] * len(paths))
    for _ in range(2):
        assert caption_images([tmp_path / "photo.png"], chosen, progress=False) == ["a tower"]


def test_a_stopped_run_resumes(blip: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = caption_images(images, settings(blip, tmp_path, cache_dir=str(tmp_path / "whole")), progress=False)
    load, calls = captioner.load_captioner, []

    def load_and_count(chosen: CaptionerSettings, stop_at: int):
        write = load(chosen)

        def write_or_stop(paths: list[Path]) -> list[str]:
            calls.append([path.name for path in paths])
            if len(calls) == stop_at:
                raise StoppedError
            return write(paths)

        return write_or_stop

    monkeypatch.setattr(captioner, "load_captioner", lambda chosen: load_and_count(chosen, stop_at=2))
    with pytest.raises(StoppedError):
        caption_images(images, settings(blip, tmp_path), progress=False)
    (cache,) = (tmp_path / "cache").iterdir()
    assert len(cache.read_text().splitlines()) == 2
    cache.write_bytes(cache.read_bytes() + b'{"image": "half of a li')
    calls.clear()
    monkeypatch.setattr(captioner, "load_captioner", lambda chosen: load_and_count(chosen, stop_at=0))
    assert caption_images(images, settings(blip, tmp_path), progress=False) == whole
    assert calls == [["2.png", "3.png"], ["4.png"]]
    readable = [line for line in cache.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["caption"] for line in readable] == whole


def test_unusable_models_images_and_caches_are_named(blip: Path, images: list[Path], tmp_path: Path) -> None:
    def message(paths: list[Path], **changes: object) -> str:
        with pytest.raises(InputError) as error:
            caption_images(paths, settings(blip, tmp_path, **changes), progress=False)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert message(images, path="nowhere/blip").startswith("prompts.captioner.path=nowhere/blip: cannot be loaded: ")
    (tmp_path / "other").mkdir()
    BertConfig().save_pretrained(tmp_path / "other")
    assert message(images, path=str(tmp_path / "other")).endswith("other: is a bert; only BLIP models work")
    assert message(images, device="abacus").startswith("prompts.captioner.device=abacus: must be auto, ")
    absent = tmp_path / "absent.png"
    assert message([absent]) == f"{absent}: cannot be read: No such file or directory"
    absent.write_bytes(b"no image")
    assert message([absent]).startswith(f"{absent}: not a readable image (")
    (tmp_path / "file").touch()
    assert "cannot be" in message(images[:1], cache_dir=str(tmp_path / "file"))


def test_the_model_has_the_files_of_a_published_one(blip: Path) -> None:
    names = {path.name for path in blip.iterdir()}
    assert {"config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"} <= names

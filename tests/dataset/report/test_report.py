"""A folder's report: its figures against hand-counted ones, its page in a real browser."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.dataset.filter import filter_split
from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import ClassRecord, Manifest, SampleRecord
from dataset_diffusion.dataset.quality import Quality
from dataset_diffusion.dataset.report import write
from dataset_diffusion.dataset.report.pictures import MAP_SIDE, mean_maps
from dataset_diffusion.dataset.report.statistics import collect_statistics, evenly_spaced
from dataset_diffusion.dataset.report.write import write_report
from dataset_diffusion.dataset.source import Labels
from dataset_diffusion.settings.filter import FilterSettings
from dataset_diffusion.vocabulary import load_vocabulary
from tests.dataset.made_folder import make_folder, rewrite_manifest
from tests.dataset.report.browser import CHROMIUM, Page, opened_page

VOC = load_vocabulary("voc")
LABELS = Labels(VOC.label_names, VOC.palette)
EVIL = "a </script><script>alert(1)</script> <!-- & \"dog\" $title 'by' the sea"


def scored(record: SampleRecord, confidence: float, **changes: object) -> SampleRecord:
    quality = Quality(confidence, confidence / 2, 3, -0.5, 0.25, f"{int(1000 * confidence):016x}")
    return replace(record, quality=quality, **changes)  # type: ignore[arg-type]


def dog(share: float, confidence: float) -> ClassRecord:
    return ClassRecord("dog", 12, share, confidence)


def cat(share: float, confidence: float) -> ClassRecord:
    return ClassRecord("cat", 8, share, confidence)


BASE = SampleRecord("0", 1, "one", (dog(0.5, 0.75),), 0.25, "aa", "bb")
RECORDS = [
    scored(BASE, 0.9),
    scored(BASE, 0.2, id="1", classes=(dog(0.25, 0.9), cat(0.0, 0.0)), ignored=0.75),
    scored(BASE, 0.6, id="2", classes=(cat(0.1, 0.5), dog(0.25, 0.5)), source="captions.json: image 3"),
]


def test_figures_equal_those_counted_by_hand() -> None:
    found = collect_statistics(RECORDS, LABELS)
    by_name = {entry.name: entry for entry in found.classes}
    dogs, cats, sofas = by_name["dog"], by_name["cat"], by_name["sofa"]
    assert (dogs.asked, dogs.found, dogs.pixels) == (3, 3, pytest.approx(1 / 3))
    assert dogs.confidence == pytest.approx((0.5 * 0.75 + 0.25 * 0.9 + 0.25 * 0.5) / 1)
    assert (cats.asked, cats.found, cats.confidence) == (2, 1, 0.5)
    assert (sofas.asked, sofas.confidence) == (0, None)
    assert dogs.areas.counts[5] == 2
    assert dogs.areas.counts[10] == 1
    assert found.pairs == [("cat", "dog", 2, 1)]
    assert found.ignored == pytest.approx(1.25 / 3)
    assert found.sources == {"template": 2, "captions.json": 1}
    assert [record.id for record in found.best["confidence"]] == ["0", "2", "1"]
    assert [record.id for record in found.worst["ignored"]] == ["1", "0", "2"]
    assert found.scores["edges"].counts[5] == 3
    assert found.means["confidence"] == pytest.approx(1.7 / 3)


def test_maps_show_where_a_class_is(tmp_path: Path) -> None:
    folder = VocFolder(tmp_path, VOC.palette)
    folder.prepare()
    for index, left in enumerate((True, False)):
        labels = np.zeros((2 * MAP_SIDE, 4 * MAP_SIDE), np.uint8)
        labels[:, : 2 * MAP_SIDE] = 12 if left else 255
        folder.write(str(index), np.zeros((*labels.shape, 3), np.uint8), labels)
    maps = mean_maps(folder, ["0", "1", "gone"], len(LABELS.names))
    assert np.allclose(maps[12, :, : MAP_SIDE // 2], 0.5)
    assert np.allclose(maps[12, :, MAP_SIDE // 2 :], 0)
    assert np.allclose(maps[0, :, MAP_SIDE // 2 :], 1)


@pytest.mark.parametrize(("count", "expected"), [(0, []), (3, [0, 1, 2]), (10, [0, 3, 6, 9]), (101, [0, 33, 67, 100])])
def test_samples_are_spread_evenly(count: int, expected: list[int]) -> None:
    assert evenly_spaced(count, 4) == expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 samples, the first 30 with a dog; confidence rises from 0 to 0.975."""
    path = tmp_path_factory.mktemp("report") / "made"
    records = [
        scored(record, index / 40, classes=(dog(0.2, 0.5),) if index < 30 else (cat(0.2, 0.5),))
        for index, record in enumerate(make_folder(path, 40, splits={"train": 0.7, "val": 0.3}))
    ]
    records[7] = replace(records[7], caption=EVIL)
    rewrite_manifest(path, records)
    filter_split(FilterSettings(str(path), min={"confidence": 0.5}))
    return path


def page_text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_links_to_nothing_and_runs_only_its_own_script(folder: Path) -> None:
    page = page_text(folder)
    assert "default-src 'none'" in page
    assert page.count("<script") == page.count("</script") == 2
    without_data = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    without_pictures = re.sub(r'src="data:image/\w+;base64,[^"]*"', "", without_data).replace(write.CITATION, "")
    assert not re.search(r"(?:\bsrc=|href=\"[^#]|action=|url\(|@import|https?:)", without_pictures)


def test_report_json_has_the_pages_content(folder: Path) -> None:
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert content["samples"] == 40
    assert {name: number for name, number in content["splits"].items() if number} == content["splits"]
    assert sum(content["splits"].values()) == 40
    (filtered,) = content["filters"]
    train = (folder / "ImageSets/Segmentation/train.txt").read_text().split()
    kept = (folder / "ImageSets/Segmentation/train_filtered.txt").read_text().split()
    assert (filtered["kept"], filtered["left_out"]) == (len(kept), len(train) - len(kept))
    assert filtered["reasons"] == {"confidence": len(train) - len(kept)}
    assert content["scores"]["confidence"]["worst"][:2] == ["000000", "000001"]
    assert content["settings"]["splits"] == {"train": 0.7, "val": 0.3}


def test_thumbnails_do_not_grow_with_the_dataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "GALLERY_SAMPLES", 5)
    before = page_text(folder)
    write_report(folder)
    samples = json.loads(re.search(r'id="data">(.*?)</script>', page_text(folder), re.DOTALL)[1])["samples"]  # type: ignore[index]
    assert sum(sample["even"] for sample in samples) == 5
    monkeypatch.undo()
    write_report(folder)
    assert page_text(folder) == before


def test_a_folder_from_an_older_version_gets_a_report(tmp_path: Path) -> None:
    make_folder(tmp_path, 3)
    rewrite_manifest(tmp_path, [replace(record, quality=None) for record in Manifest(tmp_path).read().values()])
    write_report(tmp_path)
    assert "have no scores" in page_text(tmp_path)


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with opened_page(folder / "report.html", tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def shown(page: Page) -> list[str]:
    details = page.evaluate("[...document.querySelectorAll('#gallery .detail')].map((text) => text.textContent)")
    return [text.partition(":")[0] for text in details]


def choose(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.evaluate(
            f"(() => {{ const control = document.getElementById('{name}'); control.value = {json.dumps(value)};"
            "control.dispatchEvent(new Event('input')); })()"
        )


def test_a_browser_shows_every_picture_without_complaints(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('#gallery figure').length") == 24
    page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    loaded = "Promise.all([...document.images].map((image) => image.decode().then(() => image.naturalWidth > 0)))"
    assert all(page.evaluate(loaded))
    assert page.complaints == []
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        assert picture.width >= 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50


def test_captions_are_shown_as_plain_text(page: Page) -> None:
    captions = page.evaluate("[...document.querySelectorAll('#gallery figcaption')].map((text) => text.textContent)")
    assert any(caption.startswith(EVIL) for caption in captions)


def test_the_filter_keeps_matching_samples_and_pages_through_them(page: Page) -> None:
    choose(page, **{"class": "dog", "score": "confidence", "least": "0.1", "most": "", "order": "down"})
    # Dogs are 0 ... 29; samples from 4 on have a confidence of at least 0.1.
    assert shown(page) == [f"{index:06d}" for index in range(29, 5, -1)]
    assert page.evaluate("document.getElementById('found').textContent") == "26 samples, page 1 of 2"
    page.evaluate("document.getElementById('next').click()")
    assert shown(page) == ["000005", "000004"]
    assert page.evaluate("document.getElementById('next').disabled")
    choose(page, **{"class": "cat", "least": "", "most": "0.8", "order": ""})
    assert shown(page) == ["000030", "000031", "000032"]
    choose(page, **{"class": "", "most": ""})
    assert len(shown(page)) == 24
    assert page.complaints == []

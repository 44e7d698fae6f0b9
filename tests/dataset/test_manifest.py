import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataset_diffusion.dataset.folder import WrittenFiles
from dataset_diffusion.dataset.manifest import (
    MANIFEST_FILE,
    ClassRecord,
    Manifest,
    SampleRecord,
    record_sample,
)
from dataset_diffusion.errors import InputError
from dataset_diffusion.types import LabelMask, Prompt
from dataset_diffusion.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary("voc")
PROMPT = Prompt("000000", "a café\u2028 with a table", (11, 15), seed=7)
RECORD = SampleRecord("000000", 7, "a café\u2028", (ClassRecord("person", 15, 0.25, 0.75),), 0.125, "aa", "bb")


def test_a_record_counts_the_pixels_of_the_mask() -> None:
    labels = np.array([[0, 0, 0, 0], [11, 11, 255, 0]], np.uint8)
    mask = LabelMask(labels, (11, 15), (0.7, 0.0))
    record = record_sample(PROMPT, mask, WrittenFiles("aa", "bb"), VOCABULARY)
    assert record.classes == (ClassRecord("diningtable", 11, 0.25, 0.7), ClassRecord("person", 15, 0.0, 0.0))
    assert record.ignored == 0.125
    assert (record.id, record.seed, record.caption) == ("000000", 7, PROMPT.caption)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert manifest.read() == {}
    other = replace(RECORD, id="000001")
    manifest.write([RECORD, other])
    assert manifest.read() == {"000000": RECORD, "000001": other}
    lines = (tmp_path / MANIFEST_FILE).read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[0])["classes"] == [{"name": "person", "label": 15, "share": 0.25, "confidence": 0.75}]


@pytest.mark.parametrize("line", ["", "{", "3", "[]", '{"id": "000000"}', '{"id": 1, "classes": [3]}', "\0\0"])
def test_a_bad_line_that_a_killed_run_cannot_leave_is_named(tmp_path: Path, line: str) -> None:
    manifest = Manifest(tmp_path)
    manifest.write([RECORD])
    with (tmp_path / MANIFEST_FILE).open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(InputError, match=r"manifest\.jsonl: line 2: not a record"):
        manifest.read()

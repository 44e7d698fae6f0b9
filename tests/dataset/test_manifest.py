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
    encode_plan,
    record_sample,
)
from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.caption_file import read_caption_file
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
    manifest.write([RECORD])
    other = replace(RECORD, id="000001")
    manifest.append([other])
    assert manifest.read() == {"000000": RECORD, "000001": other}
    lines = (tmp_path / MANIFEST_FILE).read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[0])["classes"] == [{"name": "person", "label": 15, "share": 0.25, "confidence": 0.75}]


def test_a_manifest_cut_at_any_byte_is_read_up_to_there(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.write([RECORD, replace(RECORD, id="000001")])
    whole = (tmp_path / MANIFEST_FILE).read_bytes()
    first_line = whole.index(b"\n") + 1
    for length in range(len(whole)):
        (tmp_path / MANIFEST_FILE).write_bytes(whole[:length])
        assert list(manifest.read()) == ["000000"] * (length >= first_line)


@pytest.mark.parametrize("line", ["", "{", "3", "[]", '{"id": "000000"}', '{"id": 1, "classes": [3]}', "\0\0"])
def test_a_bad_line_that_no_kill_could_leave_is_named(tmp_path: Path, line: str) -> None:
    manifest = Manifest(tmp_path)
    manifest.write([RECORD])
    with (tmp_path / MANIFEST_FILE).open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(InputError, match=r"manifest\.jsonl: line 2: not a record"):
        manifest.read()


def test_the_plan_is_a_caption_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(encode_plan([PROMPT], VOCABULARY))
    (entry,) = read_caption_file(path, VOCABULARY)
    assert (entry.sample_id, entry.caption, entry.class_ids) == (PROMPT.sample_id, PROMPT.caption, PROMPT.class_ids)

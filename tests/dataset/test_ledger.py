from dataclasses import replace
from pathlib import Path

import pytest

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.ledger import Ledger, Part, _with_position, remove_parts
from dataset_diffusion.dataset.manifest import ClassRecord, Manifest, SampleRecord, encode_record
from dataset_diffusion.dataset.plan import StoredPlan, plan_lines
from dataset_diffusion.errors import InputError
from dataset_diffusion.processes import Share
from dataset_diffusion.types import Prompt
from dataset_diffusion.vocabulary import load_vocabulary

PROMPTS = [Prompt(f"{index:06d}", "a cat", (8,), seed=index) for index in range(6)]
RECORDS = [
    SampleRecord(prompt.sample_id, prompt.seed, "a cat", (ClassRecord("cat", 8, 0.5, 0.5),), 0.0, "aa", "bb")
    for prompt in PROMPTS
]


@pytest.fixture
def folder(tmp_path: Path) -> VocFolder:
    (tmp_path / "prompts.jsonl").write_bytes(b"".join(plan_lines(PROMPTS, load_vocabulary("voc"))))
    folder = VocFolder(tmp_path, ())
    folder.prepare()
    for prompt in PROMPTS:
        folder.image_path(prompt.sample_id).touch()
        folder.mask_path(prompt.sample_id).touch()
    return folder


def test_a_ledger_follows_appended_parts_but_not_a_merge(folder: VocFolder) -> None:
    part = Part(folder.path, Share())
    part.append([(4, RECORDS[4])])
    plan = StoredPlan(folder.path)
    ledger = Ledger(folder, plan)
    part.append([(1, RECORDS[1]), (2, "000002")])
    assert ledger.is_of_now()
    ledger.refresh()
    assert bytes(ledger.finished) == bytes([0, 1, 1, 0, 1, 0])
    assert bytes(ledger.failed) == bytes([0, 0, 1, 0, 0, 0])
    assert list(ledger.records()) == [RECORDS[1], RECORDS[4]]
    Manifest(folder.path).write([RECORDS[1], RECORDS[4], RECORDS[5]])
    assert not ledger.is_of_now()
    remove_parts(folder.path)
    assert not ledger.is_of_now()
    ledger = Ledger(folder, plan)
    assert list(ledger.records()) == [RECORDS[1], RECORDS[4], RECORDS[5]]
    part.close()


def test_a_half_written_line_is_read_once_it_is_complete(folder: VocFolder) -> None:
    (folder.path / "manifest.parts").mkdir()
    part = folder.path / "manifest.parts/0-0of1-x.jsonl"
    line = _with_position(1, encode_record(RECORDS[1]))
    part.write_bytes(line[:-20])
    ledger = Ledger(folder, StoredPlan(folder.path))
    assert ledger.num_finished == 0
    part.write_bytes(line)
    ledger.refresh()
    assert list(ledger.records()) == [RECORDS[1]]


def test_a_samples_last_line_counts_and_lines_of_unknown_samples_do_not(folder: VocFolder) -> None:
    part = Part(folder.path, Share())
    part.append([(2, "000002"), (0, RECORDS[3]), (6, RECORDS[5]), (2, RECORDS[2])])
    part.close()
    ledger = Ledger(folder, StoredPlan(folder.path))
    assert (ledger.num_failed, list(ledger.records())) == (0, [RECORDS[2]])


def test_more_parts_than_the_limit_on_open_files_are_merged(tmp_path: Path) -> None:
    """Records of the old manifest also stay readable when it is replaced."""
    resource = pytest.importorskip("resource")
    prompts = [PROMPTS[0]._replace(sample_id=f"{index:06d}") for index in range(300)]
    records = [replace(RECORDS[0], id=prompt.sample_id) for prompt in prompts]
    (tmp_path / "prompts.jsonl").write_bytes(b"".join(plan_lines(prompts, load_vocabulary("voc"))))
    Manifest(tmp_path).write(records[-1:])
    for index, record in enumerate(records[:-1]):
        part = Part(tmp_path, Share(index, len(records)))
        part.append([(index, record)])
        part.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        folder = VocFolder(tmp_path, ())
        folder.prepare()
        for record in records:
            folder.image_path(record.id).touch()
            folder.mask_path(record.id).touch()
        ledger = Ledger(folder, StoredPlan(tmp_path))
        Manifest(tmp_path).write_lines(ledger.manifest_lines())
        assert list(ledger.records()) == list(Manifest(tmp_path).read().values()) == records
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


LINE = encode_record(RECORDS[1]).decode().strip()


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "3",
        '{"id": "000001"}',
        LINE.replace('"label": 8, ', ""),
        LINE.replace('"quality": null', '"quality": {"flatness": 1}'),
        LINE.replace('"quality": null', '"other": null'),
    ],
)
def test_a_manifest_line_that_is_not_a_record_is_named(folder: VocFolder, line: str) -> None:
    manifest = Manifest(folder.path)
    manifest.write(RECORDS[:1])
    with (folder.path / "manifest.jsonl").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(InputError, match=r"manifest\.jsonl: line 2: not a record"):
        Ledger(folder, StoredPlan(folder.path))

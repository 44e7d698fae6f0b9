import pytest

from dataset_diffusion import parallel
from dataset_diffusion.prompts import writing
from dataset_diffusion.prompts.entries import Entry
from dataset_diffusion.prompts.templates import TemplateWriter
from dataset_diffusion.prompts.writing import write_captions
from dataset_diffusion.vocabulary import load_vocabulary


def test_several_processes_write_the_same_captions_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    write_caption = TemplateWriter(load_vocabulary("voc")).caption
    # Every third entry already has a caption.
    entries = [
        Entry(f"{index:06d}", None if index % 3 else "as it is", (1 + index % 20,), "template") for index in range(50)
    ]
    alone = list(write_captions(entries, write_caption, seed=3))
    monkeypatch.setattr(writing, "AT_ONCE", 7)
    monkeypatch.setattr(parallel, "FEW", 2)
    monkeypatch.setattr(parallel, "CHUNK", 2)
    monkeypatch.setattr(parallel, "available_cores", lambda: 2)
    assert list(write_captions(entries, write_caption, seed=3)) == alone
    assert [entry.caption == "as it is" for entry in alone] == [index % 3 == 0 for index in range(50)]
    assert [entry.sample_id for entry in alone] == [entry.sample_id for entry in entries]

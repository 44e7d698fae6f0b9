"""Files of captions: a JSON list, or JSON Lines, of `{"filename", "caption", "class_prompt"}`."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.vocabulary import Vocabulary

FORMAT_REMEDY = 'write a JSON list, or one line each, of {"caption": "...", "class_prompt": "..."}'
# A sample id becomes a file name: it must be one on every system.
_SAMPLE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class CaptionEntry:
    """A caption (without the classes that may have been appended to it) and its classes, possibly none."""

    sample_id: str
    caption: str
    class_ids: tuple[int, ...]


def read_caption_file(path: str | Path, vocabulary: Vocabulary) -> list[CaptionEntry]:
    """All entries of a caption file, in its order.

    `filename` (optional): its stem is the sample id; without one, it is the entry's position ("000000", ...).
    `caption`: may end in "; <class_prompt>", as the files published with the paper do; that ending is taken off.
    `class_prompt` (optional): class names, words or synonyms; where it is missing or null, the classes are those that
    the caption names. Other keys are left alone.

    Raises InputError that names the file and the entry or line: unreadable or malformed file, an ill-typed value, a
    word of a class prompt that is no class, a sample id that is used twice or is no file name.
    """
    finder = ClassFinder(vocabulary)
    entries: list[CaptionEntry] = []
    places: dict[str, str] = {}
    for index, (place, record) in enumerate(_records(Path(path))):
        entry = _parse_entry(f"{path}: {place}", index, record, finder, vocabulary.name)
        # Some file systems do not tell small and capital letters apart.
        first = places.setdefault(entry.sample_id.lower(), place)
        if first != place:
            raise InputError(f"{path}: {place}: sample {entry.sample_id!r} is {first} already; make filenames unique")
        entries.append(entry)
    return entries


def _records(path: Path) -> Iterator[tuple[str, object]]:
    """What the file lists, each with its place ("entry 3" of a list, "line 3" of JSON Lines), counted from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"prompts.file={path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 text ({error}); {FORMAT_REMEDY}") from error
    if not text.strip():
        raise InputError(f"{path}: is empty; {FORMAT_REMEDY}")
    if text.lstrip().startswith("["):
        for position, record in enumerate(_decode(text, path, first_line=1), start=1):
            yield f"entry {position}", record
        return
    # Only line feeds end a line: a caption may hold any of the other characters at which splitlines() cuts.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _decode(line, path, first_line=number)


def _decode(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise InputError(f"{path}: line {line}: not JSON ({error.msg}); {FORMAT_REMEDY}") from error
    except RecursionError as error:
        raise InputError(f"{path}: line {first_line}: nested too deeply; {FORMAT_REMEDY}") from error


def _parse_entry(where: str, index: int, record: object, finder: ClassFinder, vocabulary_name: str) -> CaptionEntry:
    if not isinstance(record, dict):
        raise InputError(f"{where}: is not an object; {FORMAT_REMEDY}")
    if "caption" not in record:
        raise InputError(f"{where}: has no caption; {FORMAT_REMEDY}")
    caption = _text(where, "caption", record["caption"])
    filename = record.get("filename")
    sample_id = f"{index:06d}" if filename is None else _sample_id(where, _text(where, "filename", filename))
    if record.get("class_prompt") is None:
        return CaptionEntry(sample_id, caption.strip(), finder.find(caption))
    class_prompt = _text(where, "class_prompt", record["class_prompt"])
    class_ids, unknown = finder.parse(class_prompt)
    if unknown is not None:
        raise InputError(
            f"{where}: class_prompt {class_prompt!r}: {unknown!r} is no class of vocabulary {vocabulary_name}; correct "
            "it, or add it to the vocabulary file as a class or a synonym"
        )
    return CaptionEntry(sample_id, _without_classes(caption, class_prompt), class_ids)


def _text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} must be text, is {json.dumps(value)[:40]}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{where}: {key} {value!r} has half a character (a lone surrogate); write it again")
    return value


def _sample_id(where: str, filename: str) -> str:
    stem = PurePosixPath(filename).stem
    if not _SAMPLE_ID.fullmatch(stem):
        raise InputError(
            f"{where}: filename {filename!r}: use letters, digits, '_', '-' and '.' (first a letter, digit or '_'), "
            "200 at most"
        )
    return stem


def _without_classes(caption: str, class_prompt: str) -> str:
    """The caption without the ending "; <class_prompt>", whatever the space and case of that."""
    words = r"\s+".join(map(re.escape, class_prompt.split()))
    return re.sub(rf"\s*;\s*{words}\s*$", "", caption, flags=re.IGNORECASE).strip() if words else caption.strip()

"""Caption files: a JSON list, or JSON Lines, of `{"filename", "caption", "class_prompt"}`; a run's plan is one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from dataset_diffusion.errors import InputError
from dataset_diffusion.prompts.classes import ClassFinder
from dataset_diffusion.prompts.entries import Entry, require_sample_id, with_mentions
from dataset_diffusion.vocabulary import Vocabulary

FORMAT_REMEDY = 'write a JSON list of {"caption": "...", "class_prompt": "..."}, or one of these per line'
MAX_SEED = 2**63


def read_caption_file(path: str | Path, vocabulary: Vocabulary) -> list[Entry]:
    """All entries of a caption file, in file order.

    `id` (optional): the sample id; if it is missing, it is the stem of `filename`, or else the entry's position
    ("000000", ...).
    `caption`: can end in "; <class_prompt>", as in the files published with the paper; that ending is removed.
    `class_prompt` (optional): class names, words or synonyms, which can repeat ("person person sofa");
    if it is missing or null, the classes are those of the caption's ending "; <class_prompt>". If there is no such
    ending either, they are None: they are still to be found in the caption.
    `class_ids`, `seed`, `source` (optional): as in a plan, prompts.jsonl. The labels must be those of the
    class prompt, so that they are not read with another vocabulary; the caption is then used unchanged.
    Other keys are ignored.

    Raises InputError that names the file and the entry or line for an unreadable or malformed file, a value of the
    wrong type, a word of a class prompt that is not a class, or a sample id that is used twice or is not a file name.
    """
    finder = ClassFinder(vocabulary)
    entries: list[Entry] = []
    places: dict[str, str] = {}
    for index, (place, record) in enumerate(_records(Path(path))):
        entry = _parse_entry(Path(path), place, index, record, finder, vocabulary)
        # Some file systems ignore case.
        first = places.setdefault(entry.sample_id.lower(), place)
        if first != place:
            raise InputError(f"{path}: {place}: {first} already has the sample id {entry.sample_id!r}; make ids unique")
        entries.append(entry)
    return entries


def plan_length(path: str | Path) -> int | None:
    """The number of entries of a file in which each has a seed, as in a run's plan; None if any has none.

    Raises InputError, as read_caption_file does, for a file that is not JSON.
    """
    length = 0
    for _, record in _records(Path(path)):
        if not isinstance(record, dict) or record.get("seed") is None:
            return None
        length += 1
    return length


def _records(path: Path) -> Iterator[tuple[str, object]]:
    """The file's records, each with its place ("entry 3" of a list, "line 3" of JSON Lines), counted from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"prompts.path={path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 text ({error}); {FORMAT_REMEDY}") from error
    if not text.strip():
        raise InputError(f"{path}: is empty; {FORMAT_REMEDY}")
    if text.lstrip().startswith("["):
        for position, record in enumerate(_decode(text, path, first_line=1), start=1):
            yield f"entry {position}", record
        return
    # Only line feeds end a line: a caption can contain any of the other characters at which splitlines() splits.
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


def _parse_entry(
    path: Path, place: str, index: int, record: object, finder: ClassFinder, vocabulary: Vocabulary
) -> Entry:
    where = f"{path}: {place}"
    if not isinstance(record, dict):
        raise InputError(f"{where}: is not an object; {FORMAT_REMEDY}")
    if "caption" not in record:
        raise InputError(f"{where}: has no caption; {FORMAT_REMEDY}")
    caption = _text(where, "caption", record["caption"])
    # A run that repeats another run's plan traces a caption to where that run got it from.
    source = record.get("source")
    source = f"{path.name}: {place}" if source is None else _text(where, "source", source)
    caption, mentions = _caption_and_classes(where, caption, record, finder, vocabulary)
    entry = Entry(_sample_id(where, index, record), caption, None, source, _seed(where, record.get("seed")))
    return entry if mentions is None else with_mentions(entry, mentions)


def _caption_and_classes(
    where: str, caption: str, record: dict[str, Any], finder: ClassFinder, vocabulary: Vocabulary
) -> tuple[str, tuple[int, ...] | None]:
    """The caption without appended classes, and its classes, given by labels or words; None if neither is given."""
    if record.get("class_prompt") is None:
        sentence, semicolon, ending = caption.rpartition(";")
        class_ids, unknown = finder.parse(ending)
        # An ending that contains any other word is part of the sentence.
        if semicolon and class_ids and unknown is None:
            return sentence.strip(), class_ids
        return caption.strip(), None
    class_prompt = _text(where, "class_prompt", record["class_prompt"])
    if "class_ids" in record:
        # Words could be read in two ways: "hot dog" is one class or, in other vocabularies, two.
        return caption, _labels(where, record["class_ids"], class_prompt, vocabulary)
    class_ids, unknown = finder.parse(class_prompt)
    if unknown is not None:
        raise InputError(
            f"{where}: class_prompt {class_prompt!r}: {unknown!r} is not a class of vocabulary {vocabulary.name}; "
            "correct it, or add it to the vocabulary file as a class or a synonym"
        )
    return _without_classes(caption, class_prompt), class_ids


def _labels(where: str, labels: Any, class_prompt: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    known = isinstance(labels, list) and all(type(label) is int and label in vocabulary.class_ids for label in labels)
    if not known or vocabulary.class_prompt(labels) != class_prompt:
        raise InputError(
            f"{where}: class_ids {json.dumps(labels)[:40]} are not {class_prompt!r} in vocabulary {vocabulary.name}; "
            "set the vocabulary that the file was made with, or leave class_ids out"
        )
    return tuple(labels)


def _seed(where: str, seed: object) -> int | None:
    if seed is not None and not (type(seed) is int and 0 <= seed < MAX_SEED):
        raise InputError(f"{where}: seed must be a whole number in [0, 2**63), but is {json.dumps(seed)[:40]}")
    return seed


def _text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} must be text, but is {json.dumps(value)[:40]}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{where}: {key} {value!r} has half a character (a lone surrogate); write it again")
    return value


def _sample_id(where: str, index: int, record: dict[str, Any]) -> str:
    sample_id, filename = record.get("id"), record.get("filename")
    if sample_id is not None:
        # COCO's ids are numbers.
        text = str(sample_id) if type(sample_id) is int else _text(where, "id", sample_id)
        return require_sample_id(f"{where}: id", text)
    if filename is not None:
        text = _text(where, "filename", filename)
        return require_sample_id(f"{where}: filename {text!r}: its stem", PurePosixPath(text).stem)
    return f"{index:06d}"


def _without_classes(caption: str, class_prompt: str) -> str:
    """The caption without the ending "; <class_prompt>", whatever its spacing and case."""
    words = r"\s+".join(map(re.escape, class_prompt.split()))
    return re.sub(rf"\s*;\s*{words}\s*$", "", caption, flags=re.IGNORECASE).strip() if words else caption.strip()

"""Texts that a model wrote, kept in a JSON Lines file."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from dataset_diffusion.errors import InputError


class TextCache:
    """A JSON Lines file, {KEY: digest of the request, VALUE: text}, in `folder`, named after the model and `about`.

    Lines are added batch by batch. A stopped run resumes with them, and a run that finds all of them needs no model.
    """

    def __init__(self, folder: str, model: str, about: Sequence[object], names: tuple[str, str]) -> None:
        path = Path(model).expanduser()
        # The same folder can be given relative to different working directories.
        name = str(path.resolve()) if path.is_dir() else model
        key = hashlib.sha256(json.dumps([name, *about]).encode()).hexdigest()[:16]
        self._path = Path(folder).expanduser() / f"{Path(name).name}-{key}.jsonl"
        self._names = names
        self.texts = dict(self._read())

    def add(self, texts: Mapping[str, str]) -> None:
        """Store texts by their digests."""
        key, value = self._names
        lines = "".join(
            json.dumps({key: digest, value: text}, ensure_ascii=False) + "\n" for digest, text in texts.items()
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as stream:
                # A killed run may have left half a line: start a new one.
                stream.write((b"\n" if _is_torn(stream) else b"") + lines.encode())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from error
        self.texts.update(texts)

    def _read(self) -> Iterator[tuple[str, str]]:
        key, value = self._names
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from error
        for line in lines:
            try:
                record = json.loads(line)
                yield str(record[key]), str(record[value])
            except (ValueError, KeyError, TypeError):  # Blank, or half a line of a killed run: the text is regenerated.
                continue


def _is_torn(stream: BinaryIO) -> bool:
    """Whether a file, opened for appending, ends in the middle of a line."""
    if not stream.tell():
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read() != b"\n"

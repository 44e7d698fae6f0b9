"""Texts that a model wrote, kept in a file of JSON Lines."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from dataset_diffusion.errors import InputError


class TextCache:
    """A file of JSON Lines, {KEY: digest of what was asked, VALUE: text}, in `folder`, named by the model and `about`.

    Lines are added batch by batch. A stopped run resumes with them, and one that finds all of them needs no model.
    """

    def __init__(self, folder: str, model: str, about: Sequence[object], names: tuple[str, str]) -> None:
        path = Path(model).expanduser()
        # A folder may be named from anywhere.
        name = str(path.resolve()) if path.is_dir() else model
        key = hashlib.sha256(json.dumps([name, *about]).encode()).hexdigest()[:16]
        self._path = Path(folder).expanduser() / f"{Path(name).name}-{key}.jsonl"
        self._names = names
        self.texts = dict(self._read())

    def add(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their digests."""
        key, value = self._names
        lines = "".join(
            json.dumps({key: digest, value: text}, ensure_ascii=False) + "\n" for digest, text in texts.items()
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as stream:
                # A killed run may have left half a line: the next one begins on its own.
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
            except (ValueError, KeyError, TypeError):  # Blank, or half a line of a killed run: written anew.
                continue


def _is_torn(stream: BinaryIO) -> bool:
    """Whether a file, opened to be added to, ends within a line."""
    if not stream.tell():
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read() != b"\n"

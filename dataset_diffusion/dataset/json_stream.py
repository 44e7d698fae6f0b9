"""Large JSON files, written item by item."""

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from dataset_diffusion.files import TEMPORARY_SUFFIX, explaining_write_errors


class JsonObjectWriter:
    """A JSON file `{**head, "images": [...], "annotations": [...]}` whose arrays need not fit in memory.

    Each array grows in a hidden file next to it. The complete file appears when the `with` block ends without an
    error.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], arrays: Iterable[str]) -> None:
        self._path = path
        self._head = head
        self._arrays = tuple(arrays)
        self._files: dict[str, IO[str]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with explaining_write_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for name in self._arrays:
                file = self._temporary(f".{name}").open("w+", encoding="utf-8")
                self._files[name] = self._stack.enter_context(file)
        return self

    def add(self, array: str, item: Any) -> None:
        """Append an item to an array."""
        file = self._files[array]
        separator = ",\n" if file.tell() else ""
        with explaining_write_errors(self._path):
            file.write(separator + json.dumps(item, ensure_ascii=False))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._stack, explaining_write_errors(self._path):
                if kind is None:
                    self._join()
        finally:
            for name in self._arrays:
                self._temporary(f".{name}").unlink(missing_ok=True)

    def _join(self) -> None:
        temporary = self._temporary("")
        with temporary.open("w", encoding="utf-8") as whole:
            whole.write(json.dumps(self._head, ensure_ascii=False)[:-1])
            for name, file in self._files.items():
                whole.write(f',\n"{name}": [\n')
                file.seek(0)
                shutil.copyfileobj(file, whole)
                whole.write("\n]")
            whole.write("}\n")
        temporary.replace(self._path)

    def _temporary(self, part: str) -> Path:
        return self._path.with_name(f".{self._path.name}{part}{TEMPORARY_SUFFIX}")

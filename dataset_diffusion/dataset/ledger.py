"""Which samples of a plan are finished: the manifest, and the parts of it that running processes write.

While a folder is being made, each process appends to its own file in `manifest.parts/`, so no two processes ever write
to the same file. The last process to finish, or any later run, merges the files into `manifest.jsonl` and removes them.
"""

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
import orjson

from dataset_diffusion.dataset.folder import VocFolder
from dataset_diffusion.dataset.manifest import MANIFEST_FILE, SampleRecord, encode_record, parse_record, require_record
from dataset_diffusion.dataset.plan import PLAN_FILE, StoredPlan
from dataset_diffusion.errors import InputError
from dataset_diffusion.files import explaining_write_errors, this_process
from dataset_diffusion.processes import Share

try:
    import fcntl
except ImportError:  # Windows has none: there, a share that is started twice goes unnoticed.
    fcntl = None  # type: ignore[assignment]

PARTS_FOLDER = "manifest.parts"
FAILED_FILE = "failed.jsonl"
"""Samples that could not be made and are left out, one per line; the file does not exist if all were made."""
OPEN_PARTS = 64
"""If there are more parts, only those read last stay open: systems allow a process 256 or 1,024 files."""
_POSITION = re.compile(rb'\{"position": (\d+), ')


class Part:
    """The part of the manifest that this process writes, locked as long as the process lives."""

    def __init__(self, folder: Path, share: Share) -> None:
        """Start an empty part. Raises InputError if it cannot be written, or if a running process has this share."""
        require_free_share(folder, share)
        # Sorted by name, parts are in the order in which they were started: a sample's later record is the valid one.
        self._path = folder / PARTS_FOLDER / f"{time.time_ns():020d}-{_name(share)}-{this_process()}.jsonl"
        with explaining_write_errors(self._path):
            self._path.parent.mkdir(exist_ok=True)
            self._held = self._path.open("xb")
        if fcntl:
            with suppress(OSError):  # Some network file systems have no locks.
                fcntl.flock(self._held, fcntl.LOCK_EX)

    def append(self, records: Sequence[tuple[int, SampleRecord | str]]) -> None:
        """Add finished samples, each with its position in the plan; for one that could not be made, give its id."""
        with explaining_write_errors(self._path):
            # Not `_held`: if another process has completed the folder and removed the parts, this creates one again.
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("ab") as stream:
                stream.writelines(
                    _failed_line(position, record)
                    if isinstance(record, str)
                    else _with_position(position, encode_record(record))
                    for position, record in records
                )
                stream.flush()
                os.fsync(stream.fileno())

    def close(self) -> None:
        """Release the share."""
        self._held.close()


def require_free_share(folder: Path, share: Share) -> None:
    """Raise InputError if a running process is already making this share of the folder."""
    if any(f"-{_name(share)}-" in part.name and _is_held(part) for part in _parts(folder)):
        what = f"share {share} of it" if share.count > 1 else "it"
        raise InputError(f"output_dir={folder}: another dd-generate is making {what}; wait until it has finished")


def has_records(folder: Path) -> bool:
    """Whether a sample of the folder may be finished, or is being made."""
    files = [folder / MANIFEST_FILE, *_parts(folder)]
    return any(file.exists() and (file.stat().st_size > 0 or _is_held(file)) for file in files)


def has_parts(folder: Path) -> bool:
    """Whether there are parts that have not been merged."""
    return (folder / PARTS_FOLDER).exists()


def remove_parts(folder: Path) -> None:
    """Remove all parts, once their records are in the manifest."""
    with explaining_write_errors(folder / PARTS_FOLDER), suppress(FileNotFoundError):
        shutil.rmtree(folder / PARTS_FOLDER)


class Ledger:
    """Which samples are finished, according to the files of a folder, by position in the plan.

    `finished[i]` is 1 if sample i has a record and both files, or if it could not be made; then `failed[i]` is 1, too.
    Only the places of the records in the files are kept in memory.
    """

    def __init__(self, folder: VocFolder, plan: StoredPlan) -> None:
        """Read all records. Raises InputError that names a line that is not a record."""
        self.plan = plan
        self.finished = bytearray(len(plan))
        self.failed = bytearray(len(plan))
        self._folder = folder.path
        self._files: list[Path] = []
        self._read_to: dict[Path, int] = {}
        self._file_of = np.full(len(plan), -1, np.int32)
        self._offset_of = np.zeros(len(plan), np.int64)
        self._streams: dict[int, BinaryIO] = {}
        # One listing per folder instead of two queries per sample, which take hours on network drives.
        self._beginning = self._identify(
            [self._folder / PLAN_FILE, self._folder / MANIFEST_FILE, self._folder / FAILED_FILE, *_parts(self._folder)]
        )
        there = folder.present()
        self._read_manifest(there)
        self._read_part(self._folder / FAILED_FILE, there)
        self._read_parts(there)

    @property
    def num_failed(self) -> int:
        """How many samples could not be made."""
        return self.failed.count(1)

    @property
    def num_finished(self) -> int:
        """How many samples are finished."""
        return self.finished.count(1)

    def refresh(self) -> None:
        """Read what has been added to the parts since the last time."""
        self._read_parts(None)

    def is_of_now(self) -> bool:
        """Whether `refresh` reads all that is new: no file that was read has changed, but parts may have grown."""
        return self._beginning == self._identify(self._beginning)

    def _identify(self, paths: Iterable[Path]) -> dict[Path, tuple[int, ...] | None]:
        """What distinguishes each file from another of the same name; None if there is no file."""
        return {path: _identity(path, may_grow=path.parent.name == PARTS_FOLDER) for path in paths}

    def records(self) -> "Records":
        """The records of the finished samples that could be made, in the plan's order."""
        made = np.frombuffer(self.finished, np.uint8) > np.frombuffer(self.failed, np.uint8)
        return Records(self, np.flatnonzero(made))

    def failed_lines(self) -> Iterator[bytes]:
        """The lines of failed.jsonl."""
        return (
            _failed_line(position, self.plan.sample_id(position))
            for position, failed in enumerate(self.failed)
            if failed
        )

    def manifest_lines(self) -> Iterator[bytes]:
        """The lines of the finished samples, as in manifest.jsonl."""
        return (self.line(int(position)) for position in self.records().positions)

    def record(self, position: int) -> SampleRecord:
        """The record of the finished sample at a position of the plan."""
        return parse_record(orjson.loads(self.line(position)))

    def line(self, position: int) -> bytes:
        """The manifest's line, with its newline, for the finished sample at a position of the plan."""
        stream, offset = self._stream(int(self._file_of[position])), int(self._offset_of[position])
        if stream.tell() != offset:
            stream.seek(offset)
        return _POSITION.sub(b"{", stream.readline(), count=1)

    def _stream(self, number: int) -> BinaryIO:
        """A file of records. The manifest stays open, because it is replaced while the old one is still being read."""
        if number not in self._streams:
            parts = [other for other in self._streams if self._files[other].name != MANIFEST_FILE]
            if len(parts) >= OPEN_PARTS:
                self._streams.pop(parts[0]).close()
            try:
                self._streams[number] = self._files[number].open("rb")
            except OSError as error:
                raise InputError(f"{self._files[number]}: cannot be read ({error.strerror}); start again") from error
        # A dict keeps insertion order: the first entry is the least recently read.
        self._streams[number] = self._streams.pop(number)
        return self._streams[number]

    def _read_manifest(self, there: set[str]) -> None:
        path = self._folder / MANIFEST_FILE
        positions: dict[str, int] | None = None
        expected = 0
        number = self._number_of(path)
        for offset, content in self._new_lines(path):
            sample_id = content["id"]
            if expected < len(self.plan) and self.plan.sample_id(expected) == sample_id:
                position: int | None = expected
            else:  # Samples before it are missing.
                positions = positions or {self.plan.sample_id(index): index for index in range(len(self.plan))}
                position = positions.get(sample_id)
            if position is not None:
                expected = position + 1
                self._set(number, position, offset, sample_id in there)

    def _read_parts(self, there: set[str] | None) -> None:
        for path in _parts(self._folder):
            self._read_part(path, there)

    def _read_part(self, path: Path, there: set[str] | None) -> None:
        number, num_prompts, id_of = self._number_of(path), len(self.plan), self.plan.sample_id
        for offset, content in self._new_lines(path):
            position, sample_id = content["position"], content["id"]
            if position >= num_prompts or id_of(position) != sample_id:
                continue
            if "failed" in content:
                self.finished[position] = self.failed[position] = 1
            else:
                self._set(number, position, offset, there is None or sample_id in there)

    def _new_lines(self, path: Path) -> Iterator[tuple[int, dict]]:
        """The offset and the content of each line that has not been read yet; a torn last line is left for later."""
        offset = self._read_to.get(path, 0)
        try:
            with path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size <= offset:
                    return
                stream.seek(offset)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    yield offset, _parse(path, offset, line)
                    offset += len(line)
            self._read_to[path] = offset
        except FileNotFoundError:  # Another process has merged it.
            return
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error

    def _number_of(self, path: Path) -> int:
        if path not in self._files:
            self._files.append(path)
        return self._files.index(path)

    def _set(self, number: int, position: int, offset: int, is_there: bool) -> None:
        self._file_of[position] = number
        self._offset_of[position] = offset
        self.finished[position] = is_there
        self.failed[position] = 0


class Records(Sequence[SampleRecord]):
    """The records at some positions of the plan, read when they are needed."""

    def __init__(self, ledger: Ledger, positions: "np.ndarray") -> None:
        self._ledger = ledger
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> SampleRecord: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[SampleRecord]: ...

    def __getitem__(self, index: int | slice) -> SampleRecord | Sequence[SampleRecord]:
        if isinstance(index, slice):
            return Records(self._ledger, self.positions[index])
        return self._ledger.record(int(self.positions[index]))


def _parse(path: Path, offset: int, line: bytes) -> dict:
    try:
        content = orjson.loads(line)
        if "failed" not in content:
            require_record(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        with path.open("rb") as stream:
            number = stream.read(offset).count(b"\n") + 1
        raise InputError(f"{path}: line {number}: not a record; delete the line, and start again") from error
    return content


def _identity(path: Path, may_grow: bool) -> tuple[int, ...] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_ino,) if may_grow else (facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _parts(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder / PARTS_FOLDER))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / PARTS_FOLDER / name for name in names if name.endswith(".jsonl")]


def _name(share: Share) -> str:
    return f"{share.rank}of{share.count}"


def _failed_line(position: int, sample_id: str) -> bytes:
    return b'{"position": %d, "id": "%s", "failed": "image not finite"}\n' % (position, sample_id.encode())


def _with_position(position: int, line: bytes) -> bytes:
    return b'{"position": %d, ' % position + line.removeprefix(b"{")


def _is_held(part: Path) -> bool:
    """Whether the process that writes a part is still running, as far as the file system can tell."""
    if not fcntl:
        return False
    try:
        with part.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

"""Write files atomically, and read them with errors that name them."""

import errno
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from dataset_diffusion.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none; the user must then avoid two runs on one folder.
    fcntl = None  # type: ignore[assignment]

TEMPORARY_SUFFIX = ".tmp"
HELD_FILE = ".held.lock"
"""Locks a folder that only one process at a time may write to."""

SAMPLE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""A sample id becomes a file name, so it must be a valid one on every system."""


def write_atomically(path: Path, content: bytes | Iterable[bytes], make_folder: bool = True) -> None:
    """Write a file so that it is either complete or not there, whenever the process is killed.

    Several processes can write the same file: each has its own temporary file, and the last rename wins. Raises
    InputError naming the file if it cannot be written (no space, no permission; without `make_folder` also if its
    folder is gone).
    """
    chunks = [content] if isinstance(content, bytes) else content
    # In the same folder: a rename is atomic only within a file system. The dot hides it from "*.jpg".
    temporary = path.with_name(f".{path.name}.{this_process()}{TEMPORARY_SUFFIX}")
    with explaining_write_errors(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                stream.writelines(chunks)
                stream.flush()
                os.fsync(stream.fileno())
            _rename(temporary, path, content)
        except OSError:
            with suppress(OSError):  # Frees the space on a full disk.
                temporary.unlink()
            raise


def _rename(temporary: Path, path: Path, content: bytes | Iterable[bytes]) -> None:
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        # Another process removed the temporary file, mistaking it for one that a killed run left.
        if not isinstance(content, bytes):
            raise
        temporary.write_bytes(content)
        os.replace(temporary, path)


def this_process() -> str:
    """A name for this process that is unique on all machines that share the file system: host and process id."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:32]
    return f"{host}-{os.getpid()}"


def write_new(path: Path, content: bytes) -> None:
    """Write a file into a folder that nobody reads yet, without the safety of `write_atomically`: many times as fast.

    Raises InputError naming the file if it cannot be written.
    """
    with explaining_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def is_temporary(path: Path) -> bool:
    """Whether a killed run left this file."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)


def encode_json(content: object) -> bytes:
    """Indented JSON for people to read, UTF-8, with a final newline."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


@contextmanager
def explaining_write_errors(what: Path | str) -> Iterator[None]:
    """Turn an OSError into the InputError "WHAT: cannot be written: No space left on device"."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: cannot be written: {error.strerror or error}") from error


@contextmanager
def opened_folder(path: Path, command: str, exclusive: bool = True) -> Iterator[None]:
    """Make a command's `output_dir` if it is missing, and lock it against a second process that would write to it.

    With `exclusive` False, other processes may write to it, too. If nothing is written to it, the folders made here are
    removed again. Raises InputError if it cannot be made or written to, or if another process has locked it.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"output_dir={path}: is a file; name a folder")
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    with explaining_write_errors(f"output_dir={path}"):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    complaint = f"output_dir={path}: another {command} is writing to it; wait until it has finished"
    held = held_by_one_process(path / HELD_FILE, complaint)
    try:
        with held if exclusive else nullcontext():
            yield
    finally:
        with suppress(OSError):  # The folders are not empty.
            for folder in made:
                folder.rmdir()


@contextmanager
def held_by_one_process(lock_file: Path, complaint: str) -> Iterator[None]:
    """Hold a lock; raises InputError with `complaint` if another process holds it.

    The lock is the operating system's: it ends with the process, even if that is killed. The file's folder must exist;
    the file is removed at the end.
    """
    if fcntl is None:
        yield
        return
    descriptor = None
    while descriptor is None:
        # Opened for writing: NFS locks neither files opened otherwise nor folders.
        with explaining_write_errors(lock_file):
            descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise InputError(complaint) from error
        except OSError:  # Some network file systems have no locks.
            break
        # The previous holder may have removed the file in the meantime.
        if not lock_file.exists() or not os.path.samestat(os.fstat(descriptor), lock_file.stat()):
            os.close(descriptor)
            descriptor = None
    try:
        yield
    finally:
        # Removed while the lock is held: a process that opens the file now finds out that it is gone.
        with suppress(OSError):
            lock_file.unlink()
        os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises InputError when it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def parse_json(path: Path, content: bytes) -> Any:
    """The value of a JSON file with this content. Raises InputError naming the file and where the error is."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); fetch or write it again") from error


def require_files(folder: Path, names: Sequence[str]) -> None:
    """Raise InputError naming the first missing file and saying how many are missing, unless all are there."""
    # One listing instead of one query per file: on network drives that is seconds instead of minutes.
    try:
        there = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: no such folder, but the split's files are read from it") from error
    missing = [name for name in names if name not in there]
    if missing:
        more = f" and {len(missing) - 1} more of {len(names)} are" if len(missing) > 1 else " is"
        raise InputError(
            f"{folder / missing[0]}{more} missing; unpack the dataset again or remove the ids from the split"
        )

"""Results appear whole or not at all: write under a temporary name, then rename.

All results reach the disk through this file, so every failure (read-only folder, full disk, name taken) ends
in one `OutputError` line. The guarantee covers errors, interrupts and killed processes, not power loss:
nothing is synced to the disk.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facerelief.errors import OutputError

TEMPORARY_PREFIX = ".tmp-"
"""Prefix of the names of unfinished files and folders."""

_ADVICE = {
    errno.EACCES: "permission denied; choose another output folder or change its permissions",
    errno.EPERM: "permission denied; choose another output folder or change its permissions",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.ENOSPC: "the disk is full; free some space or choose another output folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another output folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter output folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another output folder",
    errno.EEXIST: "a part of this path is a file, not a folder; choose another output folder",
    errno.ENOENT: "the folder is gone (is another program writing there?); try again",
}


def output_error(path: Path, error: OSError) -> OutputError:
    """The one-line `OutputError` with the failure at `path` and advice."""
    reason = _ADVICE.get(error.errno or 0) or error.strerror or type(error).__name__
    return OutputError(f"{path}: cannot write: {reason}")


def write_bytes(path: str | Path, data: bytes | bytearray | memoryview) -> None:
    """Write one file whole or not at all; an older file of that name is replaced. Raises OutputError."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def check_writable(folder: Path, subject: Path) -> None:
    """Raise OutputError, with `subject` as the path in it, where no file can be written in a folder."""
    probe = folder / f"{TEMPORARY_PREFIX}probe"
    try:
        write_bytes(probe, b"facerelief")
    except OutputError as error:
        raise OutputError(str(error).replace(str(probe), str(subject))) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """A new name beside `path`, for writing until the file is whole."""
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}.{secrets.token_hex(4)}")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Context with the name of a file to write, renamed to `path` only if the block ends without an error.

    An older file of that name is replaced. After an error inside the block, or an interrupt, nothing is left.

    Args:
        path: The file to make; its folder must exist.

    Raises:
        OutputError: The file cannot be written. OSErrors of the block become OutputErrors too.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise output_error(path, error) from error


@contextmanager
def atomic_folder(path: str | Path, overwrite: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Context with a folder to fill, renamed to `path` only if the block ends without an error.

    Yields a temporary folder beside `path` (parents are made as needed). After an error inside the block, or
    an interrupt, nothing is left, no new parents either; a killed process leaves a folder whose name begins
    with `.tmp-`, which the next write of the same `path` clears away. When two programs write the same `path`
    at once, the later one wins and the other fails; their files never mix.

    Args:
        path: The folder to make.
        overwrite: Replace an existing folder. The old one stays in place until the new one is complete.
        marker: File that a folder must hold for `overwrite` to replace it, so that a mistyped path does not
            destroy other files; an empty folder is always accepted.

    Raises:
        OutputError: `path` is taken, or cannot be written. OSErrors of the block become OutputErrors too.
    """
    target = Path(os.path.abspath(path))
    new_parents = [folder for folder in target.parents if not folder.exists()]
    try:
        clear_leftovers(target)
        _check_free(target, overwrite, marker)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(target)
        temporary.mkdir()
        try:
            yield temporary
            _check_free(target, overwrite, marker)
            _swap_in(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            with suppress(OSError):
                for folder in new_parents:
                    folder.rmdir()
            raise
    except OSError as error:
        raise output_error(target, error) from error


def _check_free(target: Path, overwrite: bool, marker: str | None) -> None:
    """Raise OutputError unless `target` may be written."""
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(f"{target}: is not a folder; choose another output folder")
    content = os.listdir(target)
    if not content:
        return
    if not overwrite:
        raise OutputError(f"{target}: already there; choose another output folder or allow overwriting")
    if marker is not None and marker not in content:
        raise OutputError(
            f"{target}: not an earlier result (no {marker} in it), so it is not overwritten; "
            "choose another output folder"
        )


def _swap_in(temporary: Path, target: Path) -> None:
    """Give `temporary` the name `target`; an older folder is moved aside first, and back if that fails."""
    if not target.exists():
        temporary.rename(target)
        return
    aside = temporary.with_name(temporary.name + ".old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def clear_leftovers(target: Path) -> None:
    """Remove what killed writes of `target` left; an old result caught between the renames is put back."""
    pattern = re.compile(re.escape(TEMPORARY_PREFIX + target.name) + r"\.[0-9a-f]{8}(\.old)?")
    if not target.parent.is_dir():
        return
    found = [entry for entry in target.parent.iterdir() if pattern.fullmatch(entry.name)]
    for entry in found:
        if entry.name.endswith(".old") and not target.exists():
            entry.rename(target)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)

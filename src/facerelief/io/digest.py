"""SHA-256 of files."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from facerelief.errors import ImageError


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file in hexadecimal. Raises ImageError where it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{os.fspath(path)}: cannot be read ({error.strerror}); check the file") from error


def unchanging_digest(path: str | os.PathLike[str]) -> str:
    """`file_digest`, computed again only where the file's time or size has changed."""
    try:
        state = os.stat(path)
    except OSError:
        return file_digest(path)
    return _digest(Path(path), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=32)
def _digest(path: Path, _changed: int, _size: int) -> str:
    return file_digest(path)

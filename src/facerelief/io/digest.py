"""SHA-256 of files."""

from __future__ import annotations

import hashlib
import os

from facerelief.errors import ImageError


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file in hexadecimal. Raises ImageError where it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{os.fspath(path)}: cannot be read ({error.strerror}); check the file") from error

"""Arrays as .npz files whose bytes depend on the arrays alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_TIME = (1980, 1, 1, 0, 0, 0)


def write_npz(
    target: str | Path | IO[bytes],
    arrays: Mapping[str, NDArray[Any]],
    *,
    compressed: Callable[[str, int], bool],
    level: int | None = None,
) -> None:
    """Write arrays by name, in the given order and little-endian: the same arrays give the same bytes.

    Args:
        target: file, or stream open for writing.
        arrays: Of numbers, booleans or text.
        compressed: Whether an array is deflated, from its name and its number of bytes.
        level: Of the compression, 1 to 9; zlib's own where None.

    Raises:
        ValueError: An array holds Python objects.
        OSError: The file cannot be written.
    """
    with zipfile.ZipFile(target, "w") as archive:
        for name, values in arrays.items():
            array = np.asarray(values, order="C")
            data = io.BytesIO()
            np.lib.format.write_array(
                data, array.astype(array.dtype.newbyteorder("<"), copy=False), allow_pickle=False
            )
            info = zipfile.ZipInfo(f"{name}.npy", _TIME)
            info.create_system = 3  # Unix, on every system
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if compressed(name, data.tell()) else zipfile.ZIP_STORED
            archive.writestr(info, data.getbuffer(), compresslevel=level)

"""Images and per-pixel maps: PNG and JPEG bytes, 16-bit normal maps, float depth."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.io.atomic import write_bytes


def encode_png(rgb: NDArray[Any], compression: int = 4) -> bytes:
    """PNG bytes of an (H, W, 3) RGB or (H, W) grey image: uint8, uint16, or float in [0, 1] (to 8 bit)."""
    import cv2

    return _encode(".png", rgb, [cv2.IMWRITE_PNG_COMPRESSION, compression])


def encode_map(values: NDArray[Any]) -> bytes:
    """PNG bytes of a map that is smooth or mostly empty, (H, W, 3) RGB or (H, W): a fixed
    row filter, in a fraction of the time that `encode_png` takes."""
    import cv2

    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.11 and later
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
        options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return _encode(".png", values, options)


def encode_jpeg(rgb: NDArray[Any], quality: int = 95, *, full_color: bool = False) -> bytes:
    """JPEG bytes of an (H, W, 3) RGB image: uint8, or float in [0, 1].

    Args:
        rgb: The image.
        quality: 0 to 100.
        full_color: Keep colours at full resolution (4:4:4) instead of half of it.
    """
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if full_color:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encode(".jpg", rgb, options)


def write_png(path: str | Path, rgb: NDArray[Any]) -> None:
    """Write `encode_png(rgb)`. Raises OutputError."""
    write_bytes(path, encode_png(rgb))


def encode_normals(normals: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Code normals in 16 bit: (n + 1) / 2 * 65535, rounded; red is x, green y, blue z.

    Args:
        normals: (H, W, 3) unit normals, camera space; NaN off the face.

    Returns:
        (H, W, 3); (0, 0, 0), the code of no unit vector, off the face.
    """
    coded = np.rint((np.clip(normals, -1, 1) + 1) * 32767.5)
    return np.where(np.isfinite(normals).all(axis=-1, keepdims=True), coded, 0).astype(np.uint16)


def decode_normals(coded: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Inverse of `encode_normals`: (H, W, 3), NaN off the face."""
    normals = coded.astype(np.float32) / np.float32(32767.5) - 1
    normals[(coded == 0).all(axis=-1)] = np.nan
    return normals


def write_normals(path: str | Path, normals: NDArray[np.floating]) -> None:
    """Write `encode_normals(normals)` as 16-bit PNG. Raises OutputError."""
    write_bytes(path, encode_png(encode_normals(normals), compression=1))


def write_depth(path: str | Path, depth: NDArray[np.floating]) -> None:
    """Write (H, W) depth, mm along camera z, NaN off the face, as float32 .npy. Raises OutputError."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(depth, dtype=np.float32), allow_pickle=False)
    write_bytes(path, buffer.getbuffer())


def _encode(extension: str, rgb: NDArray[Any], options: list[int]) -> bytes:
    import cv2

    if np.issubdtype(rgb.dtype, np.floating):
        values = np.array(rgb, np.float32)
        cv2.patchNaNs(values, 0.0)
        np.clip(values, 0, 1, out=values)
        rgb = np.asarray(cv2.convertScaleAbs(values, alpha=255)).reshape(rgb.shape)
    bgr: NDArray[Any] = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)) if rgb.ndim == 3 else rgb
    done, data = cv2.imencode(extension, bgr, options)
    if not done:
        raise ValueError(f"a {rgb.shape} {rgb.dtype} array cannot be coded as {extension}")
    return data.tobytes()

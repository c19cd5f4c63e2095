"""Pictures from files and arrays: upright, 8-bit RGB.

A file's header is read here before OpenCV decodes anything: for its size (a picture that would not fit in
memory is refused unread), its orientation, and whether the file is complete. What OpenCV then decodes is
brought to one form: orientation applied, 16-bit samples scaled to 8, grey and palette expanded, transparency
laid on white, first frame of an animation.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.errors import ImageError
from facerelief.typed import Image

MIN_SIDE = 32
"""px; no face can be found in less."""
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 1 << 30
FORMATS = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PPM or PGM"

_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""In entropy-coded data: the next marker that is no restart marker and no escaped 0xff."""


class _DamagedError(Exception):
    """A file of a known kind that breaks off or contradicts itself; the text says where."""


@dataclass(frozen=True)
class _Header:
    """What a file says about its picture before anything is decoded."""

    kind: str
    width: int
    height: int
    orientation: int = 1
    """EXIF code 1..8 still to be applied after decoding."""


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1..8 of a TIFF-structured block; 1 when it is absent or nonsense."""
    exif = exif.removeprefix(b"Exif\x00\x00")
    try:
        return _tiff_tags(exif).get(274, [1])[0]
    except (_DamagedError, struct.error, IndexError):
        return 1


def _tiff_tags(data: bytes) -> dict[int, list[int]]:
    """Integer tags of the first directory of a TIFF or BigTIFF file, values that lie elsewhere in the file
    included."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise _DamagedError("its TIFF header is broken")
    big = struct.unpack(order + "H", data[2:4])[0] == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    entry, inline = (20, 8) if big else (12, 4)
    first = start + (8 if big else 2)
    if count > 4096 or first + count * entry > len(data):
        raise _DamagedError("its TIFF directory is cut off")
    tags: dict[int, list[int]] = {}
    for at in range(first, first + count * entry, entry):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        number = struct.unpack_from(order + ("Q" if big else "I"), data, at + 4)[0]
        code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if code is None:
            continue
        size = struct.calcsize(order + code) * number
        where = at + entry - inline
        if size > inline:
            where = struct.unpack_from(order + ("Q" if big else "I"), data, where)[0]
        if where + size > len(data):
            raise _DamagedError("its TIFF directory is cut off")
        tags[tag] = list(struct.unpack_from(f"{order}{number}{code}", data, where))
    if 274 in tags and tags[274][:1] not in ([1], [2], [3], [4], [5], [6], [7], [8]):
        del tags[274]
    return tags


def _jpeg(data: bytes) -> _Header:
    at, size, orientation = 2, None, 1
    while True:
        if at + 2 > len(data):
            raise _DamagedError("the JPEG breaks off before its end marker")
        if data[at] != 0xFF:
            raise _DamagedError("the JPEG has no marker where one must be")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(data):
            raise _DamagedError("the JPEG breaks off in its header")
        body = data[at + 4 : at + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and size is None and len(body) >= 5:
            size = struct.unpack(">HH", body[1:5])
        elif marker == 0xE1 and body.startswith(b"Exif\x00\x00") and orientation == 1:
            orientation = _orientation(body)
        at += 2 + length
        if marker == 0xDA:
            found = _JPEG_MARKER.search(data, at)
            if found is None:
                raise _DamagedError("the JPEG breaks off in its picture data: no end marker")
            at = found.end() - 2
    if size is None:
        raise _DamagedError("the JPEG holds no picture")
    return _Header("JPEG", size[1], size[0], orientation)


def _png(data: bytes) -> _Header:
    at, orientation, size, complete = 8, 1, None, False
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            break
        body = memoryview(data)[at + 8 : end - 4]
        # lower-case names are chunks that a reader may ignore, damage included
        if name[:1].isupper() and zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(
            data[end - 4 : end], "big"
        ):
            raise _DamagedError(f"the PNG's {name.decode('latin-1')} chunk has a wrong checksum")
        if name == b"IHDR" and length >= 8:
            size = struct.unpack(">II", body[:8])
        elif name == b"eXIf":
            orientation = _orientation(bytes(body))
        elif name == b"IEND":
            complete = True
            break
        at = end
    if size is None or not complete:
        raise _DamagedError("the PNG breaks off: no end chunk")
    return _Header("PNG", size[0], size[1], orientation)


def _webp(data: bytes) -> _Header:
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise _DamagedError("the WebP breaks off")
    at, orientation, size = 12, 1, None
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if size is None and name == b"VP8X" and length >= 10:
            size = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        elif size is None and name == b"VP8 " and length >= 10:
            size = tuple(v & 0x3FFF for v in struct.unpack("<HH", body[6:10]))
        elif size is None and name == b"VP8L" and length >= 5:
            bits = int.from_bytes(body[1:5], "little")
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif name == b"EXIF":
            orientation = _orientation(body)
        at += 8 + length + (length & 1)
    if size is None:
        raise _DamagedError("the WebP holds no picture")
    return _Header("WebP", size[0], size[1], orientation)


def _gif(data: bytes) -> _Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return _Header("GIF", width, height)


def _bmp(data: bytes) -> _Header:
    if int.from_bytes(data[14:18], "little") == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return _Header("BMP", abs(width), abs(height))


def _tiff(data: bytes) -> _Header:
    tags = _tiff_tags(data)
    if not tags.get(256) or not tags.get(257):
        raise _DamagedError("the TIFF does not say its size")
    for starts, lengths in ((273, 279), (324, 325)):
        for start, length in zip(tags.get(starts, []), tags.get(lengths, [])):
            if start + length > len(data):
                raise _DamagedError("the TIFF breaks off in its picture data")
    return _Header("TIFF", tags[256][0], tags[257][0])  # OpenCV applies a TIFF's orientation itself


def _avif(data: bytes) -> _Header:
    found = [struct.unpack_from(">II", data, m.end() + 4) for m in re.finditer(b"ispe", data[:65536])]
    if not found:
        raise _DamagedError("the AVIF does not say its size")
    width, height = max(found, key=lambda s: s[0] * s[1])
    orientation = 1
    turn = re.search(rb"\x00\x00\x00\x09irot(.)", data[:65536], re.DOTALL)
    flip = re.search(rb"\x00\x00\x00\x09imir(.)", data[:65536], re.DOTALL)
    quarters = turn[1][0] & 3 if turn else 0
    if flip is None:
        orientation = (1, 8, 3, 6)[quarters]
    else:
        orientation = ((4, 5, 2, 7), (2, 7, 4, 5))[flip[1][0] & 1][quarters]
    return _Header("AVIF", width, height, orientation)


def _jpeg2000(data: bytes) -> _Header:
    at = data.find(b"ihdr", 0, 4096)
    if at >= 0:
        height, width = struct.unpack_from(">II", data, at + 4)
    else:
        width, height, left, top = struct.unpack_from(">IIII", data, 8)
        width, height = width - left, height - top
    return _Header("JPEG 2000", width, height)


def _pnm(data: bytes) -> _Header:
    text = re.sub(rb"#[^\n]*", b" ", data[:1024])
    found = re.match(rb"P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s", text)
    if found is None:
        raise _DamagedError("the PPM header does not say its size")
    return _Header("PPM", int(found[1]), int(found[2]))


def _kind(data: bytes) -> Callable[[bytes], _Header] | None:
    """The header reader for a file that begins so, or None for no kind of picture known here."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _gif
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return _tiff
    if data[:2] == b"BM":
        return _bmp
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1") and b"av01" in data[:4096]:
        return _avif
    if data[:8] == b"\x00\x00\x00\x0cjP  " or data[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000
    if re.match(rb"P[1-6]\s", data):
        return _pnm
    return None


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_level: Any = None


def _set_log_level(level: Any) -> Any:
    """Set how much OpenCV logs, 0 nothing; the level before."""
    import cv2

    module: Any = cv2
    if hasattr(module, "setLogLevel"):  # OpenCV 4
        before = module.getLogLevel()
        module.setLogLevel(level)
        return before
    return module.utils.logging.setLogLevel(level)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV logs nothing inside, in this and in other threads that are inside too."""
    global _quiet_depth, _quiet_level
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_level = _set_log_level(0)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _set_log_level(_quiet_level)


def _load(path: Path) -> bytes:
    """The file's bytes. Raises ImageError."""
    try:
        if not path.exists():
            raise ImageError(f"{path}: no such file; check the name and the folder")
        if path.is_dir():
            raise ImageError(f"{path}: a folder, expected a picture file; name a file in it")
        if not path.is_file():
            raise ImageError(f"{path}: not an ordinary file, expected a picture file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ImageError(
                f"{path}: {size:,} bytes, expected at most {MAX_FILE_BYTES:,}; re-save the picture smaller"
            )
        data = path.read_bytes()
    except PermissionError as error:
        raise ImageError(
            f"{path}: may not be read (permission denied); change the file's permissions"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path}: cannot be read ({reason})") from error
    if not data:
        raise ImageError(f"{path}: the file is empty, expected a picture; copy or download it again")
    return data


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture in a file: (H, W, 3) uint8 RGB, upright.

    path        JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PPM or PGM; the content decides, not the
                name
    max_pixels  width x height that is still decoded; larger pictures are refused from their header alone

    Applies EXIF orientation, expands grey and palette pictures, converts CMYK, scales 16-bit samples to 8
    bit, lays transparent pictures on white, takes the first frame of an animation. Colour profiles are not
    applied.

    Raises ImageError, one line that begins with the path, for a file that is missing, unreadable, empty, no
    picture, truncated or otherwise damaged, smaller than 32 px on a side or larger than `max_pixels`.
    """
    path = Path(path)
    data = _load(path)
    reader = _kind(data)
    if reader is None:
        if data[4:8] == b"ftyp":
            raise ImageError(f"{path}: a HEIC picture or a video, expected {FORMATS}; convert it to JPEG")
        raise ImageError(f"{path}: not a picture, expected {FORMATS}; check what the file holds")
    try:
        header = reader(data)
    except _DamagedError as error:
        raise ImageError(f"{path}: truncated or damaged, {error}; copy or download it again") from error
    except (struct.error, IndexError) as error:
        raise ImageError(
            f"{path}: truncated, it ends within its header; copy or download it again"
        ) from error
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise ImageError(
            f"{path}: {width} x {height} px, expected at most {max_pixels / 1e6:g} million pixels; "
            "make it smaller or raise max_pixels"
        )
    if min(width, height) < MIN_SIDE:
        raise _too_small(str(path), width, height)
    pixels = _decode(data)
    if pixels is None:
        raise ImageError(
            f"{path}: damaged, or a kind of {header.kind} that cannot be decoded; re-save it as PNG or JPEG"
        )
    if header.kind == "TIFF" and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = _premultiplied_on_white(pixels)  # libtiff hands 8-bit colours out multiplied by their alpha
    return _oriented(as_image(pixels, name=str(path)), header.orientation)


def _too_small(name: str, width: int, height: int) -> ImageError:
    return ImageError(
        f"{name}: {width} x {height} px, expected at least {MIN_SIDE} px on each side; use a larger picture"
    )


def _decode(data: bytes) -> NDArray[Any] | None:
    """Pixels as stored, in RGB order; None when OpenCV cannot decode them."""
    import cv2

    with _quiet():
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except (cv2.error, MemoryError):
            return None
    if pixels is None or pixels.ndim not in (2, 3):
        return None
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA, dst=pixels)
    return pixels


def _premultiplied_on_white(pixels: Image) -> Image:
    """(H, W, 4) colours already multiplied by alpha -> (H, W, 3) on white."""
    rest = 255 - pixels[..., 3:].astype(np.uint16)
    return np.minimum(pixels[..., :3] + rest, 255).astype(np.uint8)


def _on_white(pixels: Image) -> Image:
    """(H, W, 4) -> (H, W, 3) laid on white."""
    alpha = pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    colour, a = pixels[..., :3].astype(np.uint32), alpha.astype(np.uint32)
    return ((colour * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)


def _oriented(image: Image, orientation: int) -> Image:
    """The picture turned upright from EXIF orientation 1..8."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def as_image(array: ArrayLike, *, name: str = "image") -> Image:
    """An in-memory picture as (H, W, 3) uint8 RGB; the same array when it is that already.

    array  (H, W), (H, W, 1) grey; (H, W, 2) grey and alpha; (H, W, 3) RGB; (H, W, 4) RGB and alpha. uint8;
           uint16 (65535 is white); floats in [0, 1]; bool. Alpha is laid on white.
    name   how messages call the picture

    Raises ImageError for another shape or type, values that are not finite or out of range, or less than 32
    px on a side.
    """
    if isinstance(array, str | bytes | os.PathLike):
        raise ImageError(
            f"{name}: got a file name, expected an array of pixels; read the file with read_image first"
        )
    pixels = np.asarray(array)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise ImageError(
            f"{name}: array of shape {np.shape(array)}, expected (height, width) "
            "or (height, width, 1 to 4 channels); transpose or index it"
        )
    height, width, channels = pixels.shape
    if min(width, height) < MIN_SIDE:
        raise _too_small(name, width, height)
    pixels = _eight_bit(pixels, name)
    if channels <= 2:
        grey = np.repeat(pixels[:, :, :1], 3, axis=2)
        pixels = grey if channels == 1 else np.concatenate([grey, pixels[:, :, 1:]], axis=2)
    if pixels.shape[2] == 4:
        pixels = _on_white(pixels)
    return np.ascontiguousarray(pixels)


def _eight_bit(pixels: NDArray[Any], name: str) -> Image:
    """The same samples as uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError(
                f"{name}: holds values that are not numbers, expected floats in [0, 1]; remove them"
            )
        if low < -0.01 or high > 1.01:
            raise ImageError(
                f"{name}: floats from {low:g} to {high:g}, expected 0 to 1; scale them or store 8-bit samples"
            )
        return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    raise ImageError(
        f"{name}: samples of type {pixels.dtype}, expected uint8, uint16 or float in [0, 1]; convert them"
    )

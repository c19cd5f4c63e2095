"""Images from files and arrays: upright, 8-bit sRGB.

Pillow reads the header first: an image that would not fit in memory is refused before anything is decoded.
Decoded images are converted in bands of rows, so that memory stays near that of the pixels: colour profile
applied, 16-bit samples scaled to 8, grey and palette expanded, transparency composited on white, first frame
of an animation taken, orientation applied.

Pillow is not used for two things. The EXIF orientation is read here, since Pillow fails where another entry
is broken. Directories of TIFF tags that claim more bytes than the file has are refused, since Pillow before
13 reads them all.
"""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.errors import ImageError
from facerelief.typed import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageFile import ImageFile

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of image files, in lower case."""
MIN_SIDE = 32
"""px; no face can be found in less."""
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 1 << 30
FORMATS = "JPEG, HEIC, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PPM or PGM"

_BAND_PIXELS = 1 << 16
"""Pixels converted at a time: they fit in the processor's cache."""
_PROFILE_TOLERANCE = 2
"""Levels of 255; a colour profile that changes no colour by more is treated as sRGB."""
_TAG_BYTES = dict(zip((*range(1, 14), 16, 17, 18), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8)))
"""Size of one value of each type of TIFF tag."""
_PNG_END, _GIF_END = b"IEND\xaeB`\x82", b"\x00;"
_warning_lock = threading.Lock()


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image file: (H, W, 3) uint8 sRGB, upright.

    EXIF orientation and colour profile are applied, grey and palette images expanded, CMYK converted, 16-bit
    samples scaled to 8 bit, transparency composited on white; of an animation the first frame is taken.

    Args:
        path: JPEG, HEIC, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PPM or PGM; the content decides, not the
            name.
        max_pixels: Width x height that is still decoded; a larger image is refused from its header alone.

    Raises:
        ImageError: One line that begins with the path, for a file that is missing, unreadable, empty, no
            image, truncated or otherwise damaged, smaller than 32 px on a side or larger than `max_pixels`.
    """
    path = Path(path)
    data = _load(path)
    kind = _kind(data)
    if kind is None:
        if data[4:8] == b"ftyp":
            raise ImageError(
                f"{path}: a video or an unknown kind of HEIF, expected {FORMATS}; convert it to JPEG"
            )
        raise ImageError(f"{path}: not an image, expected {FORMATS}; check what the file holds")
    try:
        with _no_warnings():
            image = _open(kind, data)
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise _damaged(path, error) from error
    _check_size(str(path), *image.size, max_pixels)
    try:
        image = _decoded(kind, data, image)
        if kind == "HEIF":  # libheif knows the true size only now
            _check_size(str(path), *image.size, max_pixels)
        orientation = 1 if kind in ("HEIF", "TIFF") else exif_orientation(image.info.get("exif", b""))
        pixels = _pixels(image, str(path))
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    del image
    return _oriented(pixels, orientation)


def is_image(path: str | os.PathLike[str]) -> bool:
    """True if the first bytes of a file are those of an image that `read_image` may read.

    False for TIFF, whose beginning it shares with raw files of cameras: there only the suffix decides.
    """
    try:
        with open(path, "rb") as file:
            return _kind(file.read(64)) not in (None, "TIFF")
    except OSError:
        return False


def _load(path: Path) -> bytes:
    """The file's bytes. Raises ImageError."""
    try:
        if not path.exists():
            raise ImageError(f"{path}: no such file; check the name and the folder")
        if path.is_dir():
            raise ImageError(f"{path}: a folder, expected an image file; name a file in it")
        if not path.is_file():
            raise ImageError(f"{path}: not an ordinary file, expected an image file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ImageError(
                f"{path}: {size:,} bytes, expected at most {MAX_FILE_BYTES:,}; re-save the image smaller"
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
        raise ImageError(f"{path}: the file is empty, expected an image; copy or download it again")
    return data


def _kind(data: bytes) -> str | None:
    """Pillow's name of the format of a file that begins with `data`; None where it is unknown."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if data[:2] == b"BM" and data[14:18] in (struct.pack("<I", n) for n in (12, 40, 52, 56, 64, 108, 124)):
        return "BMP"
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 64)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIF" if re.match(rb"hei[cxms]|hev[cxms]|m[is]f1", brands) else None
    if data[:8] == b"\x00\x00\x00\x0cjP  " or data[:4] == b"\xff\x4f\xff\x51":
        return "JPEG2000"
    return "PPM" if re.match(rb"P[1-6]\s+[\d#]", data) else None


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence Pillow's warnings about odd headers; filters belong to the process, hence the lock."""
    with _warning_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _damaged(path: Path, error: Exception) -> ImageError:
    reason = "".join(c if c.isprintable() else " " for c in str(error))[:120] or type(error).__name__
    return ImageError(f"{path}: truncated or damaged ({reason}); copy or download it again")


def _check_size(name: str, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} px, expected at most {max_pixels / 1e6:g} million pixels; "
            "make it smaller or raise max_pixels"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name}: {width} x {height} px, expected at least {MIN_SIDE} px on each side; use a larger image"
        )


# ---------------------------------------------------------------- headers


def exif_orientation(exif: bytes) -> int:
    """Orientation (tag 274) of an EXIF block, 1..8, even where other entries are broken; 1 if absent."""
    for tag, kind, _, value in exif_tags(exif.removeprefix(b"Exif\x00\x00")):
        if tag == 274 and kind in (3, 4) and 1 <= value <= 8:
            return value
    return 1


def exif_tags(data: bytes | memoryview, start: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and value or position of the entries of a TIFF directory, as far as it goes.

    start: position of the directory; by default that of the first one.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 16:
        return
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    if start is None:
        start = int(struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0])
    head, entry = (8, 20) if big else (2, 12)
    if start + head > len(data):
        return
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    for at in range(start + head, min(start + head + count * entry, len(data) - entry + 1), entry):
        tag, kind, number = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, at)
        short = kind == 3 and number == 1
        form = "H" if short else "Q" if big else "I"
        yield tag, kind, number, struct.unpack_from(order + form, data, at + (12 if big else 8))[0]


def _checkexif_tags(data: bytes | memoryview) -> None:
    """Refuse directories of tags that share bytes: each tag's would be copied."""
    directories: list[int | None] = [None]
    for directory in directories:
        total = 0
        for tag, kind, number, value in exif_tags(data, directory):
            total += _TAG_BYTES.get(kind, 0) * number
            if tag in (34665, 34853, 40965) and len(directories) < 8:  # EXIF, GPS, interoperability
                directories.append(value)
        if total > len(data):
            raise ValueError("its tags claim more bytes than the file has")


def _open(kind: str, data: bytes) -> ImageFile:
    """An image of which only the header has been read."""
    import PIL.Image
    from PIL.JpegImagePlugin import JpegImageFile

    class Jpeg(JpegImageFile):
        """Reader that ignores EXIF, which Pillow would search for a resolution."""

        def getexif(self) -> PIL.Image.Exif:
            return PIL.Image.Exif()

    if kind == "JPEG":
        return Jpeg(io.BytesIO(data))
    if kind == "HEIF":
        from pi_heif import HeifImageFile

        return HeifImageFile(io.BytesIO(data))
    if kind == "TIFF":
        _checkexif_tags(data)
    if kind == "AVIF":
        blocks = [match.start() for match in re.finditer(rb"II\*\x00|MM\x00\*", data)]
        if len(blocks) > 16:
            raise ValueError("it holds too many EXIF blocks")
        for start in blocks:
            _checkexif_tags(memoryview(data)[start:])
    if kind not in PIL.Image.OPEN:
        PIL.Image.init()
    reader, _ = PIL.Image.OPEN[kind]  # not `PIL.Image.open`, whose limit of pixels belongs to the process
    return cast("ImageFile", reader(io.BytesIO(data), ""))


# ---------------------------------------------------------------- pixels


def _decoded(kind: str, data: bytes, image: ImageFile) -> PillowImage:
    """The image with its pixels. Raises nearly everything for a damaged file."""
    if kind == "PNG":
        _open(kind, data).verify()  # the checksums of the pixels, which decoding passes over
    if (kind == "PNG" and _PNG_END not in data) or (kind == "GIF" and _GIF_END not in data[-64:]):
        raise ValueError(f"the {kind} breaks off: no end marker")
    try:
        if kind == "TIFF":
            with _no_warnings():
                image.load()
        else:
            image.load()
    except OSError:
        whole = _without_end_marker(data) if kind == "JPEG" else None
        if whole is None:
            raise
        return whole
    return image


def _without_end_marker(data: bytes) -> PillowImage | None:
    """A JPEG that lacks only its end marker; None where pixels are missing too.

    libjpeg fills missing pixels without an error. So the file is decoded with two endings: complete pixels
    are the same in both.
    """
    if data.endswith(bytes(4)):  # a download that was cut short and filled up
        return None
    data = data.rstrip(b"\xff")
    noise = b"\xa5" * 64  # begins with a 1, libjpeg fills with 0
    noise += b"".join(b"\xff" + bytes([0xD0 + k]) + noise for k in range(8))  # after restart markers too
    whole, other = (_open("JPEG", data + tail + b"\xff\xd9") for tail in (b"", noise))
    whole.load()
    other.load()
    same = all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(_bands(whole), _bands(other)))
    return whole if same else None


def _bands(image: PillowImage) -> Iterator[tuple[slice, PillowImage]]:
    """An image in bands of rows."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        yield slice(top, end), image.crop((0, top, width, end))


def _pixels(image: PillowImage, name: str) -> Image:
    """(H, W, 3) uint8 sRGB as stored, not yet upright."""
    profile = image.info.get("icc_profile") or b""
    out = np.empty((image.height, image.width, 3), np.uint8)
    for rows, band in _bands(image):
        out[rows] = _rgb(band, bytes(profile), name)
    return out


def _rgb(band: PillowImage, profile: bytes, name: str) -> Image:
    """(H, W, 3) uint8 sRGB of an image of any mode."""
    import PIL.Image
    from PIL import ImageCms

    if band.mode.startswith("I"):  # 16 bit; Pillow before 11 has such samples as 32 bit
        deep = np.asarray(band)
        if deep.min() < 0 or deep.max() > 65535:
            raise ImageError(f"{name}: samples of 32 bit, expected 8 or 16 bit; convert them")
        band = PIL.Image.fromarray(_eight_bit(deep.astype(np.uint16, copy=False), name))
    elif band.mode == "F":
        band = PIL.Image.fromarray(_eight_bit(np.asarray(band), name))
    alpha = None
    if band.has_transparency_data:
        band = band.convert("RGBA")
        alpha = band.getchannel("A")
    if band.mode not in ("L", "RGB", "CMYK"):
        band = band.convert("L" if band.mode == "1" else "RGB")
    transform = _to_srgb(profile, band.mode) if profile else None
    if transform is not None:
        band = ImageCms.applyTransform(band, transform) or band
    band = band.convert("RGB")
    pixels = np.frombuffer(band.tobytes(), np.uint8).reshape(band.height, band.width, 3)
    return pixels if alpha is None else _on_white(pixels, np.asarray(alpha)[:, :, None])


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> Any:
    """The transform from a colour profile to sRGB; None for sRGB itself and for an unusable profile."""
    import PIL.Image
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        steps = np.linspace(0, 255, 17).astype(np.uint8)
        if mode == "CMYK":
            return transform
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3)
        samples = PIL.Image.fromarray(grid if mode == "RGB" else grid[..., 0].copy())
        changed = ImageCms.applyTransform(samples, transform) or samples
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    change = np.abs(np.asarray(changed, np.int16) - np.asarray(samples.convert("RGB"), np.int16)).max()
    return transform if change > _PROFILE_TOLERANCE else None


def _on_white(pixels: Image, alpha: NDArray[np.uint8]) -> Image:
    """(H, W, 3) colours and (H, W, 1) alpha -> (H, W, 3) composited on white."""
    if alpha.min() == 255:
        return pixels
    colour, a = pixels.astype(np.uint32), alpha.astype(np.uint32)
    return ((colour * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)


def _oriented(image: Image, orientation: int) -> Image:
    """The image turned upright from EXIF orientation 1..8."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


# ---------------------------------------------------------------- arrays


def as_image(array: ArrayLike, *, name: str = "image") -> Image:
    """Bring an array of pixels to (H, W, 3) uint8 RGB; the same array when it is that already.

    Args:
        array: (H, W), (H, W, 1) grey; (H, W, 2) grey and alpha; (H, W, 3) RGB; (H, W, 4) RGB and alpha.
            uint8; uint16 (65535 is white); floats in [0, 1]; bool. Alpha is composited on white.
        name: Name of the image in messages.

    Raises:
        ImageError: Another shape or type, values that are not finite or out of range, or a side of less than
            32 px.
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
    _check_size(name, width, height, height * width)
    pixels = _eight_bit(pixels, name)
    colour = pixels if channels == 3 else pixels[:, :, : 3 if channels > 2 else 1]
    if channels <= 2:
        colour = np.repeat(colour, 3, axis=2)
    if channels in (2, 4):
        colour = _on_white(colour, pixels[:, :, -1:])
    return np.ascontiguousarray(colour)


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

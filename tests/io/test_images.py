"""Every kind of picture file comes out upright, 8-bit RGB; what is no picture is refused in one line that
names it.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerelief.errors import ImageError
from facerelief.examples import astronaut_path
from facerelief.io.images import as_image, read_image

PIL = pytest.importorskip("PIL.Image")

WIDTH, HEIGHT = 96, 72


@pytest.fixture(scope="module")
def picture():
    """A colourful picture without symmetry."""
    photo = PIL.open(astronaut_path()).convert("RGB")
    return photo.crop((60, 20, 60 + 4 * WIDTH, 20 + 4 * HEIGHT)).resize((WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def pixels(picture):
    return np.array(picture)


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Save a Pillow picture or bytes under an unhelpful name."""

    def save(content: Any, kind: str = "PNG", **settings: Any) -> Path:
        file = tmp_path / "file.dat"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            content.save(file, kind, **settings)
        return file

    return save


def encoded(image: Any, kind: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def off(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b).mean())


def refuse(file: Path, words: str, **settings: Any) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(file, **settings)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert words in message
    assert "\n" not in message


LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}, "PPM": {}}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_come_back_exactly(write, picture, pixels, kind):
    image = read_image(write(picture, kind, **LOSSLESS[kind]))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "restart_marker_blocks": 3}),
        ("WEBP", {"quality": 95}),
        ("JPEG2000", {}),
        ("AVIF", {"quality": 95}),
        ("GIF", {}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_other_files_come_back_nearly(write, picture, pixels, kind, settings):
    try:
        file = write(picture, kind, **settings)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {kind}")
    assert off(read_image(file), pixels) < 8


def test_the_shipped_portrait_reads():
    assert read_image(astronaut_path()).shape == (512, 512, 3)
    assert read_image(str(astronaut_path())).shape == (512, 512, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_gives_the_same_picture(write, picture, pixels, kind):
    transpose = PIL.Transpose
    undo = [
        None,
        transpose.FLIP_LEFT_RIGHT,
        transpose.ROTATE_180,
        transpose.FLIP_TOP_BOTTOM,
        transpose.TRANSPOSE,
        transpose.ROTATE_90,
        transpose.TRANSVERSE,
        transpose.ROTATE_270,
    ]
    for orientation, step in enumerate(undo, 1):
        stored = picture if step is None else picture.transpose(step)
        exif = PIL.Exif()
        exif[274] = orientation
        settings = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
        if kind in ("JPEG", "WEBP", "AVIF"):
            settings["quality"] = 95
        try:
            file = write(stored, kind, **settings)
        except (KeyError, OSError):
            pytest.skip(f"this Pillow does not write {kind}")
        assert off(read_image(file), pixels) < 6, f"orientation {orientation}"


def test_a_nonsensical_orientation_is_passed_over(write, picture, pixels):
    exif = PIL.Exif()
    exif[274] = 99
    np.testing.assert_array_equal(read_image(write(picture, "PNG", exif=exif)), pixels)


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("JPEG", "L"), ("TIFF", "L"), ("PPM", "L"), ("BMP", "L")]
)
def test_grey_becomes_rgb(write, picture, kind, mode):
    grey = picture.convert(mode)
    settings = {"quality": 95} if kind == "JPEG" else {}
    image = read_image(write(grey, kind, **settings))
    assert off(image, np.array(grey.convert("RGB"))) < 2
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "P"), ("BMP", "P"), ("TIFF", "P"), ("PNG", "1"), ("TIFF", "1")]
)
def test_palettes_and_single_bits_are_expanded(write, picture, kind, mode):
    few = picture.convert(mode)
    np.testing.assert_array_equal(read_image(write(few, kind)), np.array(few.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_has_the_colours_that_were_meant(write, picture, kind):
    cmyk = picture.convert("CMYK")
    settings = {"quality": 95} if kind == "JPEG" else {}
    file = write(cmyk, kind, **settings)
    assert off(read_image(file), np.array(PIL.open(file).convert("RGB"))) < 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(write, picture, pixels, kind):
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[: HEIGHT // 2] = 255
    alpha[HEIGHT // 2 : -10] = 128
    clear = picture.copy()
    clear.putalpha(PIL.fromarray(alpha))
    settings = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    share = alpha[..., None] / 255
    assert off(read_image(write(clear, kind, **settings)), pixels * share + 255 * (1 - share)) < 0.6


def test_a_transparent_palette_colour_is_white(write, picture):
    few = picture.convert("P")
    index = int(np.bincount(np.array(few).ravel()).argmax())
    image = read_image(write(few, "PNG", transparency=index))
    assert (image[np.array(few) == index] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(write, pixels, kind):
    deep = pixels[..., 1].astype(np.uint16) * 257
    image = read_image(write(PIL.fromarray(deep), kind))
    np.testing.assert_array_equal(image, np.repeat(pixels[..., 1:2], 3, axis=2))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(write, picture, kind):
    later = [picture.rotate(90, fillcolor=(255, 0, 0)), picture.rotate(180)]
    settings = {"lossless": True} if kind == "WEBP" else {}
    file = write(picture, kind, save_all=True, append_images=later, **settings)
    assert off(read_image(file), np.array(PIL.open(file).convert("RGB"))) < 0.1


def test_a_missing_file_is_named(tmp_path):
    refuse(tmp_path / "nobody.jpg", "no such file")


def test_a_folder_is_no_picture(tmp_path):
    refuse(tmp_path, "a folder")


def test_an_empty_file_is_refused(write):
    refuse(write(b""), "empty")


@pytest.mark.parametrize(
    "content", [b"dear diary, no picture here\n" * 9, b"\xff\xd8", b"\x00" * 500, b"%PDF-1.4 ..."]
)
def test_what_is_no_picture_is_refused(write, content):
    refuse(write(content), "not a picture")


def test_a_phone_s_heic_is_refused_by_name(write):
    refuse(write(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 400), "HEIC")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(write, picture):
    file = write(picture, "PNG")
    file.chmod(0)
    refuse(file, "permission")


def test_reading_errors_are_reported_in_one_line(write, picture, monkeypatch):
    file = write(picture, "PNG")
    monkeypatch.setattr(Path, "read_bytes", lambda self: (_ for _ in ()).throw(PermissionError(13, "no")))
    refuse(file, "permission")
    monkeypatch.setattr(
        Path, "read_bytes", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error"))
    )
    refuse(file, "Input/output error")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_no_truncated_file_passes(write, picture, kind, settings):
    whole = encoded(picture, kind, **settings)
    for part in (0.05, 0.3, 0.5, 0.8, 0.95):
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_image(write(whole[: int(len(whole) * part)]))
    for cut in (1, 2, 5, 30):
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_image(write(whole[:-cut]))


def test_a_truncated_jpeg_with_a_thumbnail_does_not_pass(write, picture):
    """The thumbnail's end marker is not the picture's."""
    exif = b"Exif\x00\x00" + encoded(picture.resize((40, 40)), "JPEG")
    whole = encoded(picture, "JPEG")
    whole = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]
    assert read_image(write(whole)).shape == (HEIGHT, WIDTH, 3)
    refuse(write(whole[:-400]), "no end marker")
    refuse(write(whole[:-400] + bytes(400)), "no end marker")


def test_a_png_with_wrong_bits_is_refused(write, picture):
    whole = bytearray(encoded(picture, "PNG"))
    whole[len(whole) // 2] ^= 16
    refuse(write(bytes(whole)), "checksum")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_damage_is_an_image_error_or_a_picture(write, picture, kind):
    """Whatever bytes are wrong, nothing but ImageError is raised and no limit is passed."""
    rng = np.random.default_rng(1)
    whole = encoded(picture, kind)
    for _ in range(60):
        broken = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 400), 3):
            broken[at] = rng.integers(256)
        try:
            image = read_image(write(bytes(broken)), max_pixels=1_000_000)
        except ImageError:
            continue
        assert image.dtype == np.uint8
        assert image.ndim == 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_one_pixel_picture_is_too_small(write, kind):
    refuse(write(PIL.new("RGB", (1, 1)), kind), "at least 32 px")


def giant_png(side: int) -> bytes:
    """A PNG that announces side x side px and holds a few rows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def giant_jpeg(side: int, small: bytes) -> bytes:
    """The small JPEG, announcing side x side px."""
    at = small.index(b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", side, side) + small[at + 4 :]


def test_giants_are_refused_from_their_header_alone(write, picture, monkeypatch):
    from facerelief.io import images

    monkeypatch.setattr(images, "_decode", lambda data: pytest.fail("decoded"))
    refuse(write(giant_png(20_000)), "20000 x 20000 px, expected at most 100 million pixels")
    refuse(write(giant_jpeg(20_000, encoded(picture, "JPEG"))), "20000 x 20000 px")
    bitmap = bytearray(encoded(picture, "BMP"))
    bitmap[18:26] = struct.pack("<ii", 20_000, -20_000)
    refuse(write(bytes(bitmap)), "20000 x 20000 px")


def test_the_limit_can_be_set(write, picture):
    file = write(picture, "PNG")
    refuse(file, "million pixels", max_pixels=WIDTH * HEIGHT - 1)
    assert read_image(file, max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)


def test_reading_says_nothing_on_the_terminal(write, picture, capfd):
    whole = encoded(picture, "PNG")
    for content in (whole[:-20], encoded(picture, "JPEG")[:-300], whole):
        file = write(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read_image(file)
            except ImageError:
                continue
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_picture_already_right_is_not_copied(pixels):
    assert as_image(pixels) is pixels or np.shares_memory(as_image(pixels), pixels)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.astype(np.float32) / 255,
        lambda p: p.astype(np.float64) / 255,
        lambda p: p.astype(np.uint16) * 257,
        lambda p: np.dstack([p, np.full(p.shape[:2], 255, np.uint8)]),
        lambda p: np.asfortranarray(p),
        lambda p: np.ascontiguousarray(p[::-1])[::-1],
    ],
)
def test_arrays_of_other_kinds_are_the_same_picture(pixels, change):
    image = as_image(change(pixels))
    np.testing.assert_array_equal(image, pixels)
    assert image.flags.c_contiguous


def test_grey_arrays_are_expanded(pixels):
    grey = pixels[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(as_image(grey), expected)
    np.testing.assert_array_equal(as_image(grey[..., None]), expected)
    np.testing.assert_array_equal(
        as_image(np.dstack([grey, np.zeros_like(grey)])), np.full_like(expected, 255)
    )
    np.testing.assert_array_equal(as_image(grey > 100), np.where(expected > 100, 255, 0))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        ("photo.jpg", "read_image"),
        (np.zeros((3, 64, 64), np.uint8), "expected \\(height, width"),
        (np.zeros(64, np.uint8), "array of shape"),
        (np.zeros((64, 64, 3), np.int64), "type int64"),
        (np.full((64, 64, 3), 200.0), "expected 0 to 1"),
        (np.full((64, 64, 3), np.nan), "not numbers"),
        (np.zeros((64, 8, 3), np.uint8), "at least 32 px"),
        (np.zeros((0, 0, 3), np.uint8), "at least 32 px"),
        (np.array(None), "array of shape"),
    ],
)
def test_arrays_that_are_no_picture_are_refused(array, words):
    with pytest.raises(ImageError, match=words) as caught:
        as_image(array)
    assert str(caught.value).startswith("image: ")

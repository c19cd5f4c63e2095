"""Every kind of image file comes out upright, 8-bit sRGB; what is no image is refused in one line that names
it.
"""

from __future__ import annotations

import base64
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from facerelief.errors import ImageError
from facerelief.examples import astronaut_path
from facerelief.io.images import as_image, exif_orientation, is_image, read_image

WIDTH, HEIGHT = 96, 72

HEIC = zlib.decompress(
    base64.b64decode(
        b"eNpjYGCQSSupLMhIzUxmAILczDRDEDs3MzGNgYHxRG5qSSIDBChmpOQUQdkMBZnJJQxowCQzJx9siIsDAxMDI4jF+AZCA8EroBgQ"
        b"MF2Di6gAsUVmZl4amAeSFQVyUsHKgGoyypINGZAEGUFKXCsywcr5CjJLchmgKhnZMwuKCoDsZ5kFyflAugyo15mRGSQ0AaxI7gPD"
        b"n78/fjAw8DMnAHVIODDyMP7/D1LADFLBDEJyu5gcEoGSWk6MjGgyCxQaWae9erJs5w6ODAMFoBAziGBQTAIqZ3NhPFh8oBNoiXBy"
        b"fk5RXnJOBVCUl4GtASgkkllckAr1rgMUayTnJBZA2aCgMIDS4ED4////B2hgCBRkVmSCBJk5ODiAFGdmUX4J0D0MkpkFubBIYWRg"
        b"ZGtkYmZtaQNypDKLUtOgEnzJKcXJ4GgABZBYbkoiKL6eaTCu53twMY1h0tfvi/L/79E/UVO53JzjuTT7Jc26H2n8//5znJ+65ryk"
        b"6aQzJQf3Ht8sGXBl77maBfXfn8S/aX2h9HdjmHiHQHxN0zqGO9vftMrfl79v8nNR8N7Hj8JbJq1yXmL/VjauQzFWKOrZvhzVBMs5"
        b"l/U4L0itOnfbp9DhRIcEe4NX5N2VIYue/7o399KX9/+sLk+RVJfXr+fpc876eIFHiXcLl8fN5NK1/2PWJzWdfve2U39a77KN/TM9"
        b"PadZfxaS1px+O/Wil6TvX/Wl1y9l2b/+WjdP0T08Y+177mP/Vf1mcDHoG+xcdPRudd+BB0CfskFSiq8vgxaQx8HAyCgEikxQhEEC"
        b"CABwCc4U"
    )
)
"""48 x 64 px as an iPhone stores it, turned by its container and by EXIF 6: quarters of blue, red; yellow,
green."""


@pytest.fixture(scope="module")
def original():
    """A colourful image without symmetry."""
    photo = PIL.Image.open(astronaut_path()).convert("RGB")
    return photo.crop((60, 20, 60 + 4 * WIDTH, 20 + 4 * HEIGHT)).resize((WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def pixels(original):
    return np.array(original)


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Save a Pillow image or bytes under an unhelpful name."""

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
def test_lossless_files_come_back_exactly(write, original, pixels, kind):
    image = read_image(write(original, kind, **LOSSLESS[kind]))
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
def test_other_files_come_back_nearly(write, original, pixels, kind, settings):
    try:
        file = write(original, kind, **settings)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {kind}")
    assert off(read_image(file), pixels) < 8


def test_the_shipped_portrait_reads():
    assert read_image(astronaut_path()).shape == (512, 512, 3)
    assert read_image(str(astronaut_path())).shape == (512, 512, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_gives_the_same_image(write, original, pixels, kind):
    transpose = PIL.Image.Transpose
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
        stored = original if step is None else original.transpose(step)
        exif = PIL.Image.Exif()
        exif[274] = orientation
        settings = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
        if kind in ("JPEG", "WEBP", "AVIF"):
            settings["quality"] = 95
        try:
            file = write(stored, kind, **settings)
        except (KeyError, OSError):
            pytest.skip(f"this Pillow does not write {kind}")
        assert off(read_image(file), pixels) < 6, f"orientation {orientation}"


def test_a_nonsensical_orientation_is_passed_over(write, original, pixels):
    exif = PIL.Image.Exif()
    exif[274] = 99
    np.testing.assert_array_equal(read_image(write(original, "PNG", exif=exif)), pixels)


def exif_block(order: str, entries: list[tuple[int, int, int, int]], count: int | None = None) -> bytes:
    """EXIF with a directory of (tag, type, count, value or position)."""
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    body = b"".join(struct.pack(order + ("HHIHxx" if entry[1] == 3 else "HHII"), *entry) for entry in entries)
    return mark + struct.pack(order + "IH", 8, len(entries) if count is None else count) + body


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_found_whatever_else_is_broken(write, original, pixels, order):
    turn = (274, 3, 1, 6)
    beyond = (0x9C9B, 1, 5000, 1 << 30)
    strange = (0x1234, 99, 7, 7)
    for exif in (
        exif_block(order, [beyond, turn]),
        exif_block(order, [strange, turn, beyond]),
        exif_block(order, [beyond, turn], count=9),
    ):
        assert exif_orientation(exif) == 6
        block = b"Exif\x00\x00" + exif
        whole = encoded(original.transpose(PIL.Image.Transpose.ROTATE_90), "JPEG", quality=95)
        whole = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]
        assert off(read_image(write(whole)), pixels) < 6
    for exif in (b"", b"MM", exif_block(order, [turn])[:-8], exif_block(order, [(274, 3, 1, 9)]), bytes(99)):
        assert exif_orientation(exif) == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_that_share_their_bytes_are_refused_in_tiff_and_harmless_elsewhere(write, original, order):
    bomb = exif_block(order, [(tag, 1, 50_000, 8) for tag in range(1000, 5000)]) + bytes(2000)
    refuse(write(bomb), "claim more bytes")
    nested = exif_block(order, [(34665, 4, 1, 26)]) + bytes(4)
    refuse(write(nested[:26] + bomb[8:]), "claim more bytes")
    assert read_image(write(original, "PNG", exif=bomb)).shape == (HEIGHT, WIDTH, 3)


def profile(*primaries: tuple[float, float, float]) -> bytes:
    """ICC profile of a screen with these red, green and blue primaries (XYZ under D50) and sRGB's curve."""
    fixed = struct.Struct(">i")

    def number(value: float) -> bytes:
        return fixed.pack(round(value * 65536))

    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0)
    curve += b"".join(map(number, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
    points = {b"wtpt": (0.9642, 1.0, 0.8249)} | dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries))
    tags = {name: b"XYZ " + bytes(4) + b"".join(map(number, p)) for name, p in points.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    start = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", start + len(content), len(body))
        content += body
    head = struct.pack(">I4sI4s4s4s", start + len(content), b"lcms", 0x04200000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(map(number, points[b"wtpt"]))
    return head.ljust(128, b"\0") + table + content


RED, GREEN, BLUE = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colour_profiles_are_applied(write, original, pixels, kind):
    """Under a profile that calls blue what is red, red and blue change places."""
    settings = {"lossless": True} if kind == "WEBP" else {}
    file = write(original, kind, icc_profile=profile(BLUE, GREEN, RED), **settings)
    assert off(read_image(file), pixels[..., ::-1]) < 1
    clear = original.copy()
    clear.putalpha(255)
    file = write(clear, kind, icc_profile=profile(BLUE, GREEN, RED), **settings)
    assert off(read_image(file), pixels[..., ::-1]) < 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_srgb_and_unusable_profiles_change_nothing(write, original, pixels, kind):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (srgb, profile(RED, GREEN, BLUE), b"no profile" * 20, srgb[:200]):
        np.testing.assert_array_equal(read_image(write(original, kind, icc_profile=icc)), pixels)
    grey = original.convert("L")
    image = read_image(write(grey, kind, icc_profile=srgb))
    np.testing.assert_array_equal(image, np.repeat(np.array(grey)[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("JPEG", "L"), ("TIFF", "L"), ("PPM", "L"), ("BMP", "L")]
)
def test_grey_becomes_rgb(write, original, kind, mode):
    grey = original.convert(mode)
    settings = {"quality": 95} if kind == "JPEG" else {}
    image = read_image(write(grey, kind, **settings))
    assert off(image, np.array(grey.convert("RGB"))) < 2
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "P"), ("BMP", "P"), ("TIFF", "P"), ("PNG", "1"), ("TIFF", "1")]
)
def test_palettes_and_single_bits_are_expanded(write, original, kind, mode):
    few = original.convert(mode)
    np.testing.assert_array_equal(read_image(write(few, kind)), np.array(few.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_has_the_colours_that_were_meant(write, original, kind):
    cmyk = original.convert("CMYK")
    settings = {"quality": 95} if kind == "JPEG" else {}
    file = write(cmyk, kind, **settings)
    assert off(read_image(file), np.array(PIL.Image.open(file).convert("RGB"))) < 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(write, original, pixels, kind):
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[: HEIGHT // 2] = 255
    alpha[HEIGHT // 2 : -10] = 128
    clear = original.copy()
    clear.putalpha(PIL.Image.fromarray(alpha))
    settings = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    share = alpha[..., None] / 255
    assert off(read_image(write(clear, kind, **settings)), pixels * share + 255 * (1 - share)) < 0.6


def test_a_transparent_palette_colour_is_white(write, original):
    few = original.convert("P")
    index = int(np.bincount(np.array(few).ravel()).argmax())
    image = read_image(write(few, "PNG", transparency=index))
    assert (image[np.array(few) == index] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(write, pixels, kind):
    deep = pixels[..., 1].astype(np.uint16) * 257
    image = read_image(write(PIL.Image.fromarray(deep), kind))
    np.testing.assert_array_equal(image, np.repeat(pixels[..., 1:2], 3, axis=2))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(write, original, kind):
    later = [original.rotate(90, fillcolor=(255, 0, 0)), original.rotate(180)]
    settings = {"lossless": True} if kind == "WEBP" else {}
    file = write(original, kind, save_all=True, append_images=later, **settings)
    assert off(read_image(file), np.array(PIL.Image.open(file).convert("RGB"))) < 0.1


def test_the_content_tells_an_image_not_the_name(tmp_path, write, original):
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "JPEG2000", "PPM"):
        assert is_image(write(original, kind)), kind
    assert is_image(write(HEIC))
    for content in (b"", b"P1 am I", b"BMW is a car maker, and more than eighteen letters", b"%PDF-1.4"):
        assert not is_image(write(content)), content
    assert not is_image(tmp_path / "absent.jpg")
    assert not is_image(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    refuse(tmp_path / "nobody.jpg", "no such file")


def test_a_folder_is_no_image(tmp_path):
    refuse(tmp_path, "a folder")


def test_an_empty_file_is_refused(write):
    refuse(write(b""), "empty")


@pytest.mark.parametrize(
    "content", [b"dear diary, no image here\n" * 9, b"\xff\xd8", b"\x00" * 500, b"%PDF-1.4 ..."]
)
def test_what_is_no_image_is_refused(write, content):
    refuse(write(content), "not an image")


def test_a_phone_s_heic_is_read_upright(write):
    image = read_image(write(HEIC))
    assert image.shape == (64, 48, 3)
    expected = [(40, 60, 200), (220, 40, 40), (230, 220, 60), (40, 180, 60)]
    for (row, column), colour in zip([(16, 12), (16, 36), (48, 12), (48, 36)], expected):
        np.testing.assert_allclose(image[row, column], colour, atol=20)
    refuse(write(HEIC[:-200]), "damaged")
    refuse(write(HEIC[:300]), "damaged")


def test_a_video_is_refused_by_name(write):
    refuse(write(b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00mp42isom" + b"\x00" * 400), "a video")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(write, original):
    file = write(original, "PNG")
    file.chmod(0)
    refuse(file, "permission")


def test_reading_errors_are_reported_in_one_line(write, original, monkeypatch):
    file = write(original, "PNG")
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
def test_no_truncated_file_passes(write, original, kind, settings):
    whole = encoded(original, kind, **settings)
    for part in (0.05, 0.3, 0.5, 0.8, 0.95):
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_image(write(whole[: int(len(whole) * part)]))
    for cut in (3, 5, 30) if kind == "JPEG" else (1, 2, 5, 30):
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_image(write(whole[:-cut]))


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_a_jpeg_without_its_end_marker_alone_is_read(write, original, settings):
    whole = encoded(original, "JPEG", **settings)
    expected = read_image(write(whole))
    for cut in (1, 2):
        np.testing.assert_array_equal(read_image(write(whole[:-cut])), expected)


def test_a_jpeg_that_breaks_off_at_a_restart_marker_does_not_pass(write, original):
    whole = encoded(original, "JPEG", restart_marker_blocks=3)
    for marker in (b"\xff\xd3", b"\xff\xd7"):
        refuse(write(whole[: whole.rindex(marker)]), "truncated")


def test_a_truncated_jpeg_with_a_thumbnail_does_not_pass(write, original):
    """The thumbnail's end marker is not the image's."""
    exif = b"Exif\x00\x00" + encoded(original.resize((40, 40)), "JPEG")
    whole = encoded(original, "JPEG")
    whole = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]
    assert read_image(write(whole)).shape == (HEIGHT, WIDTH, 3)
    refuse(write(whole[:-400]), "truncated")
    refuse(write(whole[:-400] + bytes(400)), "truncated")


def test_a_png_with_wrong_bits_is_refused(write, original):
    whole = bytearray(encoded(original, "PNG"))
    whole[len(whole) // 2] ^= 16
    refuse(write(bytes(whole)), "checksum")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_damage_is_an_image_error_or_an_image(write, original, kind):
    """Whatever bytes are wrong, nothing but ImageError is raised and no limit is passed."""
    rng = np.random.default_rng(1)
    whole = encoded(original, kind)
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
def test_a_one_pixel_image_is_too_small(write, kind):
    refuse(write(PIL.Image.new("RGB", (1, 1)), kind), "at least 32 px")


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


def test_giants_are_refused_from_their_header_alone(write, original, monkeypatch):
    from facerelief.io import images

    monkeypatch.setattr(images, "_decoded", lambda *_: pytest.fail("decoded"))
    refuse(write(giant_png(20_000)), "20000 x 20000 px, expected at most 100 million pixels")
    refuse(write(giant_jpeg(20_000, encoded(original, "JPEG"))), "20000 x 20000 px")
    bitmap = bytearray(encoded(original, "BMP"))
    bitmap[18:26] = struct.pack("<ii", 20_000, -20_000)
    refuse(write(bytes(bitmap)), "20000 x 20000 px")


def test_the_limit_can_be_set(write, original):
    file = write(original, "PNG")
    refuse(file, "million pixels", max_pixels=WIDTH * HEIGHT - 1)
    assert read_image(file, max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)


def test_reading_says_nothing_on_the_terminal(write, original, capfd):
    whole = encoded(original, "PNG")
    for content in (whole[:-20], encoded(original, "JPEG")[:-300], whole):
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


def test_an_image_already_right_is_not_copied(pixels):
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
def test_arrays_of_other_kinds_are_the_same_image(pixels, change):
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
def test_arrays_that_are_no_image_are_refused(array, words):
    with pytest.raises(ImageError, match=words) as caught:
        as_image(array)
    assert str(caught.value).startswith("image: ")

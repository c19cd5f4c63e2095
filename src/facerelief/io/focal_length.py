"""Focal lengths that cameras write into photos."""

from __future__ import annotations

import math
import os
from pathlib import Path

from facerelief.io.images import exif_tags

_DIAGONAL_MM = 43.27
"""Diagonal of a frame of 36 x 24 mm."""
_FOCAL_MM = (8.0, 1200.0)
"""Equivalent focal lengths of real lenses."""
_EXIF, _FOCAL_35MM, _WIDTH, _HEIGHT = 34665, 41989, 40962, 40963
_SAME_SHAPE = 0.02
"""Largest relative difference of the sides' ratio from that of the frame: cropped photos are left out."""


def focal_length_px(path: str | os.PathLike[str]) -> float | None:
    """Focal length of a photo, px of its pixels as they are, from the 35 mm equivalent in its EXIF.

    None where there is no such entry or one that no lens has, where the photo was cropped since, or the file
    cannot be read; whatever the file holds, no exception.
    """
    from PIL import Image

    try:
        with Image.open(Path(path)) as image:
            width, height = image.size
            exif = image.info.get("exif", b"")
    except Exception:  # Pillow's readers raise nearly everything on damaged files
        return None
    return focal_length_of(exif, width, height)


def focal_length_of(exif: bytes, width: int, height: int) -> float | None:
    """As `focal_length_px`, of an EXIF block and an image of width x height px."""
    data = exif.removeprefix(b"Exif\x00\x00")
    found: dict[int, int] = {}
    for tag, _, _, value in exif_tags(data):
        if tag == _EXIF:
            found = {tag: value for tag, kind, _, value in exif_tags(data, value) if kind in (3, 4)}
            break
    focal = float(found.get(_FOCAL_35MM, 0))
    if not _FOCAL_MM[0] <= focal <= _FOCAL_MM[1] or min(width, height) < 1:
        return None
    frame = sorted((found.get(_WIDTH, width), found.get(_HEIGHT, height)))
    sides = sorted((width, height))
    if frame[0] < 1 or abs(math.log(frame[1] / frame[0] * sides[0] / sides[1])) > _SAME_SHAPE:
        return None
    return focal * math.hypot(width, height) / _DIAGONAL_MM

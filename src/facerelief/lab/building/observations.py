"""Landmarks of a folder of photos, by which the model's landmarks are placed.

Tested by tests/cli/test_model_build.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from facerelief import detection
from facerelief.errors import FacereliefError, ImageError
from facerelief.io.images import read_image
from facerelief.lab.building.open_model import Observations
from facerelief.pipeline.batch import find_images

_LEAST_PHOTOS, _LEAST_NEUTRAL = 50, 30


def observe_photos(
    photos: Path,
    neutral: str,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    left_out: Callable[[str], None] = lambda line: None,
) -> Observations:
    """Landmarks of the best face of each photo.

    Args:
        photos: Folder; subfolders count too.
        neutral: Glob of the photos that show neutral faces.
        progress: Called with the numbers of photos done and of all.
        left_out: Called with a line about each unusable photo.

    Raises:
        FacereliefError: There is no such folder, or too few faces in it.
    """
    if not photos.is_dir():
        raise FacereliefError(f"{photos}: not a folder; name a folder of photos")
    chosen = set(photos.glob(neutral))
    seen = Observations([], [])
    files = find_images(photos, recursive=True)
    for done, file in enumerate(files, 1):
        try:
            faces = detection.detect_faces(read_image(file), max_faces=1)
        except ImageError as error:
            left_out(f"left out: {error}")
        else:
            if not faces:
                left_out(f"left out: {file}: no face found")
            for face in faces:
                seen.any.append(face.landmarks)
                if file in chosen:
                    seen.neutral.append(face.landmarks)
        progress(done, len(files))
    if len(seen.any) < _LEAST_PHOTOS or len(seen.neutral) < _LEAST_NEUTRAL:
        raise FacereliefError(
            f"{photos}: faces found on {len(seen.any)} photos, {len(seen.neutral)} of them neutral "
            f"({neutral}), at least {_LEAST_PHOTOS} and {_LEAST_NEUTRAL} are needed; give more photos or "
            "another --neutral"
        )
    return seen

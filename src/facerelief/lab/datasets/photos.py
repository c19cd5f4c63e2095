"""Folders of photos: their subjects and groups."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ImageError
from facerelief.io.images import read_image
from facerelief.pipeline.batch import find_images


@dataclass(frozen=True)
class Photo:
    """A photo of a collection and its subject."""

    file: Path
    subject: str
    group: str
    licence: str = ""


def find_photos(folder: str | Path, groups: Sequence[str] = (), limit: int | None = None) -> list[Photo]:
    """The photos of a folder with their subjects and groups.

    An `index.csv` in the folder with columns `file` and `person` (and `source`, the group, and `licence`)
    names the subjects; else every photo has a subject of its own and its subfolder is the group. groups: only
    these; limit: this many of each group, evenly spread. Raises ImageError for a folder without images.
    """
    folder = Path(folder)
    index = folder / "index.csv"
    photos: list[Photo] = []
    if index.is_file():
        with index.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                if "file" not in row or "person" not in row:
                    raise ImageError(f"{index}: expected columns file and person, found {', '.join(row)}")
                group = row.get("source") or Path(row["file"]).parent.name
                photos.append(Photo(folder / row["file"], row["person"], group, row.get("licence") or ""))
    elif folder.is_dir():
        photos = [Photo(file, file.stem, file.parent.name) for file in find_images(folder, recursive=True)]
    photos = [photo for photo in photos if not groups or photo.group in groups]
    if limit is not None:
        chosen: list[Photo] = []
        for group in dict.fromkeys(photo.group for photo in photos):
            members = [photo for photo in photos if photo.group == group]
            step = max(len(members) / limit, 1.0)
            chosen += [members[int(k * step)] for k in range(min(limit, len(members)))]
        photos = chosen
    if not photos:
        which = f" in {', '.join(groups)}" if groups else ""
        raise ImageError(f"{folder}: no images{which}; name a folder of photos")
    return photos


def background_parts(folder: Path, most: int = 2000, side: int = 112, seed: int = 0) -> NDArray[np.uint8]:
    """(M, side, side, 3) random squares from the corners of a folder's photos, away from their faces.

    Raises:
        ImageError: There is no readable image.
    """
    import cv2

    rng, out = np.random.default_rng(seed), list[NDArray[np.uint8]]()
    files = [photo.file for photo in find_photos(folder)]
    for k in rng.permutation(len(files))[:most]:
        try:
            photo = read_image(files[k])
        except ImageError:
            continue
        height, width = photo.shape[:2]
        size = max(2, int(min(height, width) * rng.uniform(0.28, 0.42)))
        left = 0 if rng.random() < 0.5 else width - size
        top = 0 if rng.random() < 0.65 else int(rng.integers(height - size + 1))
        part = photo[top : top + size, left : left + size]
        out.append(np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA), np.uint8))
    if not out:
        raise ImageError(f"{folder}: no readable picture; give a folder with photos for --backgrounds")
    return np.stack(out)

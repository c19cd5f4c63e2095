"""Groups of subjects by skin tone, age and gender (docs/comparison.md).

They come from the metadata and the pixels of the photos; nothing here guesses age, gender or origin.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.fit import landmarks_for
from facerelief.inverse.landmark_fit import fit_landmarks
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float, Image

TONES = (
    ("very light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -90.0),
)
"""Groups of the individual typology angle and the degrees above which each begins (Chardon et al. 1991)."""
AGES = (25, 35, 50)
"""Years at which an age group ends and the next begins."""
TONE, AGE, GENDER = "skin tone", "age", "gender"
ATTRIBUTES = (TONE, AGE, GENDER)


# ---------------------------------------------------------------- skin tone


def skin_tone(model: FaceModel, image: Image, landmarks: Float) -> float:
    """Individual typology angle of a photo's skin, degrees: atan2(L* - 50, b*) of the median CIELAB colour.

    Measured where plain skin (no eyes, brows, lips) faces the camera, as the landmark fit places it, the same
    for all methods. Light and exposure of the photo are in it: it compares skin only among photos of one
    studio. NaN where no skin lies in the image.

    Args:
        image: (H, W, 3) sRGB.
        landmarks: (478, 2) px, as detected.
    """
    import cv2

    observed, name = landmarks_for(model, landmarks)
    state = fit_landmarks(model, observed, name=name).state
    vertices = model.shape(state.identity, state.expression)
    plain = model.face_vertices.copy()
    for region in ("lips", "brows", "eyes"):
        plain &= ~model.regions.get(region, np.zeros_like(plain))
    plain &= state.camera.to_camera(vertex_normals(vertices, model.triangles))[:, 2] > 0.7
    uv = np.floor(state.camera.project(vertices[plain])[:, :2]).astype(int)
    height, width = image.shape[:2]
    inside = (uv >= 0).all(axis=1) & (uv[:, 0] < width) & (uv[:, 1] < height)
    if not inside.any():
        return float("nan")
    colours = image[uv[inside, 1], uv[inside, 0]].astype(np.float32)[None] / 255
    lightness, _, yellow = np.median(np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2LAB))[0], axis=0).tolist()
    return typology_angle(lightness, yellow)


def typology_angle(lightness: float, yellow: float) -> float:
    """Degrees, of CIELAB's L* (0 to 100) and b*; atan2, so that skin without yellow has one too."""
    return float(np.degrees(np.arctan2(lightness - 50, max(yellow, 0.0))))


def tone_group(angle: float) -> str:
    """The group of `TONES` of an individual typology angle in degrees; "" of NaN."""
    return next((name for name, least in TONES if angle > least), "dark") if np.isfinite(angle) else ""


# ---------------------------------------------------------------- age and gender


@dataclass(frozen=True)
class Person:
    """Age and gender of a subject."""

    age: float | None = None
    """Years."""
    gender: str = ""
    """In the file's words; empty where it has none."""


@dataclass(frozen=True)
class People:
    """Subjects of a file: by name, or by the number that their photos' names begin with."""

    by_subject: Mapping[str, Person] = field(default_factory=dict[str, Person])
    by_number: Mapping[str, Person] = field(default_factory=dict[str, Person])
    """Of the Face Research Lab London Set: "001" for the photos 001_03 and 001_08."""

    def find(self, subject: str, photo: str) -> Person | None:
        """subject: a name; photo: a file's name, whose stem counts."""
        number = _LONDON.fullmatch(Path(photo).stem)
        return self.by_subject.get(subject) or (self.by_number.get(number[1]) if number else None)


_LONDON = re.compile(r"(\d{3})_\d{2}")


def read_people(file: str | Path) -> People:
    """Ages and genders from a CSV file with a head line.

    Columns: `person` (a name, as an index.csv has it) with `age` (years) or `gender` or both; or those of the
    London Set's own london_faces_info.csv: `face_id` (X001), `face_age`, `face_sex` or `face_gender`. Other
    columns are left alone, empty cells are unknown.

    Raises:
        FacereliefError: The file is no such table.
    """
    file = Path(file)
    columns, rows = _csv(file)
    london = "face_id" in columns and "person" not in columns
    key, age = ("face_id", "face_age") if london else ("person", "age")
    gender = next((x for x in ("face_sex", "face_gender", "gender", "sex") if x in columns), "")
    if key not in columns or not (age in columns or gender):
        raise FacereliefError(
            f"{file}: expected the columns person and age or gender, or face_id and face_age or face_sex, "
            f"found {', '.join(columns) or 'nothing'}"
        )
    out: dict[str, Person] = {}
    for line, row in enumerate(rows, 2):
        name = (row[key] or "").strip()
        name = name.removeprefix("X") if london else name
        years = _years(row.get(age) or "", f"{file}: line {line}")
        if not name or name in out:
            why = f"{name} a second time" if name else f"no {key}"
            raise FacereliefError(f"{file}: line {line}: {why}; give each person one line")
        out[name] = Person(years, ((row.get(gender) or "") if gender else "").strip().lower())
    return People(by_number=out) if london else People(by_subject=out)


def _csv(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows. Raises FacereliefError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            return columns, list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FacereliefError(f"{file}: cannot be read ({error}); give a CSV file") from error


def _years(text: str, place: str) -> float | None:
    """An age in years, or None for an empty cell. Raises FacereliefError."""
    text = text.strip()
    if not text:
        return None
    try:
        years = float(text)
    except ValueError:
        years = -1.0
    if not 0 <= years <= 130:
        raise FacereliefError(f"{place}: age {text!r}, expected years; correct it or leave it out")
    return years


def age_group(age: float | None) -> str:
    """ "under 25", "25 to 34", "35 to 49", "50 and over" (`AGES`); "" where the age is unknown."""
    if age is None:
        return ""
    if age < AGES[0]:
        return f"under {AGES[0]}"
    for low, high in itertools.pairwise(AGES):
        if age < high:
            return f"{low} to {high - 1}"
    return f"{AGES[-1]} and over"


def group_names(attribute: str, found: Sequence[str]) -> list[str]:
    """The groups that occur among `found`, in the order of tables; "" is none."""
    order = [name for name, _ in TONES] if attribute == TONE else []
    if attribute == AGE:
        order = [age_group(years) for years in (0, *AGES)]
    known = [name for name in order if name in found]
    return known + sorted({name for name in found if name and name not in known})


def groups_of(people: People, subject: str, photo: str, angle: float) -> dict[str, str]:
    """Attribute -> group of a photo; "" where it has none. angle: see `skin_tone`."""
    known = people.find(subject, photo) or Person()
    return {TONE: tone_group(angle), AGE: age_group(known.age), GENDER: known.gender}

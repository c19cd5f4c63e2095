"""Split into training and held-out subjects: whole subjects, never single images."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from facerelief.errors import FacereliefError

SPLITS = ("train", "val", "test")
SHARES = {"val": 0.08, "test": 0.08}
"""Expected share of the families; the rest is trained on."""


def split_of(family: str, shares: dict[str, float] = SHARES) -> str:
    """The side a family is on: a hash of its name decides, so the answer never changes and needs no list.

    family: what must not be divided: a subject, or all subjects who may be the same person.
    """
    at = int.from_bytes(hashlib.sha256(family.encode("utf-8")).digest()[:8], "big") / 2**64
    for name, share in shares.items():
        if at < share:
            return name
        at -= share
    return "train"


def read_families(file: str | Path) -> dict[str, str]:
    """Subject -> family, from a CSV file with the columns `person` and `family`.

    Where two subjects may be one person (two collections that name them differently), a common family keeps
    them on one side; an empty family leaves the subject out. Raises FacereliefError for another file.
    """
    file = Path(file)
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FacereliefError(f"{file}: cannot be read ({error}); give a CSV file") from error
    if not rows or not {"person", "family"} <= set(rows[0]):
        found = ", ".join(rows[0]) if rows else "nothing"
        raise FacereliefError(f"{file}: expected the columns person and family, found {found}")
    return {row["person"]: row["family"] for row in rows}

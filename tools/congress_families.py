"""Families for two collections of portraits of the US Congress that name the same subjects differently.

    python tools/congress_families.py PHOTOS/index.csv -o families.csv

One collection names subjects by their Biographical Directory identifier, whose first letter is that of the
surname; the other by given name and surname ("john-lewis"). All with the same first letter of the surname are
one family, so that no subject is in the training data under one name and in the test data under the other.
Where the surname's beginning is doubtful ("van-drew") and the two readings are on different sides, the
subject is left out: the family is empty. `facerelief fit --families families.csv` reads the result.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from facerelief.lab.datasets.splits import split_of

SUFFIXES = {"jr", "sr", "ii", "iii", "iv"}


def family(person: str, source: str) -> str:
    """The family of one row of the index."""
    if source == "congress225":
        return f"congress {person[0].lower()}"
    parts = [part for part in person.lower().split("-") if part not in SUFFIXES]
    readings = {f"congress {part[0]}" for part in parts[1:] if len(part) > 1}
    sides = {split_of(reading) for reading in readings}
    return f"congress {parts[-1][0]}" if len(sides) <= 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path, help="index.csv with the columns person and source")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.index.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    found = {
        row["person"]: family(row["person"], row["source"])
        for row in rows
        if row["source"] in ("congress225", "us_congress")
    }
    with arguments.out.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["person", "family"])
        writer.writerows(sorted(found.items()))
    print(f"{len(found)} subjects, {sum(not f for f in found.values())} left out")


if __name__ == "__main__":
    main()

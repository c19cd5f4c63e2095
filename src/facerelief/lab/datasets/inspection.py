"""Inspection of a data set: counts and distributions, a contact sheet, and a check of its integrity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.io.atomic import TEMPORARY_PREFIX
from facerelief.io.digest import file_digest
from facerelief.lab.datasets import shards
from facerelief.lab.datasets.manifest import MANIFEST, RECIPE, SCHEMA, differences, read_json, tally
from facerelief.lab.datasets.splits import SPLITS, split_of

TILE = 192
"""Side of an image on the contact sheet, px."""
_RECORD = ("name", "split", "sha256", "bytes", "samples", "photos", "failures", "seconds")
USED = 0.2
"""An expression coefficient above this counts as used."""


@dataclass(frozen=True)
class Place:
    """Place of a sample: the shard, its number there, and its source photo."""

    shard: str
    number: int
    split: str
    group: str


class DataSet:
    """A data set's folder, finished or not."""

    def __init__(self, folder: str | Path) -> None:
        """Raises FacereliefError where there is none."""
        self.folder = Path(folder)
        self.recipe = read_json(self.folder / RECIPE)
        if self.recipe.get("schema") != SCHEMA:
            raise FacereliefError(
                f"{self.folder / RECIPE}: schema {self.recipe.get('schema')!r}, expected {SCHEMA!r}; "
                "make the data set again"
            )
        self.records = [
            read_json(file)
            for file in sorted(self.folder.glob("*.json"))
            if file.name not in (RECIPE, MANIFEST)
        ]
        for record in self.records:
            if lacking := {*_RECORD} - record.keys():
                raise FacereliefError(
                    f"{self.folder}: a shard's record lacks {', '.join(sorted(lacking))}; delete it and give "
                    "the synthesize command again"
                )
        order = {split: k for k, split in enumerate(SPLITS)}
        self.records.sort(key=lambda r: (order.get(r["split"], len(order)), r["name"]))

    @property
    def finished(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    def places(self, split: str | None = None, groups: Sequence[str] = ()) -> list[Place]:
        """The samples of a split (of all), from photos of these groups (of all)."""
        found: list[Place] = []
        for record in self.records:
            number = 0
            for photo in record["photos"]:
                if split in (None, record["split"]) and (not groups or photo["group"] in groups):
                    found += [
                        Place(record["name"], number + k, record["split"], photo["group"])
                        for k in range(photo["samples"])
                    ]
                number += photo["samples"]
        return found

    def members(
        self, places: Sequence[Place], endings: Sequence[str] = ()
    ) -> Iterator[tuple[Place, str, dict[str, bytes]]]:
        """(place, key, members) of these samples, by shard; only these endings' members, if any are given.

        Raises FacereliefError for a damaged shard.
        """
        wanted: dict[str, dict[int, Place]] = {}
        for place in places:
            wanted.setdefault(place.shard, {})[place.number] = place
        for shard, numbers in wanted.items():
            with shards.open_shard(self.folder / f"{shard}.tar") as samples:
                for number, (key, entries, tar) in enumerate(samples):
                    if number in numbers:
                        chosen = {x: e for x, e in entries.items() if not endings or x in endings}
                        yield (
                            numbers[number],
                            key,
                            {x: shards.member_bytes(tar, e) for x, e in chosen.items()},
                        )


def spread(places: Sequence[Place], most: int) -> list[Place]:
    """At most `most` of the places, evenly spread."""
    if len(places) <= most:
        return list(places)
    return [places[int(k * len(places) / most)] for k in range(most)]


# ---------------------------------------------------------------- counts and distributions


def describe(data: DataSet, *, split: str | None = None, samples: int = 2000) -> dict[str, Any]:
    """Facts about a data set, JSON-serialisable.

    {"kind", "finished", "splits": {split: counts}, "groups", "licences": {name: counts}, "failures",
    "samples_per_worker_second", "mb", "labels": {name: {shape, dtype}}, "distributions": {name: percentiles
    5, 25, 50, 75, 95}, "expressions": {name: share of samples that use it}}. Distributions are of that many
    samples, evenly spread: angles in degrees, the box's larger side in px. Raises FacereliefError for
    damaged shards.
    """
    tallies, subjects = tally(data.records)
    for name, row in tallies["splits"].items():
        row["persons"] = len(subjects[name])
        row["shards"] = sum(r["split"] == name for r in data.records)
    total = sum(r["samples"] for r in data.records)
    seconds = sum(r["seconds"] for r in data.records)
    failures: dict[str, str] = {}
    for record in data.records:
        failures |= record["failures"]
    if data.finished:
        failures |= read_json(data.folder / MANIFEST).get("failures", {})
    return {
        "kind": data.recipe["kind"],
        "finished": data.finished,
        **tallies,
        "failures": failures,
        "samples": total,
        "samples_per_worker_second": round(total / seconds, 2) if seconds else 0.0,
        "mb": round(sum(r["bytes"] for r in data.records) / 1e6, 1),
        **_distributions(data, spread(data.places(split), samples)),
    }


def _distributions(data: DataSet, places: Sequence[Place]) -> dict[str, Any]:
    values: dict[str, list[float]] = {}
    expressions: list[NDArray[Any]] = []
    shapes: dict[str, dict[str, Any]] = {}
    for place, key, members in data.members(places, ("npz",)):
        try:
            labels = shards.unpack_labels(members["npz"])
        except (ValueError, KeyError) as error:
            raise FacereliefError(
                f"{place.shard}.tar: {key}: {error}; run `facerelief dataset verify`"
            ) from error
        shapes = shapes or {
            name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in labels.items()
        }
        if "camera" in labels:
            for name, angle in zip(("pitch", "yaw", "roll"), labels["camera"]):
                values.setdefault(name, []).append(math.degrees(float(angle)))
        if "box" in labels:
            left, top, right, bottom = labels["box"]
            values.setdefault("box", []).append(float(max(right - left, bottom - top)))
        if "expression" in labels:
            expressions.append(labels["expression"])
    used: dict[str, float] = {}
    if expressions:
        shares = (np.abs(np.stack(expressions)) > USED).mean(axis=0)
        names = _expression_names(data, len(shares))
        used = {names[int(k)]: round(float(shares[k]), 3) for k in np.argsort(-shares, kind="stable")}
    return {
        "looked_at": len(places),
        "labels": shapes,
        "distributions": {
            name: [round(float(x), 1) for x in np.percentile(row, (5, 25, 50, 75, 95))]
            for name, row in values.items()
        },
        "expressions": used,
    }


def _expression_names(data: DataSet, count: int) -> Sequence[str]:
    from facerelief.morphable import EMBEDDED, open_model

    for model in map(open_model, EMBEDDED):
        if model.name == data.recipe["model"]["name"] and len(model.expression_names) == count:
            return model.expression_names
    return [f"expression {k}" for k in range(count)]


# ---------------------------------------------------------------- contact sheet


def contact_sheet(
    data: DataSet,
    *,
    count: int = 48,
    split: str | None = None,
    groups: Sequence[str] = (),
    seed: int = 0,
    columns: int = 8,
) -> NDArray[np.uint8]:
    """Random samples side by side, (H, W, 3) RGB; every other one with its landmarks and box marked.

    Raises FacereliefError where there are none.
    """
    places = data.places(split, groups)
    if not places:
        which = " ".join(filter(None, [split, *groups]))
        raise FacereliefError(
            f"{data.folder}: no samples {f'of {which} ' if which else ''}there; ask for others"
        )
    chosen = np.random.default_rng(seed).choice(len(places), min(count, len(places)), replace=False)
    found = {
        place: (key, members) for place, key, members in data.members([places[k] for k in sorted(chosen)])
    }
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet = np.full((rows * TILE, columns * TILE, 3), 32, np.uint8)
    for k, index in enumerate(chosen):
        key, members = found[places[index]]
        try:
            tile = _tile(shards.decode_image(members), shards.unpack_labels(members["npz"]) if k % 2 else {})
        except (ValueError, KeyError) as error:
            raise FacereliefError(
                f"{places[index].shard}.tar: {key}: {error}; verify the data set"
            ) from error
        top, left = k // columns * TILE, k % columns * TILE
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _tile(image: NDArray[np.uint8], labels: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    import cv2

    scale = TILE / max(image.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.resize(image, None, fx=scale, fy=scale, interpolation=kind)

    def at(u: float, v: float) -> tuple[int, int]:
        """In sixteenths of a pixel from the first pixel's centre."""
        return round((u * scale - 0.5) * 16), round((v * scale - 0.5) * 16)

    if "box" in labels:
        left, top, right, bottom = (float(x) for x in labels["box"])
        cv2.rectangle(tile, at(left, top), at(right, bottom), (255, 200, 0), 1, cv2.LINE_AA, 4)
    for u, v in labels.get("landmarks68", np.zeros((0, 3)))[:, :2]:
        cv2.circle(tile, at(float(u), float(v)), 20, (0, 255, 0), -1, cv2.LINE_AA, 4)
    return np.asarray(tile, np.uint8)


# ---------------------------------------------------------------- integrity


def verify(
    folder: str | Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[str]:
    """One line for everything that is wrong with a data set; none where it is whole.

    Hashes, records and manifest agree; every image and label can be read and is finite; keys are unique;
    no person or family is in two splits. Raises FacereliefError where there is no data set.
    """
    data = DataSet(folder)
    if data.finished:
        manifest = read_json(data.folder / MANIFEST)
        yield from _manifest_problems(data, manifest)
    else:
        yield f"{MANIFEST}: missing; give the synthesize command again to finish the data set"
    for entry in sorted(data.folder.glob(f"{TEMPORARY_PREFIX}*")):
        yield f"{entry.name}: left over by a run that was killed; give the synthesize command again"
    seen: dict[str, str] = {}
    sides: dict[tuple[str, str], str] = {}
    for done, record in enumerate(data.records):
        yield from _shard_problems(data, record, seen, sides)
        progress(done + 1, len(data.records))


def _manifest_problems(data: DataSet, manifest: dict[str, Any]) -> Iterator[str]:
    for line in differences(data.recipe, {name: manifest.get(name) for name in data.recipe}):
        yield f"{MANIFEST}: does not agree with {RECIPE}: {line.replace(' asked', ' in the manifest')}"
    named = {row["file"].removesuffix(".tar"): row for row in manifest.get("shards", ())}
    records = {record["name"]: record for record in data.records}
    for name in sorted(named.keys() - records.keys()):
        yield f"{name}.json: missing, but the manifest names the shard"
    for name in sorted(records.keys() - named.keys()):
        yield f"{name}.json: not in the manifest"
    for name in sorted(named.keys() & records.keys()):
        for key in ("sha256", "bytes", "samples", "split"):
            if named[name].get(key) != records[name].get(key):
                yield f"{name}.json: {key} is not the manifest's"
    for file in sorted(data.folder.glob("*.tar")):
        if file.stem not in named:
            yield f"{file.name}: not in the manifest"
    for split, counts in manifest.get("counts", {}).items():
        samples = sum(r["samples"] for r in data.records if r["split"] == split)
        if counts.get("samples") != samples:
            yield f"{MANIFEST}: {counts.get('samples')} {split} samples, the shards have {samples}"


def _shard_problems(
    data: DataSet, record: dict[str, Any], seen: dict[str, str], sides: dict[tuple[str, str], str]
) -> Iterator[str]:
    file = data.folder / f"{record['name']}.tar"
    try:
        if file_digest(file) != record["sha256"]:
            yield f"{file.name}: its bytes are not those that were written (SHA-256)"
    except FacereliefError as error:
        yield str(error).replace(str(file), file.name)
        return
    photos: dict[str, int] = {}
    try:
        for key, members in shards.read_members(file):
            if key in seen:
                yield f"{file.name}: {key}: a second time, after {seen[key]}"
            seen[key] = file.name
            for line in _sample_problems(key, members, record["split"], sides):
                yield f"{file.name}: {key}: {line}"
            try:
                source = str(shards.decode_about(members).get("source"))
            except ValueError:
                source = ""
            photos[source] = photos.get(source, 0) + 1
    except FacereliefError as error:
        yield " ".join(str(error).replace(str(file), file.name).split())
        return
    if sorted(photos.values()) != sorted(p["samples"] for p in record["photos"] if p["samples"]):
        yield f"{file.name}: samples of its photos are not those of {record['name']}.json"


def _sample_problems(
    key: str, members: dict[str, bytes], split: str, sides: dict[tuple[str, str], str]
) -> Iterator[str]:
    try:
        sample = shards.decode_sample(key, members)
    except ValueError as error:
        yield str(error)
        return
    for name, array in sample.labels.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            yield f"label {name} is not finite"
    about = sample.about
    if about.get("split") != split or split_of(str(about.get("family"))) != split:
        yield f"is of {about.get('split')}, in a shard of {split}"
    for what in ("person", "family"):
        name = str(about.get(what))
        if sides.setdefault((what, name), split) != split:
            yield f"{what} {name} is in {sides[what, name]} too"

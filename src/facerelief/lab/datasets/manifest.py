"""JSON documents of a data set: its recipe, a record per shard, and the manifest of the whole.

`recipe.json` is written first and never changes. `<shard>.json` stands beside a finished shard's .tar.
`manifest.json` is written last.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from facerelief._version import __version__
from facerelief.errors import FacereliefError, OutputError
from facerelief.io.atomic import TEMPORARY_PREFIX, write_bytes
from facerelief.lab.datasets.fits import _DONE, FitFolder
from facerelief.lab.datasets.kinds import Kind
from facerelief.lab.datasets.shards import IMAGE_FORMATS, ImageFormat
from facerelief.lab.datasets.splits import SPLITS, split_of

SCHEMA = "facerelief dataset 1"
RECIPE, MANIFEST = "recipe.json", "manifest.json"


@dataclass(frozen=True)
class Recipe:
    """Everything but the fits that decides the bytes of a data set's shards."""

    kind: Kind
    config: Any = None
    """The kind's configuration, a dataclass."""
    per_photo: int = 30
    """Samples of each photo."""
    seed: int = 0
    image_format: ImageFormat = "jpg"
    splits: tuple[str, ...] = SPLITS
    limit: int | None = None
    """At most this many photos, sampled by the seed; all of them unless given."""
    photos_per_shard: int = 32

    def __post_init__(self) -> None:
        for name, least in (("per_photo", 1), ("photos_per_shard", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least {least}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}: expected at least 1")
        if self.image_format not in IMAGE_FORMATS:
            raise ValueError(f"image_format is {self.image_format!r}: expected {' or '.join(IMAGE_FORMATS)}")
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise ValueError(f"splits are {', '.join(self.splits)}: expected some of {', '.join(SPLITS)}")


@dataclass(frozen=True)
class SourcePhoto:
    """A photo of a plan, as the manifest lists it."""

    name: str
    subject: str
    family: str
    group: str
    licence: str

    @property
    def split(self) -> str:
        return split_of(self.family)


@dataclass(frozen=True)
class ShardPlan:
    """A slice of the photos of one split, and the shard it becomes."""

    name: str
    """Of the file, without its ending: "train-000000"."""
    split: str
    photos: tuple[SourcePhoto, ...]


@dataclass(frozen=True)
class Plan:
    """A data set before it is made: what every run of the same recipe agrees on."""

    recipe: Recipe
    about: dict[str, Any]
    """`recipe.json`."""
    shards: tuple[ShardPlan, ...]
    damaged: dict[str, str] = field(default_factory=dict)
    """Fits that cannot be read: name -> why."""


def versions() -> dict[str, str]:
    """Versions of what decides about bytes."""
    found = {"facerelief": __version__, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    for package in ("numpy", "scipy", "numba", "opencv-python-headless"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def make_plan(recipe: Recipe, fits: FitFolder) -> Plan:
    """Distribute photos to shards, by the seed and the photos' names alone.

    Raises FacereliefError where no photo is left.
    """
    sources: list[SourcePhoto] = []
    damaged: dict[str, str] = {}
    digest = hashlib.sha256()
    for name in fits.names:
        try:
            source, state = _source(fits, name)
        except FacereliefError as error:
            source, state = None, "damaged"
            damaged[name] = str(error)
        digest.update(f"{name} {state}\n".encode())
        if source is not None and source.split in recipe.splits:
            sources.append(source)
    sources.sort(key=lambda s: hashlib.sha256(f"{recipe.seed} {s.name}".encode()).digest())
    sources = sources[: recipe.limit]
    if not sources:
        raise FacereliefError(
            f"{fits.folder}: none of the {len(fits)} fits is in {', '.join(recipe.splits)}; fit more photos"
        )
    shards: list[ShardPlan] = []
    for split in SPLITS:
        members = [source for source in sources if source.split == split]
        for number, start in enumerate(range(0, len(members), recipe.photos_per_shard)):
            part = tuple(members[start : start + recipe.photos_per_shard])
            shards.append(ShardPlan(f"{split}-{number:06d}", split, part))
    model, model_version = fits.model_name
    about = {
        "schema": SCHEMA,
        "kind": recipe.kind.name,
        "config": {} if recipe.config is None else asdict(recipe.config),
        "per_photo": recipe.per_photo,
        "seed": recipe.seed,
        "picture": recipe.image_format,
        "splits": sorted(recipe.splits),
        "limit": recipe.limit,
        "photos_per_shard": recipe.photos_per_shard,
        "fits": {"count": len(fits), "sha256": digest.hexdigest()},
        "model": {"name": model, "version": model_version},
        "versions": versions(),
    }
    return Plan(recipe, json.loads(json.dumps(about)), tuple(shards), damaged)


def _source(fits: FitFolder, name: str) -> tuple[SourcePhoto, str]:
    """The photo of a fit, without unpacking the whole fit; and the hash of the fit."""
    file = fits.folder / f"{name}{_DONE}"
    try:
        data = file.read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            about = json.loads(bytes(arrays["about"]).decode("utf-8"))
        source = SourcePhoto(name, *(str(about[key]) for key in ("person", "family", "group", "licence")))
    except Exception as error:  # damaged archives raise many kinds
        raise FacereliefError(f"{file}: damaged ({error}); delete it and fit again") from error
    return source, hashlib.sha256(data).hexdigest()


def begin(out: Path, plan: Plan) -> None:
    """Take a folder for a plan, or see that it holds the same one.

    Raises OutputError where it holds something else, or cannot be written.
    """
    file = out / RECIPE
    if file.exists():
        there = read_json(file)
        versions = there.get("versions")
        if isinstance(versions, dict):
            versions.pop("webdataset", None)  # wrote the same bytes as the standard library does now
        differing = differences(there, plan.about)
        if differing:
            raise OutputError(
                f"{out}: holds another data set ({'; '.join(differing)}); choose another folder, or ask for "
                "the same"
            )
        return
    if any(not entry.name.startswith((TEMPORARY_PREFIX, ".lock")) for entry in out.iterdir()):
        raise OutputError(f"{out}: already there and no data set; choose another folder")
    write_bytes(file, _text(plan.about))


def differences(there: Any, asked: Any, name: str = "") -> list[str]:
    """Differences between two documents: "config.size: 224 there, 256 asked"."""
    if isinstance(there, dict) and isinstance(asked, dict):
        found: list[str] = []
        for key in dict.fromkeys([*there, *asked]):
            found += differences(there.get(key), asked.get(key), f"{name}.{key}" if name else key)
        return found
    if there == asked:
        return []
    return [f"{name}: {_short(there)} there, {_short(asked)} asked"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises FacereliefError for anything else."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FacereliefError(f"{file}: cannot be read ({error}); give the folder of a data set") from error
    if not isinstance(document, dict):
        raise FacereliefError(f"{file}: expected a JSON object; give the folder of a data set")
    return document


def write_record(out: Path, name: str, record: dict[str, Any]) -> None:
    """Write the record of a finished shard. Raises OutputError."""
    write_bytes(out / f"{name}.json", _text(record))


def read_record(out: Path, name: str) -> dict[str, Any] | None:
    """Record of a finished shard; None where there is none or its file has another size."""
    try:
        record = read_json(out / f"{name}.json")
        return record if (out / f"{name}.tar").stat().st_size == record["bytes"] else None
    except (FacereliefError, OSError, KeyError):
        return None


def tally(
    records: Sequence[dict[str, Any]],
) -> tuple[dict[str, dict[str, dict[str, int]]], dict[str, set[str]]]:
    """Numbers of photos and samples in shards' records by the names of "splits", "groups" and "licences"; and
    the subjects of each split."""
    counts: dict[str, dict[str, dict[str, int]]] = {"splits": {}, "groups": {}, "licences": {}}
    subjects: dict[str, set[str]] = {}
    for record in records:
        for photo in record["photos"]:
            names = {"splits": record["split"], "groups": photo["group"], "licences": photo["licence"]}
            for kind, name in names.items():
                row = counts[kind].setdefault(name, {"photos": 0, "samples": 0})
                row["photos"] += 1
                row["samples"] += photo["samples"]
            subjects.setdefault(record["split"], set()).add(photo["person"])
    return counts, subjects


def write_manifest(out: Path, plan: Plan, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the manifest of a finished data set; returns it. Raises OutputError."""
    counts, subjects = tally(records)
    failures = dict(plan.damaged)
    for record in records:
        failures.update(record["failures"])

    def count(split: str) -> dict[str, int]:
        mine, found = [r for r in records if r["split"] == split], counts["splits"].get(split, {})
        out = {"shards": len(mine), "photos": found.get("photos", 0), "samples": found.get("samples", 0)}
        return out | {"bytes": sum(r["bytes"] for r in mine), "persons": len(subjects.get(split, ()))}

    manifest = plan.about | {
        "counts": {split: count(split) for split in plan.recipe.splits},
        "licences": dict(sorted(counts["licences"].items())),
        "groups": dict(sorted(counts["groups"].items())),
        "shards": [
            {"file": f"{r['name']}.tar"} | {key: r[key] for key in ("split", "sha256", "bytes", "samples")}
            for r in records
        ],
        "failures": dict(sorted(failures.items())),
        "seconds": round(sum(record["seconds"] for record in records), 1),
    }
    write_bytes(out / MANIFEST, _text(manifest))
    return manifest


def _text(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8")

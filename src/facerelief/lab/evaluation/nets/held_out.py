"""Held-out samples of data sets and held-out photos of fits: subjects that the networks have not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facerelief.errors import FacereliefError
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.datasets.fine import FineConfig, FineMaker
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.inspection import DataSet, spread
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.shards import decode_sample
from facerelief.lab.evaluation.nets.fine import PhotoRelief
from facerelief.morphable.model import FaceModel

LEAST_CONFIDENCE = 0.6
"""Fits of less confidence are no measure of FineNet."""
LEAST_FACE_PX = 200.0
"""Nor are those of smaller faces."""


@dataclass(frozen=True)
class HeldOut:
    """Samples of one split of a data set."""

    split: str
    count: int
    samples: Iterator[Sample]
    """Read as they are asked for; FacereliefError for a damaged one."""


def held_out(
    model: FaceModel | None,
    folder: Path,
    kinds: Sequence[str],
    split: str | None = None,
    limit: int | None = None,
) -> HeldOut:
    """Held-out samples of a data set, evenly spread.

    Args:
        model: face model that the samples must be made with; None for any.
        kinds: accepted kinds of data sets.
        split: "val" or "test"; None for test, or val where test is empty.
        limit: most samples.

    Raises:
        FacereliefError: The folder is of another kind or face model, or has no such samples.
    """
    data = DataSet(folder)
    if data.recipe.get("kind") not in kinds:
        raise FacereliefError(
            f"{folder}: holds {data.recipe.get('kind')}, expected {' or '.join(kinds)}; give another folder"
        )
    made_with = data.recipe.get("model", {})
    if model and (made_with.get("name"), made_with.get("version")) != (model.name, str(model.version)):
        raise FacereliefError(
            f"{folder}: made with face model {made_with.get('name')!r} version {made_with.get('version')}, "
            f"expected {model.name!r} version {model.version}; make the data set again"
        )
    wanted = ("test", "val") if split is None else (split,)
    part, places = next(((name, p) for name in wanted if (p := data.places(name))), ("", []))
    if not places:
        raise FacereliefError(f"{folder}: no samples of {' or '.join(wanted)}; make some")
    chosen = spread(places, limit or len(places))

    def read() -> Iterator[Sample]:
        for place, key, members in data.members(chosen):
            try:
                yield decode_sample(key, members)
            except ValueError as error:
                raise FacereliefError(
                    f"{folder / place.shard}.tar: sample {key}: {error}; make the shard again"
                ) from error

    return HeldOut(part, len(chosen), read())


def held_out_fits(fits: FitFolder, split: str | None = None, limit: int | None = None) -> list[str]:
    """Names of held-out photos with a confident fit and a large face, evenly spread.

    Args:
        split: "val" or "test"; None for both.
        limit: most photos.

    Raises:
        FacereliefError: There are none.
    """
    wanted = ("val", "test") if split is None else (split,)
    names: list[str] = []
    for name in fits.names:
        fit = fits.load(name)
        left, top, right, bottom = fit.box
        large = max(right - left, bottom - top) >= LEAST_FACE_PX
        if fit.split in wanted and fit.confidence >= LEAST_CONFIDENCE and large:
            names.append(name)
    if not names:
        raise FacereliefError(
            f"{fits.folder}: no sure fits of {' or '.join(wanted)} with a face of {LEAST_FACE_PX:.0f} px; "
            "fit more photos"
        )
    count = min(limit or len(names), len(names))
    return [names[int(k * len(names) / count)] for k in range(count)]


def photo_reliefs(
    model: FaceModel, fits: FitFolder, names: Sequence[str], size: int
) -> Iterator[PhotoRelief]:
    """Photos with the relief of their fits in crops of `size` px: FineData's first sample of each, which is
    not augmented."""
    make = FineMaker(fits, model, FineConfig(size=size))
    for name in names:
        fit = fits.load(name)
        labels = next(make(fit, 1, 0)).labels
        state = FaceState(fit.camera, fit.identity, fit.expression)
        displacement = labels["displacement"].astype("float32")
        yield PhotoRelief(fit.group, fits.image(fit), state, displacement, labels["mask"] > 0)

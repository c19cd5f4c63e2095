"""Samples of a data set: images with their labels, made from fits by a maker of some kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facerelief.lab.datasets.fits import Fit


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and its labels."""

    key: str
    """Unique in a data set; letters, digits, "_" and "-" only (a dot would end a name in a tar shard)."""
    image: NDArray[np.uint8]
    """(S, S, 3) RGB."""
    labels: dict[str, NDArray[Any]]
    """Numbers by name; each kind's maker says which, with shapes, units and frames."""
    about: dict[str, Any]
    """Provenance, for JSON: source photo, person, family, split, licence, seed."""


class Maker(Protocol):
    """Makes samples of one kind. Made once in each process, from a `FitFolder`, a model and a
    configuration."""

    def __call__(self, fit: Fit, count: int, seed: int) -> Iterator[Sample]:
        """`count` samples of one photo. Which they are depends on (seed, fit.name) alone, not on what was
        made before, by whom, or how many. Raises FacereliefError for a photo of no use."""
        ...


def photo_rng(seed: int, name: str, number: int) -> np.random.Generator:
    """The generator of one sample of one photo: the same numbers wherever and whenever it is made."""
    return np.random.default_rng([seed, number, *name.encode("utf-8")])


def about_source(fit: Fit, kind: str, number: int, seed: int) -> dict[str, Any]:
    """Provenance that all kinds of samples share."""
    return {
        "kind": kind,
        "source": fit.file,
        "source_sha256": fit.sha256,
        "person": fit.subject,
        "family": fit.family,
        "split": fit.split,
        "group": fit.group,
        "licence": fit.licence,
        "number": number,
        "seed": seed,
    }


def sample_key(fit: Fit, kind: str, number: int) -> str:
    """Key of a photo's sample."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in fit.name)
    return f"{plain}-{kind}-{number:04d}"

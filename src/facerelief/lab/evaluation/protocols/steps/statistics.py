"""Statistics over distances, each as its benchmark defines it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

CURVE_END_MM = 7.0
CURVE_STEP_MM = 0.1
AFLW_YAW_BINS: tuple[tuple[float, float], ...] = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.0))
"""Degrees of |yaw|; a bin holds its upper end, the first one 0 too, the last one all beyond."""


def rmse(distances: ArrayLike) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(distances, np.float64)))))


def concatenated(distances: Iterable[NDArray[np.floating]]) -> dict[str, float]:
    """NoW: median, mean and std over the vertices of all scans together, so that a scan of more vertices
    weighs more."""
    every = np.concatenate([np.asarray(d).ravel() for d in distances])
    return {
        "median": float(np.median(every)),
        "mean": float(np.mean(every, dtype=np.float64)),
        "std": float(np.std(every, dtype=np.float64)),
        "vertices": len(every),
    }


def cumulative_curve(distances: Iterable[NDArray[np.floating]]) -> list[tuple[float, float]]:
    """(mm, per cent of the vertices whose distance is at most that), from 0 to 7 mm in tenths."""
    every = np.sort(np.concatenate([np.asarray(d).ravel() for d in distances]))
    steps = np.arange(round(CURVE_END_MM / CURVE_STEP_MM) + 1) * CURVE_STEP_MM
    # a little above the mark, for distances that equal it but for rounding
    share = 100.0 * np.searchsorted(every, steps + 1e-9, side="right") / len(every)
    return [(round(float(a), 3), float(b)) for a, b in zip(steps, share, strict=True)]


def over_meshes(values: Sequence[float]) -> dict[str, float]:
    """MICC: mean, std (population) and median of one number for each mesh."""
    v = np.asarray(values, np.float64)
    return {"mean": float(v.mean()), "std": float(v.std()), "median": float(np.median(v)), "meshes": len(v)}


def over_regions(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """REALY: mean, median and std (n - 1) for each region over the scans, and `all`, the mean of the regions'
    means."""
    table: dict[str, dict[str, float]] = {}
    for region, numbers in values.items():
        v = np.asarray(numbers, np.float64)
        spread = float(v.std(ddof=1)) if len(v) > 1 else 0.0
        table[region] = {
            "mean": float(v.mean()),
            "median": float(np.median(v)),
            "std": spread,
            "meshes": len(v),
        }
    table["all"] = {"mean": float(np.mean([row["mean"] for row in table.values()]))}
    return table


def aflw_yaw_bin(yaw: float) -> str:
    """The bin of a yaw in degrees, either side: "0-30", "30-60" or "60-90"."""
    size = abs(yaw)
    low, high = next((b for b in AFLW_YAW_BINS if size <= b[1]), AFLW_YAW_BINS[-1])
    return f"{low:.0f}-{high:.0f}"


def over_yaw_bins(values: Sequence[float], yaws: Sequence[float]) -> dict[str, dict[str, float]]:
    """AFLW2000-3D: mean and std in each bin of |yaw|; `all` is the unweighted mean of the bins' means and the
    std of those means. Bins without images are left out of both."""
    where = [aflw_yaw_bin(y) for y in yaws]
    v = np.asarray(values, np.float64)
    table: dict[str, dict[str, float]] = {}
    for low, high in AFLW_YAW_BINS:
        name = f"{low:.0f}-{high:.0f}"
        mine = v[[w == name for w in where]]
        if len(mine):
            table[name] = {"mean": float(mine.mean()), "std": float(mine.std()), "pictures": len(mine)}
    means = [row["mean"] for row in table.values()]
    return table | {"all": {"mean": float(np.mean(means)), "std": float(np.std(means)), "pictures": len(v)}}


def normalized_mean_error(points: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Per cent: mean distance of 68 points (68, 2) over the root of the area of the truth's tight box."""
    extent = np.ptp(np.asarray(truth, np.float64), axis=0)
    size = float(np.sqrt(extent[0] * extent[1]))
    return (
        100.0
        * float(np.linalg.norm(np.asarray(points, np.float64) - truth, axis=1).mean())
        / max(size, 1e-30)
    )

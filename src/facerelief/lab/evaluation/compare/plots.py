"""Plots of the comparison: cumulative errors, and errors by yaw. They need matplotlib, nothing else does."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.errors import FacereliefError, OutputError
from facerelief.lab.evaluation.compare.images import ImageReport, ImageRow, methods_of
from facerelief.lab.evaluation.compare.methods import METHODS, NET_FINE
from facerelief.lab.evaluation.metrics.face_errors import YAW_NAMES
from facerelief.typed import Float

CUMULATIVE, BY_YAW = "comparison_cumulative.png", "comparison_yaw.png"
"""Names of the files."""
_PANELS = (("rigid_mm", "shape error after pose, mm"), ("nme68", "landmark error, per cent"))
_COLORS = {
    "e2far": "#b5521b",
    "net": "#1b6ca8",
    "fit": "#3a7d44",
    "landmarks": "#8a5aa8",
    "mean_face": "#777777",
}
_MARKERS = {"e2far": "s", "net": "o", "fit": "^", "landmarks": "D", "mean_face": "x"}


def check_plotting() -> None:
    """Raises FacereliefError where there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise FacereliefError(
            "plots need matplotlib: pip install 'facerelief[plots]', or leave out --plots"
        ) from error


def cumulative(values: Float) -> tuple[Float, Float]:
    """Errors in rising order and, at each, the share of all values (N,) that are no larger.

    Values that are not finite count as larger than any.
    """
    known = np.sort(values[np.isfinite(values)])
    return known, np.arange(1, len(known) + 1) / max(len(values), 1)


def plot_cumulative(rows: Sequence[ImageRow]) -> bytes:
    """PNG: share of images by error, of shape after pose and of landmarks. Raises FacereliefError."""
    figure, axes = _figure()
    for axis, (measure, label) in zip(axes, _PANELS):
        names = _shown(rows[0].errors if rows else None)
        found = {name: np.array([row.errors[name][measure] for row in rows]) for name in names}
        for name, values in found.items():
            errors, shares = cumulative(values)
            axis.step(errors, shares, where="post", color=_COLORS[name], label=METHODS[name])
        every = np.concatenate(list(found.values())) if found else np.zeros(1)
        axis.set(xlabel=label, ylabel="share of images", ylim=(0, 1))
        axis.set_xlim(0, max(float(np.nanpercentile(every, 98)), 1e-3))
        axis.grid(alpha=0.3)
    axes[0].legend(loc="lower right", fontsize=8)
    return _png(figure)


def plot_by_yaw(report: ImageReport) -> bytes:
    """PNG: mean errors with their intervals by yaw, of an `image_report`. Raises FacereliefError."""
    figure, axes = _figure()
    names = _shown(report.methods)
    for axis, (measure, label) in zip(axes, _PANELS):
        for k, name in enumerate(names):
            parts = report.methods[name].by_yaw
            at = [i for i, yaw in enumerate(YAW_NAMES) if yaw in parts]
            cells = [parts[YAW_NAMES[i]].measures[measure] for i in at]
            middle = np.array([cell.value for cell in cells])
            spread = np.array([[c.value - c.low, c.high - c.value] for c in cells]).T
            axis.errorbar(
                np.array(at) + 0.06 * (k - (len(names) - 1) / 2),
                middle,
                np.maximum(spread, 0),
                color=_COLORS[name],
                marker=_MARKERS[name],
                capsize=2,
                label=METHODS[name],
            )
        axis.set(xlabel="yaw, degrees", ylabel=label)
        axis.set_xticks(range(len(YAW_NAMES)), YAW_NAMES)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[1].legend(loc="upper left", fontsize=8)
    return _png(figure)


def write_plots(folder: Path, rows: Sequence[ImageRow], report: ImageReport) -> list[Path]:
    """Write both plots into a folder, which is made if missing.

    Raises:
        FacereliefError: matplotlib is missing.
        OutputError: The folder cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in ((CUMULATIVE, plot_cumulative(rows)), (BY_YAW, plot_by_yaw(report))):
            (folder / name).write_bytes(data)
            written.append(folder / name)
    except OSError as error:
        raise OutputError(
            f"{folder}: plots cannot be written ({error.strerror}); choose another folder"
        ) from error
    return written


def _shown(methods: Any) -> list[str]:
    """Methods with a curve: CoarseNet + FineNet has CoarseNet's."""
    return [name for name in methods_of(methods) if name != NET_FINE]


def _figure() -> tuple[Any, Any]:
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, len(_PANELS))


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()

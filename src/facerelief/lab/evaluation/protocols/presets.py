"""The presets: reader of the folder, score of a case, and statistics of the table, for each protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.lab.evaluation.metrics.reports import IF_KNOWN
from facerelief.lab.evaluation.protocols import recipes
from facerelief.lab.evaluation.protocols.cases import Case, CaseScore, Prediction
from facerelief.lab.evaluation.protocols.files import layouts
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.recipes import Settings
from facerelief.lab.evaluation.protocols.steps import statistics

Row = Mapping[str, float]
"""Statistic -> value."""


@dataclass(frozen=True)
class Summary:
    """The table of a protocol."""

    rows: Mapping[str, Row]
    """Part of the set -> statistics."""
    curve_mm_percent: list[tuple[float, float]] | None = field(default=None, metadata=IF_KNOWN)
    """See `cumulative_curve`."""
    sets: list[str] | None = field(default=None, metadata=IF_KNOWN)
    """Groups of REALY's images."""


@dataclass(frozen=True)
class Preset:
    """One protocol."""

    name: str
    about: str
    """One line: alignment, region, distance, statistics."""
    read: Callable[[Path], list[Case]]
    score: Callable[[Case, Prediction, Settings], CaseScore]
    summarize: Callable[[Sequence[CaseScore]], Summary]
    unit: str = "mm"
    neutral: bool = False
    """Our own methods give the face without expression."""
    flat: bool = False
    """Predictions are points in images."""
    annotated: bool = False
    """The set has several annotations to choose from."""


def preset(name: str, annotations: str = "original") -> Preset:
    """A preset by its name; EvaluationError for an unknown one. annotations: of AFLW2000-3D."""
    found = next((p for p in PRESETS if p.name == name), None)
    if found is None:
        raise EvaluationError(f"{name}: no such preset; there are {', '.join(p.name for p in PRESETS)}")
    if found.annotated:
        if annotations not in layouts.ANNOTATIONS:
            raise EvaluationError(f"--annotations {annotations}: expected {' or '.join(layouts.ANNOTATIONS)}")

        def read(folder: Path) -> list[Case]:
            return layouts.read_aflw2000(folder, annotations)

        about = f"{found.about}; {annotations} annotations"
        return replace(found, read=read, about=about)
    return found


def by_group(scores: Sequence[CaseScore]) -> dict[str, list[CaseScore]]:
    """The scores of each group, in the order of the first case of each."""
    groups: dict[str, list[CaseScore]] = {}
    for score in scores:
        groups.setdefault(score.case.group, []).append(score)
    return groups


def _all_vertices(scores: Sequence[CaseScore]) -> Summary:
    def distances(part: Sequence[CaseScore]) -> list[NDArray[np.float32]]:
        return [s.distances for s in part if s.distances is not None]

    rows = {group: statistics.concatenated(distances(part)) for group, part in by_group(scores).items()}
    rows["all"] = statistics.concatenated(distances(scores))
    return Summary(rows, statistics.cumulative_curve(distances(scores)))


def _meshes(*names: str) -> Callable[[Sequence[CaseScore]], Summary]:
    """Mean and std of the named values over the meshes of each group, and of all groups."""

    def summarize(scores: Sequence[CaseScore]) -> Summary:
        groups: dict[str, Sequence[CaseScore]] = dict(by_group(scores))
        if len(groups) > 1 or "all" not in groups:
            groups["all"] = scores
        rows: dict[str, Row] = {}
        for group, part in groups.items():
            for name in names:
                label = group if len(names) == 1 else f"{group}: {name}"
                rows[label] = statistics.over_meshes([s.values[name] for s in part])
        return Summary(rows)

    return summarize


def _regions(scores: Sequence[CaseScore]) -> Summary:
    rows: dict[str, Row] = {}
    groups = by_group(scores)
    for group, part in groups.items():
        table = statistics.over_regions({r: [s.values[r] for s in part] for r in layouts.REALY_REGIONS})
        rows |= {(f"{group}: {region}" if len(groups) > 1 else region): row for region, row in table.items()}
    return Summary(rows, sets=list(groups))


def _yaw_bins(scores: Sequence[CaseScore]) -> Summary:
    return Summary(
        statistics.over_yaw_bins([s.values["nme"] for s in scores], [s.values["yaw"] for s in scores])
    )


PRESETS: tuple[Preset, ...] = (
    Preset(
        "now",
        "NoW: 7 landmarks with scale, scan-to-mesh with scale; median, mean, std over all vertices",
        layouts.read_now,
        recipes.score_now,
        _all_vertices,
        neutral=True,
    ),
    Preset(
        "now-metrical",
        "NoW, metrical variant: as now, the prediction's own scale is kept",
        layouts.read_now,
        recipes.score_now_metrical,
        _all_vertices,
        neutral=True,
    ),
    Preset(
        "micc-deep3d",
        "MICC as Deep3D: 95 mm of the nose tip, forehead cut, ICP with scale; point-to-plane RMSE, mean +- "
        "std",
        layouts.read_micc,
        recipes.score_micc_deep3d,
        _meshes("rmse"),
        neutral=True,
    ),
    Preset(
        "micc-genova",
        "MICC as Genova in GANFit's code: ICP with scale in both directions; symmetric mean, better of two "
        "scans",
        layouts.read_micc,
        recipes.score_micc_genova,
        _meshes("mean"),
        neutral=True,
    ),
    Preset(
        "realy-like",
        "REALY: nose, mouth, forehead, cheek aligned each by itself; non-rigid correspondence; mean of "
        "region means",
        layouts.read_realy,
        recipes.score_realy,
        _regions,
    ),
    Preset(
        "bu3dfe-rmse",
        "BU-3DFE: 95 mm of the nose tip, rigid ICP without scale; point-to-surface RMSE, with scale beside "
        "it",
        layouts.read_bu3dfe,
        recipes.score_bu3dfe,
        _meshes("rmse", "rmse_with_scale"),
    ),
    Preset(
        "aflw2000",
        "AFLW2000-3D: 68 points in the image, NME by yaw; unweighted mean of three bins",
        layouts.read_aflw2000,
        recipes.score_aflw2000,
        _yaw_bins,
        unit="%",
        flat=True,
        annotated=True,
    ),
    Preset(
        "true-error",
        "Known correspondence: distance of corresponding vertices after a rigid motion, with scale beside it",
        layouts.read_true,
        recipes.score_true,
        _meshes("mean", "mean_with_scale"),
    ),
)
"""In the order of docs/evaluation.md."""

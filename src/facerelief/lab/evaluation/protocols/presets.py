"""The presets: which folder is read, how a case is scored, and which statistics make the numbers of the
table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerelief.lab.evaluation.protocols import recipes
from facerelief.lab.evaluation.protocols.cases import Case, Prediction, Score
from facerelief.lab.evaluation.protocols.files import layouts
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.recipes import Settings
from facerelief.lab.evaluation.protocols.steps.statistics import (
    concatenated,
    cumulative_curve,
    over_meshes,
    over_regions,
    over_yaw_bins,
)

Summary = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """One protocol, whole."""

    name: str
    about: str
    """One line: alignment, region, distance, statistics."""
    read: Callable[[Path], list[Case]]
    score: Callable[[Case, Prediction, Settings], Score]
    summarize: Callable[[Sequence[Score]], Summary]
    unit: str = "mm"
    neutral: bool = False
    """Our own methods give the face without expression."""
    flat: bool = False
    """Predictions are points in pictures."""
    annotated: bool = False
    """There are several sets of annotations to choose from."""


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
        return Preset(**(vars(found) | {"read": read, "about": about}))
    return found


def by_group(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """The scores of each group, in the order in which the groups come."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.case.group, []).append(score)
    return groups


def _all_vertices(scores: Sequence[Score]) -> Summary:
    def distances(part: Sequence[Score]) -> list[Any]:
        return [s.distances for s in part if s.distances is not None]

    rows = {group: concatenated(distances(part)) for group, part in by_group(scores).items()}
    rows["all"] = concatenated(distances(scores))
    return {"rows": rows, "curve_mm_percent": cumulative_curve(distances(scores))}


def _meshes(*names: str) -> Callable[[Sequence[Score]], Summary]:
    """Mean and std over the meshes of the named values, for each group and, of several groups, all."""

    def summarize(scores: Sequence[Score]) -> Summary:
        groups: dict[str, Sequence[Score]] = dict(by_group(scores))
        if len(groups) > 1 or "all" not in groups:
            groups["all"] = scores
        rows: Summary = {}
        for group, part in groups.items():
            for name in names:
                label = group if len(names) == 1 else f"{group}: {name}"
                rows[label] = over_meshes([s.values[name] for s in part])
        return {"rows": rows}

    return summarize


def _regions(scores: Sequence[Score]) -> Summary:
    rows: Summary = {}
    groups = by_group(scores)
    for group, part in groups.items():
        table = over_regions({r: [s.values[r] for s in part] for r in layouts.REALY_REGIONS})
        rows |= {(f"{group}: {region}" if len(groups) > 1 else region): row for region, row in table.items()}
    return {"rows": rows, "sets": list(groups)}


def _yaw_bins(scores: Sequence[Score]) -> Summary:
    return {"rows": over_yaw_bins([s.values["nme"] for s in scores], [s.values["yaw"] for s in scores])}


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
        "AFLW2000-3D: 68 points in the picture, NME by yaw; unweighted mean of three bins",
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

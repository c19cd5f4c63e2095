"""Measures of networks on held-out samples, in mm, degrees and per cent, beside a baseline without a net."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facerelief.lab.networks.data import CoarseItem, FineItem, TrackingItem
from facerelief.lab.networks.e2far import E2farOutput, ShapeError
from facerelief.lab.networks.guo import CoarseOutput, FineOutput, TrackingOutput
from facerelief.lab.networks.labels import camera_of
from facerelief.lab.networks.layer import MorphableLayer, project
from facerelief.lab.networks.losses import inner, normals
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import rasterize, visible_vertices
from facerelief.typed import Float

YAW_BINS = (0, 30, 60, 90)
"""Degrees between which landmarks are averaged."""
BAND = (1.0, 6.0)
"""Deviations of the Gaussians that bound the compared band of relief, px of FineNet's crop."""


class CoarseMeasures:
    """Measures of a CoarseNet; `baseline_` marks those of the mean face in the mean pose.

    surface_mm: mean distance of the true face's visible vertices in model space, without pose or alignment.
    posed_mm: the same in camera space. nme_0_30, ...: mean distance of the 68 landmarks in per cent of the
    root of the area of their box, by |yaw| in degrees. confidence_r: correlation of the logarithms of actual
    and stated error; confidence_ratio: mean square of actual over stated error, 1 where it is calibrated.
    """

    def __init__(self, model: FaceModel, size: int, mean: tuple[Tensor, Tensor]) -> None:
        """Collect for crops of `size` px; mean: expression (E,) and pose (6,) of the training data."""
        self.model, self.size, self.mean = model, size, mean
        self.layer = MorphableLayer(model, every=1)
        self.rows: list[dict[str, float]] = []

    def add(self, batch: CoarseItem, out: CoarseOutput) -> None:
        """Measure a batch and the net's output for it, on any device."""
        truth = (batch.identity, batch.expression, batch.pose)
        blank = (torch.zeros_like(batch.identity), *(m.expand(len(batch.pose), -1) for m in self.mean))
        self._add(truth, (out.identity, out.expression, out.pose), blank, out.log_variance)

    def _add(self, truth: Any, found: Any, blank: Any, log_variance: Tensor) -> None:
        truth, found, blank = (
            tuple(x.detach().float().cpu() for x in numbers) for numbers in (truth, found, blank)
        )
        seen = self._visible(*(x.numpy() for x in truth))
        true_shape = self.layer.shape(*truth[:2])
        true_points = project(true_shape, truth[2])
        scale = truth[2][:, 5].exp()
        stated = (0.5 * log_variance.detach().float().cpu()).exp()
        columns: dict[str, Tensor] = {"yaw": torch.rad2deg(truth[2][:, 1].abs()), "stated": stated}
        for start, numbers in (("", found), ("baseline_", blank)):
            shape = self.layer.shape(numbers[0], numbers[1].clamp(*self.model.expression_bounds))
            points = project(shape, numbers[2])
            apart = points - true_points
            apart = torch.cat([apart[..., :2] / scale[:, None, None], apart[..., 2:]], dim=2)
            columns |= {
                f"{start}surface_mm": _mean((shape - true_shape).norm(dim=2), seen),
                f"{start}posed_mm": _mean(apart.norm(dim=2), seen),
                f"{start}rms_mm": apart.square().sum(dim=2).mean(dim=1).sqrt(),
                f"{start}nme": _nme(self.layer.landmarks(points), self.layer.landmarks(true_points)),
            }
            for k, name in enumerate(("pitch", "yaw", "roll")):
                columns[f"{start}{name}_deg"] = torch.rad2deg((numbers[2][:, k] - truth[2][:, k]).abs())
        for row in zip(*(column.tolist() for column in columns.values())):
            self.rows.append(dict(zip(columns, row)))

    def _visible(self, identity: Float, expression: Float, pose: Float) -> Tensor:
        """(B, V) 1 for the layer's points that are vertices of the face seen in the crop, else 0."""
        face = np.flatnonzero(self.model.face_vertices)
        out = np.zeros((len(pose), len(self.layer.mean)), np.float32)
        for k in range(len(pose)):
            uvz = camera_of(pose[k]).project(self.model.shape(identity[k], expression[k]))
            rendered = rasterize(uvz, self.model.triangles, self.size, self.size)
            out[k, : len(face)] = visible_vertices(uvz, self.model.triangles, rendered)[face]
        return torch.from_numpy(out)

    def result(self) -> dict[str, float]:
        """Means of the measures over all samples, by name, and `samples`, their number."""
        columns = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]}
        out: dict[str, float] = {"samples": len(self.rows)}
        for start in ("", "baseline_"):
            for name in ("surface_mm", "posed_mm", "pitch_deg", "yaw_deg", "roll_deg", "nme"):
                out[start + name] = float(columns[start + name].mean())
            for low, high in itertools.pairwise(YAW_BINS):
                within = (columns["yaw"] >= low) & (columns["yaw"] < high)
                if within.any():
                    out[f"{start}nme_{low}_{high}"] = float(columns[f"{start}nme"][within].mean())
        error, stated = np.maximum(columns["rms_mm"], 1e-6), np.maximum(columns["stated"], 1e-6)
        if len(self.rows) > 2 and np.ptp(stated) > 0 and np.ptp(error) > 0:
            out["confidence_r"] = float(np.corrcoef(np.log(error), np.log(stated))[0, 1])
        out["confidence_ratio"] = float(np.mean((error / stated) ** 2))
        return out


class TrackingMeasures(CoarseMeasures):
    """Measures of a Tracking CoarseNet; the baseline is the previous state. All have the true identity, which
    the net does not estimate."""

    def __init__(self, model: FaceModel, size: int) -> None:
        super().__init__(model, size, (torch.zeros(0), torch.zeros(0)))

    def add(self, batch: Any, out: Any) -> None:
        """Measure a batch and the net's output for it, on any device."""
        item: TrackingItem = batch
        found: TrackingOutput = out
        own = item.identity
        self._add(
            (own, item.expression, item.pose),
            (own, found.expression, found.pose),
            (own, item.previous_expression, item.previous_pose),
            found.log_variance,
        )


class E2farMeasures:
    """Measures of a UH-E2FAR network; the baseline is the mean face with the training data's mean expression.

    Root mean square distances of the face region's vertices in model space, without alignment: neutral_mm of
    the neutral faces, offset_mm of the expression's displacements, expressive_mm of both together.
    """

    def __init__(self, model: FaceModel, mean: Tensor) -> None:
        """Collect; mean: expression (E,) of the training data."""
        self.bounds, self.mean, self.error = model.expression_bounds, mean, ShapeError(model)
        self.rows: list[dict[str, float]] = []

    def add(self, batch: CoarseItem, out: E2farOutput) -> None:
        """Measure a batch and the net's output for it, on any device."""
        columns: dict[str, list[float]] = {}
        nothing = (torch.zeros_like(batch.identity), self.mean.expand(len(batch.identity), -1))
        for start, (identity, expression) in (("", out), ("baseline_", nothing)):
            apart = identity.detach().float().cpu() - batch.identity.cpu()
            moved = expression.detach().float().cpu().clamp(*self.bounds) - batch.expression.cpu()
            columns |= {
                f"{start}neutral_mm": self.error.neutral(apart).sqrt().tolist(),
                f"{start}offset_mm": self.error.offset(moved).sqrt().tolist(),
                f"{start}expressive_mm": self.error.expressive(apart, moved).sqrt().tolist(),
            }
        self.rows += [dict(zip(columns, row)) for row in zip(*columns.values())]

    def result(self) -> dict[str, float]:
        """Means of the measures over all samples, by name, and `samples`, their number."""
        names = self.rows[0]
        means = {name: float(np.mean([row[name] for row in self.rows])) for name in names}
        return {"samples": len(self.rows), **means}


class FineMeasures:
    """Measures of a FineNet; the baseline is the coarse surface without relief.

    error_percent: mean absolute error in per cent of the face's width; normal_deg: mean angle between found
    and true normals; band_r: correlation of found and true relief between two Gaussians (`BAND`);
    found_over_true: strength of the found relief there beside the true one; trust_error: mean absolute error
    of the mask of trust, over images that have a true one. All where the truth is known.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.unsure: list[float] = []
        """Error of the trust of each image that has a true one."""

    def add(self, batch: FineItem, output: FineOutput) -> None:
        """Measure a batch and the net's output for it, on any device."""
        out = output.displacement
        depth, mask, true, width, scale = (
            x.detach().float().cpu()
            for x in (batch.depth, batch.mask, batch.displacement, batch.face_width, batch.scale)
        )
        if output.trust is not None:
            off = (output.trust.detach().float().sigmoid() - batch.trust).abs().cpu() * mask
            error = off.sum(dim=(1, 2)) / mask.sum(dim=(1, 2)).clamp_min(1.0)
            self.unsure += error[batch.trusted.cpu() > 0].tolist()
        mask = mask * (batch.known.detach().float().cpu() > 0.5)
        mm = 0.01 * width[:, None, None]
        found, where = out.detach().float().cpu() * mm, inner(mask)
        straight = normals(depth + true * mask, scale)
        turned = [_angle(normals(depth + d * mask, scale), straight) for d in (found, torch.zeros_like(true))]
        for k in range(len(mask)):
            inside = mask[k] > 0
            if not bool(inside.any()) or not bool(where[k].any()):
                continue
            self.rows.append(
                (
                    float(((found - true) / mm)[k][inside].abs().mean()),
                    float((true / mm)[k][inside].abs().mean()),
                    *(float(angle[k][where[k] > 0].mean()) for angle in turned),
                    *_band_agreement(found[k].numpy(), true[k].numpy(), mask[k].numpy()),
                )
            )

    def result(self) -> dict[str, float]:
        """Means of the measures over all samples, by name, and `samples`, their number."""
        names = ("error_percent", "baseline_error_percent", "normal_deg", "baseline_normal_deg", "band_r")
        means = np.array(self.rows).mean(axis=0)
        out = {"samples": len(self.rows)} | {name: float(value) for name, value in zip(names, means)}
        out["found_over_true"] = float(means[-2] / means[-1]) if means[-1] > 0 else 0.0
        return out | ({"trust_error": float(np.mean(self.unsure))} if self.unsure else {})


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum(dim=1) / where.sum(dim=1).clamp_min(1.0)


def _nme(points: Tensor, truth: Tensor) -> Tensor:
    """(B,) per cent of the root of the area of the true landmarks' box; points (B, 68, 2 or more) px."""
    points, truth = points[..., :2], truth[..., :2]
    sides = truth.amax(dim=1) - truth.amin(dim=1)
    return 100 * (points - truth).norm(dim=2).mean(dim=1) / sides.prod(dim=1).sqrt()


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between unit vectors (..., 3)."""
    return 2 * torch.rad2deg(torch.asin((0.5 * (a - b).norm(dim=-1)).clamp(max=1.0)))


def _band_agreement(found: Float, true: Float, mask: Float) -> tuple[float, float, float]:
    """Correlation and root mean squares of two reliefs in `BAND`."""
    import cv2

    def smooth(x: Float, sigma: float) -> Float:
        share = np.maximum(cv2.GaussianBlur(mask, (0, 0), sigma), 1e-3)
        return cv2.GaussianBlur(x * mask, (0, 0), sigma) / share

    bands = [(smooth(x, BAND[0]) - smooth(x, BAND[1]))[mask > 0] for x in (found, true)]
    a, b = (x - x.mean() for x in bands)
    found_mm, true_mm = (math.sqrt(float((x * x).mean())) for x in (a, b))
    norm = found_mm * true_mm
    return (float((a * b).mean()) / norm if norm > 0 else 0.0), found_mm, true_mm

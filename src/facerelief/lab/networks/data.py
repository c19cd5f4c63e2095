"""Data sets of the networks: crops of images, with the labels of the crops."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import COARSE_MARGIN, Border, SquareCrop, face_width, square_crop
from facerelief.inference.pncc import PnccRenderer
from facerelief.inference.shading_cues import shading_cues
from facerelief.lab.networks.augment import AugmentConfig, augment
from facerelief.lab.networks.guo import Moments
from facerelief.lab.networks.labels import camera_of, mirror_of, mirrored_pose, pose_of
from facerelief.lab.networks.order import Shards
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float, Float32, Image


@dataclass(frozen=True)
class CropConfig:
    """CoarseNet's crop about the face, as imprecise as a detector's, in which the face stands upright."""

    size: int = 224
    """px"""
    margin: float = COARSE_MARGIN
    """Side of the crop over the longer side of the face's box."""
    shift: float = 0.08
    """Largest offset of the centre in each direction, as a share of that side of the box."""
    zoom: float = 0.10
    """Largest relative change of the crop's side."""
    roll: float = 8.0
    """Largest error of the roll by which the crop is turned, degrees."""

    def random(self, uv: Float, roll: float, rng: np.random.Generator) -> SquareCrop:
        """A random crop.

        Args:
            uv: (N, 2 or more) points whose box is the face's, px of the image.
            roll: Of the face in the image, radians.
            rng: Random numbers.
        """
        crop = square_crop(uv, self.size, self.margin, roll)
        side = crop.side / self.margin
        u, v = np.array([crop.centre_u, crop.centre_v]) + rng.uniform(-self.shift, self.shift, 2) * side
        zoom = 1 + rng.uniform(-self.zoom, self.zoom)
        angle = crop.angle + math.radians(rng.uniform(-self.roll, self.roll))
        return SquareCrop(float(u), float(v), crop.side * zoom, self.size, angle)


class _Data(Dataset[Any]):
    """Samples by their position in a run. A sample's randomness depends on seed and position alone."""

    def __init__(
        self, shards: Shards, seed: int = 0, augmentation: AugmentConfig | None = None, flip: bool = False
    ) -> None:
        if not len(shards):
            raise FacereliefError("the data sets hold no samples of that split; make some")
        self.shards, self.seed, self.augmentation = shards, seed, augmentation
        self.order = shards.order(seed)
        self.flip = flip

    def __len__(self) -> int:
        return len(self.shards)

    def rng(self, position: int) -> np.random.Generator:
        """The random numbers of a sample."""
        return np.random.default_rng([self.seed, 11, position])

    def _augmented(self, image: Image, rng: np.random.Generator) -> Image:
        if self.augmentation is None:
            return np.ascontiguousarray(image)
        return augment(
            image, rng, self.augmentation, lambda: self.shards.image(int(rng.integers(len(self.shards))))
        )

    def _border(self, rng: np.random.Generator) -> Border:
        """Colours beyond the image: mirrored as in data sets, or black as in many programs."""
        return "black" if rng.random() < 0.3 else "mirrored"


# ---------------------------------------------------------------- CoarseNet


class CoarseItem(NamedTuple):
    """A sample for CoarseNet; in a batch each has one axis more, first."""

    image: Any
    """(S, S, 3) uint8 RGB"""
    identity: Any
    """(K,)"""
    expression: Any
    """(E,)"""
    pose: Any
    """(6,) in the crop, log scale"""


class CoarsePlan(NamedTuple):
    """Crop and labels of a sample of CoarseNet whose image is still to be cut."""

    sample: int
    """Index in the shards."""
    crop: SquareCrop
    flipped: bool
    identity: Float32
    expression: Float32
    pose: Float32
    rng: np.random.Generator
    """For the image."""


class CoarseData(_Data):
    """Samples of CoarseNet. Without augmentation only the crop is random."""

    def __init__(
        self,
        shards: Shards,
        model: FaceModel,
        crop: CropConfig,
        seed: int = 0,
        augmentation: AugmentConfig | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__(shards, seed, augmentation, flip)
        self.crop, self.mirror = crop, mirror_of(model) if flip else None
        hull = _hull(model)
        self._mean, self._identity, self._expression = (
            x[hull] for x in (model.mean, model.identity, model.expression)
        )

    def target(self, position: int) -> CoarsePlan:
        """Crop and labels of a sample."""
        index, rng = self.order(position), self.rng(position)
        labels = self.shards.labels(index, ("camera", "identity", "expression"))
        identity, expression = (labels[name].astype(np.float32) for name in ("identity", "expression"))
        camera = WeakPerspective.from_vector(labels["camera"])
        points = self._mean + self._identity @ identity + self._expression @ expression
        crop = self.crop.random(camera.project(points).astype(np.float64), camera.roll, rng)
        pose = pose_of(crop.camera(camera))
        flipped = bool(rng.random() < 0.5) and self.mirror is not None
        if flipped and self.mirror is not None:
            pose = mirrored_pose(pose, crop.size)
            identity, expression = identity * self.mirror.identity, expression[self.mirror.expression]
        return CoarsePlan(index, crop, flipped, identity, expression, pose, rng)

    def __getitem__(self, position: int) -> CoarseItem:
        index, crop, flipped, identity, expression, pose, rng = self.target(position)
        image = crop.cut(self.shards.image(index), flipped=flipped, border=self._border(rng))
        return CoarseItem(self._augmented(image, rng), identity, expression, pose)

    def moments(self, count: int = 1024) -> tuple[Moments, Moments]:
        """Mean and deviation of expression and pose, over the first positions."""
        found = [self.target(position) for position in range(min(count, 4 * len(self)))]
        return (
            _moments(np.stack([target.expression for target in found]), 0.02),
            _moments(np.stack([target.pose for target in found]), [0.02, 0.02, 0.02, 1.0, 1.0, 0.01]),
        )


def _hull(model: FaceModel) -> NDArray[np.intp]:
    """(H,) face vertices on the mean face's convex hull: they span nearly the box of all, in any pose."""
    from scipy.spatial import ConvexHull

    face = np.flatnonzero(model.face_vertices)
    return face[ConvexHull(model.mean[face]).vertices]


def _moments(values: Float32, least: float | list[float]) -> Moments:
    std = np.maximum(values.std(axis=0), least)
    return Moments(tuple(values.mean(axis=0).tolist()), tuple(std.tolist()))


# ---------------------------------------------------------------- Tracking CoarseNet


class TrackingItem(NamedTuple):
    """A sample for Tracking CoarseNet; in a batch each has one axis more, first."""

    image: Any
    """(S, S, 3) uint8 RGB"""
    pncc: Any
    """(S, S, 3) float32 in [0, 1]"""
    previous_identity: Any
    """(K,)"""
    previous_expression: Any
    """(E,)"""
    previous_pose: Any
    """(6,)"""
    identity: Any
    """(K,)"""
    expression: Any
    """(E,)"""
    pose: Any
    """(6,)"""


class TrackingData(_Data):
    """Samples of Tracking CoarseNet, in the previous face's crop (`inference.crops.tracking_crop`)."""

    def __init__(
        self,
        shards: Shards,
        model: FaceModel,
        size: int = 224,
        seed: int = 0,
        augmentation: AugmentConfig | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__(shards, seed, augmentation, flip)
        self.model, self.size, self.mirror = model, size, mirror_of(model) if flip else None
        self.pncc = PnccRenderer.of_model(model)

    def target(self, position: int) -> tuple[int, SquareCrop, bool, dict[str, Float32], np.random.Generator]:
        """Index, crop, whether flipped, labels named as in `TrackingItem`, random numbers for the image."""
        index, rng = self.order(position), self.rng(position)
        names = ("camera", "identity", "expression")
        before = ("previous_camera", "previous_identity", "previous_expression", "previous_crop")
        labels = self.shards.labels(index, (*names, *before))
        k = int(rng.integers(len(labels["previous_camera"])))
        roll = float(labels["previous_camera"][k][2])
        crop = SquareCrop.of_corners(labels["previous_crop"][k], self.size, roll)
        out = {name: labels[name].astype(np.float32) for name in ("identity", "expression")} | {
            name: labels[name][k].astype(np.float32) for name in ("previous_identity", "previous_expression")
        }
        for name, camera in (("pose", labels["camera"]), ("previous_pose", labels["previous_camera"][k])):
            out[name] = pose_of(crop.camera(WeakPerspective.from_vector(camera)))
        flipped = bool(rng.random() < 0.5) and self.mirror is not None
        if flipped and self.mirror is not None:
            for start in ("", "previous_"):
                out[f"{start}identity"] = out[f"{start}identity"] * self.mirror.identity
                out[f"{start}expression"] = out[f"{start}expression"][self.mirror.expression]
                out[f"{start}pose"] = mirrored_pose(out[f"{start}pose"], crop.size)
        return index, crop, flipped, out, rng

    def __getitem__(self, position: int) -> TrackingItem:
        index, crop, flipped, labels, rng = self.target(position)
        image = crop.cut(self.shards.image(index), flipped=flipped, border=self._border(rng))
        vertices = self.model.shape(labels["previous_identity"], labels["previous_expression"])
        camera = camera_of(labels["previous_pose"])
        pncc = self.pncc(vertices, camera, self.size, self.size)
        return TrackingItem(image=self._augmented(image, rng), pncc=pncc, **labels)

    def moments(self, count: int = 1024) -> Moments:
        """Deviation of the changes of expression and pose, over the first positions. Their mean is set to
        zero, so that an untrained net reports no change."""
        found = [self.target(position)[3] for position in range(min(count, 4 * len(self)))]
        change = np.stack(
            [
                np.concatenate([n[name] - n[f"previous_{name}"] for name in ("expression", "pose")])
                for n in found
            ]
        )
        least = [0.01] * (change.shape[1] - 6) + [0.005, 0.005, 0.005, 0.3, 0.3, 0.003]
        # without the tenth that changes most: lost tracks would outweigh all other changes
        usual = np.minimum(np.abs(change), np.quantile(np.abs(change), 0.9, axis=0))
        std = np.maximum(np.sqrt(np.square(usual).mean(axis=0)), least)
        return Moments((0.0,) * len(std), tuple(std.tolist()))


# ---------------------------------------------------------------- FineNet


class FineItem(NamedTuple):
    """A sample for FineNet; in a batch each has one axis more, first."""

    image: Any
    """(S, S, 3) uint8 RGB"""
    depth: Any
    """(S, S) float32 mm along camera z, of the coarse surface"""
    mask: Any
    """(S, S) float32, 0 or 1"""
    displacement: Any
    """(S, S) float32 mm along camera z"""
    face_width: Any
    """() float32 mm"""
    scale: Any
    """() float32 px/mm"""
    cues: Any
    """(3, S, S) float32 shading cues of the augmented image"""
    known: Any
    """(S, S) float32, 0..1, weight of the displacement's truth"""
    trust: Any
    """(S, S) float32, 0..1, mask of trust"""
    trusted: Any
    """() float32, 1 where the data set has a mask of trust, else 0"""


class FineData(_Data):
    """Samples of FineNet, in the data set's own crops. Flipping is exact for every model.

    A data set may lack `known`, which is then the mask, and `trust`.
    """

    def __getitem__(self, position: int) -> FineItem:
        index, rng = self.order(position), self.rng(position)
        names = ("depth_coarse", "mask", "displacement", "camera", "box")
        labels = self.shards.labels(index, names, ("known", "trust"))
        maps = [labels[name].astype(np.float32) for name in names[:3]]
        maps += [
            labels[name].astype(np.float32) / np.float32(255) if name in labels else maps[1]
            for name in ("known", "trust")
        ]
        image = self.shards.image(index)
        if rng.random() < 0.5 and self.flip:
            image, maps = np.ascontiguousarray(image[:, ::-1]), [x[:, ::-1].copy() for x in maps]
        scale = float(labels["camera"][5])
        image = self._augmented(image, rng)
        return FineItem(
            image,
            maps[0],
            maps[1],
            maps[2],
            np.float32(face_width(labels["box"], scale)),
            np.float32(scale),
            shading_cues(image, maps[0], maps[1] > 0, scale),
            maps[3],
            maps[4],
            np.float32("trust" in labels),
        )

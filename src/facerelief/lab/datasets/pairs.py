"""Pairs of neighbouring frames (Guo et al., TPAMI 2019): an image, and what was known in the frame before.

The image is one of the coarse kind. From its true state the previous one is found by changes of real video
(`motion`), and given the errors that real estimates of it have: a network that never sees a wrong
previous state drifts. A face that moves while the shutter is open is blurred along
its way: some images are the mean of what was to be seen during the exposure, lids and lips included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import tracking_crop
from facerelief.lab.datasets.coarse import CoarseConfig, CoarseMaker, Prepared, Variation
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.motion import MOST_FRAMES, MotionModel, before, motion_model
from facerelief.lab.datasets.samples import Sample, about_source, photo_rng, sample_key
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float

_EXPOSURES = 3
"""Moments of an exposure that are rendered; between them the image is smeared."""
_LEAST_BLUR_PX = 0.7


@dataclass(frozen=True)
class PairConfig:
    """Ranges of previous frames."""

    coarse: CoarseConfig = field(default_factory=lambda: CoarseConfig(size=288, margin=1.75))
    """The image: large enough for crops around where the face was."""
    previous: int = 4
    """Previous states for each image."""
    frames: int = MOST_FRAMES
    """A previous state is 1 to this many frames older, since frames are dropped."""
    fast: float = 0.1
    """Share of motions that are two to four times as strong as the video's."""
    error: float = 1.0
    """Share of a real estimate's error that previous states have."""
    identity_error: float = 0.7
    """Share of a single frame's error of identity. A track estimates it from several frames, whose errors may
    be alike; a neutral and a smiling photo of one person differ by this share."""
    lost: float = 0.04
    """Share of previous states that are far off, as after a cut or another's face."""
    blur: float = 0.3
    """Share of images with motion blur."""
    shutter: float = 0.9
    """Longest exposure, as a share of the time between two frames."""

    def __post_init__(self) -> None:
        if self.previous < 1:
            raise ValueError(f"previous is {self.previous}: expected at least 1")
        if not 1 <= self.frames <= MOST_FRAMES:
            raise ValueError(f"frames is {self.frames}: expected 1 to {MOST_FRAMES}")


@dataclass(frozen=True, eq=False)
class _Motion:
    """A change that led to the image's state."""

    frames: int
    pose: Float
    """(6,) present minus previous; see `motion`."""
    expression: Float
    """(E,)"""


class PairMaker:
    """Makes samples of pairs; see `samples.Maker`.

    Labels of a sample are those of `CoarseMaker`, and for P previous states: previous_camera (P, 6) in this
    image's pixels, previous_expression (P, E), previous_identity (P, K); previous_crop (P, 4) left, top,
    right and bottom px of the square to cut from the image for each, before it is turned about its centre by
    the previous roll; it may reach beyond the image (`inference.crops.tracking_crop`);
    previous_frames (P,) uint8 how many frames older, 0 for a lost track;
    blur (1,) px that the fastest landmark moved during the exposure, 0 where the image is sharp. The state
    is that of the middle of the exposure.
    """

    def __init__(
        self,
        fits: FitFolder,
        model: FaceModel,
        config: PairConfig | None = None,
        motion: MotionModel | None = None,
    ) -> None:
        """motion: how faces move; the package's by default. Raises FacereliefError for a model without
        ARKit's expressions."""
        self.config = config or PairConfig()
        self.model = model
        self.coarse = CoarseMaker(fits, model, self.config.coarse)
        self.motion = (motion or motion_model()).for_names(model.expression_names)

    @property
    def spent_ms(self) -> dict[str, float]:
        """Milliseconds by stage."""
        return self.coarse.spent_ms

    def __call__(self, fit: Fit, count: int, seed: int) -> Iterator[Sample]:
        """`count` images of one photo. Raises FacereliefError for a photo of no use."""
        ready = self.coarse.prepare(fit)
        for number in range(count):
            yield self.sample(ready, fit, number, seed)

    def sample(self, ready: Prepared, fit: Fit, number: int, seed: int) -> Sample:
        """Sample `number` of a prepared photo."""
        c = self.config
        # other images than the coarse kind's of the same seed
        rng = photo_rng(seed, f"{fit.name}/pairs", number)
        varied = self.coarse.vary(ready, fit.split, rng)
        first = self.draw(rng, varied.expression)
        exposure = rng.uniform(0.3, 1.0) * c.shutter if rng.random() < c.blur else 0.0
        sample, path = self.exposed(ready, fit, varied, first, exposure, number, seed)
        labels = dict(sample.labels)
        identity, expression = labels["identity"], labels["expression"]
        camera = WeakPerspective.from_vector(labels["camera"])
        states: list[tuple[WeakPerspective, Float, Float, int]] = []
        for k in range(c.previous):
            if k == 0:
                motion = first
            elif path > 0.0:
                # a blurred image shows where the face came from: all its pasts lie that way
                gain = rng.uniform(0.7, 1.3)
                motion = _Motion(first.frames, gain * first.pose, gain * first.expression)
            else:
                motion = self.draw(rng, expression)
            states.append(self.previous(rng, camera, expression, identity, motion))
        labels |= {
            "previous_camera": np.stack([state[0].vector for state in states]),
            "previous_expression": np.stack([state[1] for state in states]).astype(np.float32),
            "previous_identity": np.stack([state[2] for state in states]).astype(np.float32),
            "previous_crop": np.stack([self._crop(*state[:3]) for state in states]).astype(np.float32),
            "previous_frames": np.array([state[3] for state in states], np.uint8),
            "blur": np.array([path], np.float32),
        }
        about = about_source(fit, "pairs", number, seed)
        return Sample(sample_key(fit, "pairs", number), sample.image, labels, about)

    def draw(self, rng: np.random.Generator, expression: Float) -> _Motion:
        """A motion that led to an image with this expression (E,)."""
        frames = int(rng.integers(1, self.config.frames + 1))
        pose, change = self.motion.draw(rng, expression, frames)
        if rng.random() < self.config.fast:
            pose = pose * rng.uniform(2.0, 4.0)
        return _Motion(frames, pose, change)

    def previous(
        self,
        rng: np.random.Generator,
        camera: WeakPerspective,
        expression: Float,
        identity: Float,
        motion: _Motion,
    ) -> tuple[WeakPerspective, Float, Float, int]:
        """Estimate of the state before a motion: camera, expression (E,), identity (K,), and how many frames
        older, 0 where the track is lost."""
        c = self.config
        low, high = self.model.expression_bounds
        pose, change, frames = motion.pose, motion.expression, motion.frames
        if rng.random() < c.lost:
            far = rng.normal(0, [0.25, 0.45, 0.25, 0.3, 0.3, 0.2])
            # the crop must still hold some of the face
            pose = np.clip(far, [-0.6, -0.9, -0.6, -0.4, -0.4, -0.4], [0.6, 0.9, 0.6, 0.4, 0.4, 0.4])
            change, frames = expression * rng.uniform(0, 1), 0
        error = self.motion.previous_error(rng)
        known = np.zeros(len(identity))
        count = min(len(identity), len(error.identity))
        known[:count] = c.identity_error * error.identity[:count]
        was = np.clip(expression - change + c.error * error.expression, low, high)
        return before(camera, pose + c.error * error.pose), was, identity + known, frames

    def exposed(
        self,
        ready: Prepared,
        fit: Fit,
        varied: Variation,
        motion: _Motion,
        exposure: float,
        number: int,
        seed: int,
    ) -> tuple[Sample, float]:
        """The coarse sample of a variation, seen for `exposure` of the time between frames about the middle;
        and how far the fastest landmark moved meanwhile, px (0 where too little to see)."""
        middle = self.coarse.make(ready, fit, varied, number, seed)
        camera = WeakPerspective.from_vector(middle.labels["camera"])
        # states before and after the middle, each in the middle of its part of the exposure
        part = exposure / motion.frames / _EXPOSURES
        sides = [
            (
                before(camera, sign * part * motion.pose),
                self._expression(varied, -sign * part * motion.expression),
            )
            for sign in (1.0, -1.0)
        ]
        marks = [self._marks(middle, *side) for side in sides]
        # the sides are two parts apart
        way = (marks[1] - marks[0]) / (_EXPOSURES - 1)
        path = _EXPOSURES * float(np.linalg.norm(way, axis=1).max())
        if path < _LEAST_BLUR_PX:
            return middle, 0.0
        back = _inverse(varied.similarity)
        images = [middle.image.astype(np.float32)]
        for side, expression in sides:
            state = replace(varied, camera=side.moved(back), expression=expression)
            images.append(self.coarse.make(ready, fit, state, number, seed).image.astype(np.float32))
        mean = smear(np.mean(images, axis=0), way.mean(axis=0))
        return replace(middle, image=np.clip(np.rint(mean), 0, 255).astype(np.uint8)), path

    def _expression(self, varied: Variation, change: Float) -> Float:
        return np.clip(varied.expression + change, *self.model.expression_bounds).astype(np.float32)

    def _marks(self, sample: Sample, camera: WeakPerspective, expression: Float) -> Float:
        """(68, 2) px landmarks of the sample's face in another state."""
        points = self.model.landmarks["ibug68"]
        shape = points.of(self.model.mean)
        shape = shape + points.of(self.model.identity) @ sample.labels["identity"]
        shape = shape + points.of(self.model.expression) @ expression
        return camera.project(shape)[:, :2]

    def _crop(self, camera: WeakPerspective, expression: Float, identity: Float) -> Float:
        vertices = self.model.shape(identity, expression)
        return tracking_crop(vertices, self.model.face_vertices, camera).corners


def smear(image: Float, way: Float) -> Float:
    """An image (H, W, C) float32 averaged along a way (2,) of px to the right and down, centred."""
    import cv2

    length = float(np.hypot(*way))
    if length < 0.5:
        return image
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = max(16, 8 * int(length))
    for at in (np.arange(steps) + 0.5) / steps - 0.5:
        u, v = reach + at * way[0], reach + at * way[1]
        j, i = int(np.floor(u)), int(np.floor(v))
        for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = (1 - abs(v - i - di)) * (1 - abs(u - j - dj))
            if share > 0:
                kernel[i + di, j + dj] += share
    blurred = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    return cast(Float, blurred)  # the depth of the image


def _inverse(similarity: Float) -> Float:
    turn = np.linalg.inv(similarity[:, :2].astype(np.float64))
    return cast(Float, np.column_stack([turn, -turn @ similarity[:, 2]]))

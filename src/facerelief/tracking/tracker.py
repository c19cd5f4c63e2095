"""A face followed through a video: Tracking CoarseNet from frame to frame, FineNet on each (Guo et al.).

The face is looked for when there is none and when it was lost; then each frame's crop comes from the frame
before. Identity is the mean of what CoarseNet says of the first good frames and stays from then on, with the
albedo of that time. Light is found anew in each frame, by linear least squares.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.detection import DetectedFace, detect_faces
from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.geometry.boxes import bounds, overlap
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import tracking_crop
from facerelief.inference.runners import CoarseRunner, FineRunner, TrackingRunner, camera_from_landmarks
from facerelief.inverse.detail import coarse_depth
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.photometric import Appearance, fit_appearance
from facerelief.io.images import as_image
from facerelief.morphable import FaceModel, load_model, open_model
from facerelief.rendering.lighting import LUMA
from facerelief.rendering.spherical_harmonics import sh_basis
from facerelief.runtime.clock import StageClock
from facerelief.runtime.threads import single_thread
from facerelief.tracking.frame import TrackedFrame, TrackState
from facerelief.tracking.one_euro import OneEuro
from facerelief.typed import Float32, Image
from facerelief.video import VideoFrame, VideoReader


@dataclass(frozen=True)
class TrackerConfig:
    """How a face is followed."""

    detail: bool = True
    """FineNet's relief for every frame; without it `fine` is None."""
    depth: bool = True
    """Depth of the coarse surface for every frame; without it, and without detail, `coarse` is empty."""
    smooth: bool = True
    """Take jitter out of pose and expression (`smoothing.OneEuro`)."""
    per_frame: bool = False
    """CoarseNet for every frame in place of Tracking CoarseNet: for comparison."""
    identity_frames: int = 10
    """Identity is the mean over so many first good frames."""
    check_every: int = 10
    """The detector looks at every so manieth frame whether the face is still there."""
    least_overlap: float = 0.4
    """The detector's box and the face's must overlap so far (intersection over union)."""
    outlier: float = 5.0
    """A pose that changes by more standard deviations than this makes a frame suspicious."""
    ncc_drop: float = 0.25
    """So does skin whose likeness (correlation) to what it was falls by more."""
    min_confidence: float = 0.5
    """Detections below this are no faces."""
    other_person_mm: float = 1.4
    """A face that is found, or looked at anew, whose neutral landmarks are further than this from the
    followed one's on the average is somebody else's. Looks at one person differ by 0.5 mm in the median and
    by up to 1.3, at two persons by 1.2 in the median: a swap is noticed less than half of the time."""
    nets: str | None = None
    """Folder with other networks than the shipped ones."""
    threads: int | None = None
    """Threads of the networks; None for `runtime.default_threads`."""
    pose_cutoff: float = 2.0
    """Hz of pose at rest that pass the filter."""
    expression_cutoff: float = 2.5
    """Hz of expression at rest that pass the filter."""

    def __post_init__(self) -> None:
        if self.identity_frames < 1 or self.check_every < 1:
            raise ValueError("identity_frames and check_every are at least 1")


@dataclass
class _Person:
    """What is known of the followed face beyond one frame."""

    identities: list[Float32] = field(default_factory=list[Float32])
    neutral: Float32 | None = None
    """(3 N,) mm, of the mean identity."""
    appearance: Appearance | None = None
    skin: Float32 | None = None
    """(P, 3) albedo at the points where light is measured."""
    likeness: float = 1.0
    """Running correlation of the skin points' brightness with `reference`."""
    reference: Float32 | None = None
    """(P,) brightness of skin points when the face was found, NaN where not seen."""


class Tracker:
    """Follows one face; give it a video's frames in order."""

    def __init__(self, model: FaceModel | str | Path = "open", config: TrackerConfig | None = None) -> None:
        """Load and warm up. Raises ModelError for a file that is no face model, or not the nets' one."""
        if isinstance(model, FaceModel):
            self.model = model
        else:
            self.model = open_model() if model == "open" else load_model(model)
        self.config = c = config or TrackerConfig()
        given: dict[str, Any] = {"nets": c.nets, "threads": c.threads}
        self.coarse = CoarseRunner(self.model, **given)
        self.tracking = TrackingRunner(self.model, **given)
        self.fine = FineRunner(self.model, **given) if c.detail else None
        n, e = self.model.n_vertices, self.model.n_expression
        self._face = np.flatnonzero(self.model.face_vertices)
        self._basis = np.ascontiguousarray(self.model.expression.reshape(3 * n, e).T)
        marks = self.model.landmarks["ibug68"].of(self.model.identity)
        self._identity_basis = np.ascontiguousarray(marks.reshape(-1, self.model.n_identity))
        """(3 * 68, K) neutral landmarks' movement, mm."""
        self._points = _skin_points(self.model)
        pose = np.full(6, c.pose_cutoff)
        cutoff = np.concatenate([pose, np.full(e, c.expression_cutoff)])
        # radians, px over the face's size and log scale per second; weights per second
        beta = np.concatenate([[6.0, 6.0, 6.0, 12.0, 12.0, 12.0], np.full(e, 4.0)])
        self._filter = OneEuro(cutoff, beta, together=slice(0, 6))
        self._middle = self.model.landmarks["ibug68"].of(self.model.mean).mean(axis=0)
        self._face_px = 1.0
        self._helper = ThreadPoolExecutor(1, "facerelief")
        self._state: FaceState | None = None
        self._person = _Person()
        self._since_check = 0
        self.timings_ms: dict[str, float] = {}
        """Of the last step, by stage."""
        self._suspicious = False
        self._last_box: Float32 | None = None
        self._angles: Float32 | None = None
        self._shapes: list[tuple[FaceState, Float32]] = []
        for net in (self.coarse, self.tracking, self.fine):
            if net is not None:
                net.warm_up()

    def step(self, image: Image, time: float) -> tuple[TrackState, Reconstruction | None]:
        """The next frame: (H, W, 3) uint8 RGB, at a moment, s. Returns how the face was had, and the face."""
        with single_thread(scipy=False):
            return self._step(image, time)

    def _step(self, image: Image, time: float) -> tuple[TrackState, Reconstruction | None]:
        clock = StageClock()
        self.timings_ms = clock.ms
        picture = as_image(image)
        state: TrackState = "tracked"
        found = self._follow(picture, clock) if self._state is not None else None
        if found is None:
            if self._state is not None:
                self._lose()
            with clock("detect"):
                found = self._find(picture)
            state = "found"
        if found is None:
            return "none", None
        self._state = found
        return state, self._result(picture, found, self._smoothed(found, time), clock)

    def reset(self) -> None:
        """Forget the face: the next frame may show somebody else."""
        self._lose()
        self._person = _Person()
        self._last_box = None

    # ------------------------------------------------------------ finding

    def _find(self, picture: Image) -> FaceState | None:
        face = self._detected(picture)
        if face is None:
            return None
        around = camera_from_landmarks(self.model, face.landmarks)
        seen = self.coarse.look(picture, around).state
        vertices = self.model.shape(seen.identity, seen.expression)
        apart = (
            overlap(self._box(vertices, seen.camera), np.array(face.box)) < 0.5 * self.config.least_overlap
        )
        if apart or not _usable(seen.camera, picture):
            return None
        if self._somebody_else(seen):
            self._person = _Person()
        state = self._learn(seen)
        if self._person.appearance is None:
            self._person.appearance, _ = fit_appearance(self.model, picture, state)
            skin = self.model.skin(self._person.appearance.albedo)
            self._person.skin = _at(skin, self.model.triangles[self._points])
        self._person.reference = None
        self._person.likeness = 1.0
        self._since_check, self._suspicious = 0, False
        return state

    def _detected(self, picture: Image) -> DetectedFace | None:
        """The face that was followed before if it may be the same, else the best one."""
        faces = detect_faces(picture, min_confidence=self.config.min_confidence, small_faces=False)
        if not faces:
            return None
        if self._last_box is not None:
            near = [(overlap(self._last_box, np.array(face.box)), -k) for k, face in enumerate(faces)]
            share, best = max(near)
            if share > 0.1:
                return faces[-best]
        return faces[0]

    def _learn(self, state: FaceState) -> FaceState:
        """The state with the person's mean identity, after this frame's was heard."""
        person = self._person
        if len(person.identities) < self.config.identity_frames:
            person.identities.append(state.identity)
            identity = np.mean(person.identities, axis=0)
            person.neutral = self.model.shape(identity).reshape(-1)
        return replace(state, identity=np.mean(person.identities, axis=0).astype(np.float32))

    # ------------------------------------------------------------ following

    def _follow(self, picture: Image, clock: StageClock) -> FaceState | None:
        """The state in this frame, or None where the face was lost."""
        before, c = self._state, self.config
        assert before is not None
        with clock("coarse"):
            vertices = self._shape(before)
            crop = tracking_crop(vertices, self.model.face_vertices, before.camera, self.tracking.size)
            whole = replace(crop, size=self.coarse.size)
            if c.per_frame:
                state = replace(self.coarse(picture, whole).state, identity=before.identity)
                change = np.zeros(6)
            else:
                estimate, delta = self.tracking(picture, before, vertices, crop)
                state, change = estimate.state, delta[-6:]
        if not _usable(state.camera, picture):
            return None
        if len(self._person.identities) < c.identity_frames:
            with clock("identity"):
                state = replace(state, identity=self._learn(self.coarse(picture, whole).state).identity)
        self._since_check += 1
        suspicious = bool(np.abs(change).max() > c.outlier) or self._suspicious
        if suspicious or self._since_check >= c.check_every:
            with clock("check"):
                if not self._still_there(picture, state):
                    return None
                if self._suspicious:
                    if self._somebody_else(self.coarse(picture, whole).state):
                        return None
                    self._person.reference = None  # the light has changed, or something passed by
            self._since_check, self._suspicious = 0, False
        return state

    def _still_there(self, picture: Image, state: FaceState) -> bool:
        """Whether the detector sees a face where the state has one."""
        box = self._box(self._shape(state), state.camera)
        faces = detect_faces(picture, min_confidence=self.config.min_confidence, small_faces=False)
        return any(overlap(box, np.array(face.box)) >= self.config.least_overlap for face in faces)

    def _somebody_else(self, seen: FaceState) -> bool:
        """Whether a fresh look shows another person than the followed one."""
        known = self._person.identities
        if not known:
            return False
        apart = self._identity_basis @ (seen.identity - np.mean(known, axis=0))
        return float(np.linalg.norm(apart.reshape(-1, 3), axis=1).mean()) > self.config.other_person_mm

    def _lose(self) -> None:
        if self._state is not None:
            self._last_box = self._box(self._shape(self._state), self._state.camera)
        self._state, self._angles = None, None
        self._filter.reset()

    # ------------------------------------------------------------ light and shape

    def _shape(self, state: FaceState) -> Float32:
        """(N, 3) the shape of a state with the person's identity, model space, mm; the last ones are kept."""
        for known, found in self._shapes:
            if known is state:
                return found
        assert self._person.neutral is not None
        found = (self._person.neutral + state.expression @ self._basis).reshape(-1, 3)
        self._shapes = [(state, found), *self._shapes[:1]]
        return found

    def _box(self, vertices: Float32, camera: WeakPerspective) -> Float32:
        """(4,) left, top, right, bottom, px, of brows to chin: as the detector's."""
        uv = camera.project(self.model.landmarks["mediapipe478"].of(vertices))[:, :2]
        return np.concatenate(bounds(uv))

    def _light(self, picture: Image, state: FaceState) -> Float32:
        """(9, 3) the light that explains the skin points best, near the last one; and whether they look as
        they did."""
        person = self._person
        assert person.appearance is not None
        assert person.skin is not None
        corners = self._shape(state)[self.model.triangles[self._points]]
        turned = corners @ state.camera.rotation.T.astype(np.float32)
        normal = np.cross(turned[:, 1] - turned[:, 0], turned[:, 2] - turned[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        uv = state.camera.project(corners.mean(axis=1))[:, :2]
        column, row = np.floor(uv).astype(int).T
        height, width = picture.shape[:2]
        seen = (normal[:, 2] > 0.35) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        light = person.appearance.light
        if np.count_nonzero(seen) < 40:
            self._suspicious = True
            return light
        color = picture[row[seen], column[seen]] / np.float32(255)
        self._compare(color @ LUMA, seen)
        basis = sh_basis(normal[seen]).astype(np.float32)
        shaded = basis.T[None] * person.skin[seen].T[:, None]  # (3, 9, P)
        gram = shaded @ shaded.transpose(0, 2, 1)
        hold = 0.02 / 9 * np.trace(gram, axis1=1, axis2=2)[:, None]
        wanted = (shaded @ color.T[:, :, None])[:, :, 0] + hold * light.T
        out = np.linalg.solve(gram + hold[:, :, None] * np.eye(9), wanted[:, :, None])[:, :, 0]
        out = out.T.astype(np.float32)
        person.appearance = Appearance(person.appearance.albedo, out)
        return out

    def _compare(self, brightness: Float32, seen: NDArray[np.bool_]) -> None:
        """Make the next frame suspicious where skin no longer looks as it did."""
        person = self._person
        now = np.full(len(seen), np.nan, np.float32)
        now[seen] = brightness
        if person.reference is None:
            person.reference, person.likeness = now, 1.0
            return
        both = seen & np.isfinite(person.reference)
        if np.count_nonzero(both) < 40:
            self._suspicious = True
            return
        a, b = now[both] - now[both].mean(), person.reference[both] - person.reference[both].mean()
        ncc = float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-9))
        if ncc < person.likeness - self.config.ncc_drop:
            self._suspicious = True
        else:
            person.likeness += 0.1 * (ncc - person.likeness)
            held = np.where(np.isfinite(person.reference), person.reference, now)
            fresh = np.where(seen, now, held)
            person.reference = held + np.float32(0.05) * (fresh - held)

    # ------------------------------------------------------------ results

    def _smoothed(self, state: FaceState, time: float) -> FaceState:
        """The state without jitter. Where the middle of the face lies is filtered, not where the head's
        origin does: errors of angles and translation cancel there."""
        if not self.config.smooth:
            return state
        pose = state.camera.vector
        pose[3:5] = state.camera.project(self._middle)[:2]
        if self._angles is None:
            self._face_px = 150.0 * float(pose[5])  # a face is some 150 mm
        else:  # no jump from pi to -pi
            pose[:3] = self._angles + (pose[:3] - self._angles + np.pi) % (2 * np.pi) - np.pi
        self._angles = pose[:3].copy()
        pose[3:5] /= self._face_px
        pose[5] = np.log(pose[5])
        values = self._filter(np.concatenate([pose, state.expression]), time)
        values[3:5] *= self._face_px
        values[5] = np.exp(values[5])
        camera = WeakPerspective.from_vector([*values[:3], 0.0, 0.0, values[5]])
        u, v = values[3:5] - camera.project(self._middle)[:2]
        camera = replace(camera, translation_u=float(u), translation_v=float(v))
        low, high = self.model.expression_bounds
        return FaceState(camera, state.identity, np.clip(values[6:], low, high).astype(np.float32))

    def _result(
        self, picture: Image, found: FaceState, state: FaceState, clock: StageClock
    ) -> Reconstruction:
        """The face of a frame: found there, and shown in a state without jitter."""
        model, person = self.model, self._person
        with clock("shape"):
            vertices = self._shape(state)
        coarse, fine = DepthPatch(np.zeros((0, 0), np.float32), 0, 0), None
        if self.fine is not None:
            # the processor's other half draws while the net's threads wait for each other
            drawn = self._helper.submit(coarse_depth, model, vertices, state.camera, picture.shape)
            lit = self._helper.submit(self._light, picture, found)
            with clock("fine"):
                relief = self.fine(picture, state, vertices)
            with clock("depth"):
                coarse = drawn.result()
                fine = relief.on(coarse)
            with clock("light"):
                light = lit.result()
        else:
            if self.config.depth:
                with clock("depth"):
                    coarse = coarse_depth(model, vertices, state.camera, picture.shape)
            with clock("light"):
                light = self._light(picture, found)
        assert person.appearance is not None
        low, high = bounds(state.camera.project(vertices[self._face])[:, :2])
        return Reconstruction(
            image=picture,
            model=model,
            camera=state.camera,
            identity=state.identity,
            expression=state.expression,
            albedo=person.appearance.albedo,
            light=light,
            box=(*low.tolist(), *high.tolist()),
            confidence=float(np.clip(person.likeness, 0, 1)),
            method="net",
            coarse=coarse,
            fine=fine,
            timings_ms=clock.ms,
        )


def track(
    source: str | os.PathLike[str] | int | Iterable[VideoFrame],
    *,
    model: FaceModel | str | Path = "open",
    config: TrackerConfig | None = None,
) -> Iterator[TrackedFrame]:
    """Follow the face of a video: `for frame in facerelief.track("clip.mp4"): ...`.

    source: a file, the number of a camera, or frames in order. Every frame of the source comes back, with the
    face or without. Raises VideoError for a source that cannot be read, ModelError as `Tracker` does.
    """
    tracker = Tracker(model, config)
    if isinstance(source, str | os.PathLike | int):
        with VideoReader(source if isinstance(source, int) else os.fspath(source)) as reader:
            yield from _tracked(tracker, reader)
    else:
        yield from _tracked(tracker, source)


def _tracked(tracker: Tracker, frames: Iterable[VideoFrame]) -> Iterator[TrackedFrame]:
    for frame in frames:
        state, face = tracker.step(frame.image, frame.time)
        yield TrackedFrame(frame.index, frame.time, frame.image, state, face, tracker.timings_ms)


def _skin_points(model: FaceModel, count: int = 350) -> NDArray[np.intp]:
    """(P,) triangles of plain skin, spread over the face, at which light is measured."""
    plain = model.face_vertices & ~model.region("lips", "eyes", "brows", "eyeballs")
    whole = np.flatnonzero(plain[model.triangles].all(axis=1))
    return whole[:: max(1, len(whole) // count)]


def _at(values: Float32, triangles: NDArray[np.integer]) -> Float32:
    """(P, 3) mean of per-vertex values over the corners of triangles (P, 3)."""
    return values[triangles].mean(axis=1).astype(np.float32)


def _usable(camera: WeakPerspective, picture: Image) -> bool:
    """Whether a camera can show a face in a picture at all."""
    if not np.isfinite(camera.vector).all():
        return False
    height, width = picture.shape[:2]
    face_px = 150.0 * camera.scale
    return (
        12.0 < face_px < 3.0 * max(height, width)
        and -0.5 * face_px < camera.translation_u < width + 0.5 * face_px
        and -0.5 * face_px < camera.translation_v < height + 0.5 * face_px
    )

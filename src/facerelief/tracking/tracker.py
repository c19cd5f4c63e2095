"""A face followed through a video: Tracking CoarseNet from frame to frame, FineNet on each (Guo et al. 2019).

The detector runs on the first frame, after a loss and at every n-th frame; otherwise each frame's crop comes
from the frame before. Identity is the mean of CoarseNet's estimates on the first good frames and then stays,
with the albedo of the frame that found the face. Light is measured in each frame (`light_tracking`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from facerelief.detection import DetectedFace, detect_faces
from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.geometry.boxes import bounds, overlap
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import SquareCrop, tracking_crop
from facerelief.inference.runners import CoarseRunner, FineRunner, TrackingRunner, camera_from_landmarks
from facerelief.inverse.detail import coarse_depth
from facerelief.inverse.fit import landmarks_for
from facerelief.inverse.landmark_fit import FaceState, landmark_residual
from facerelief.inverse.photometric import fit_appearance
from facerelief.io.digest import unchanging_digest
from facerelief.io.images import as_image
from facerelief.morphable import FaceModel, model_file, named_model
from facerelief.runtime.clock import StageClock
from facerelief.runtime.threads import single_thread
from facerelief.tracking.confidence import Check, FrameSimilarity, frame_confidence
from facerelief.tracking.frame import TrackedFrame, TrackState
from facerelief.tracking.light_tracking import LightTracker
from facerelief.tracking.one_euro import OneEuro
from facerelief.typed import Float32, Float64, Image
from facerelief.video import VideoFrame, VideoReader


@dataclass(frozen=True)
class TrackerConfig:
    """Settings of a tracker."""

    detail: bool = True
    """FineNet's relief for every frame; without it `fine` is None."""
    depth: bool = True
    """Depth of the coarse surface for every frame; without it, and without detail, `coarse` is empty."""
    smooth: bool = True
    """Remove jitter from pose and expression (`one_euro.OneEuro`)."""
    per_frame: bool = False
    """CoarseNet for every frame instead of Tracking CoarseNet, for comparison."""
    identity_frames: int = 10
    """Number of first good frames over which identity is averaged."""
    check_every: int = 10
    """The detector confirms the face at every n-th frame."""
    least_overlap: float = 0.4
    """Least intersection over union of the detector's box and the face's."""
    outlier: float = 5.0
    """A frame whose pose changes by more standard deviations than this is checked."""
    ncc_drop: float = 0.25
    """So is one after a frame in which the skin's correlation with its reference fell by more than this."""
    stated_mm: float = 5.0
    """So is a frame for which the network states an error above this, mm."""
    most_spread_mm: float = 8.0
    """The face is lost where a check finds its landmarks farther from the detected ones than this, mm."""
    cut: float = 0.84
    """A frame is checked too if its edges' correlation with the frame before is below this."""
    sure_cut: float = 0.5
    """Below this the film has been cut: identity starts anew."""
    cut_subject_mm: float = 0.9
    """As `other_subject_mm`, for a frame that may be the first after a cut."""
    min_confidence: float = 0.5
    """Detections below this are ignored."""
    other_subject_mm: float = 1.4
    """Mean distance of neutral landmarks, mm, from which a detected face counts as another subject's. Two
    estimates of one subject differ by 0.5 mm in the median and by up to 1.3, of two subjects by 1.2 in the
    median: less than half of all swaps are noticed."""
    nets: str | None = None
    """Folder with networks in place of the shipped ones."""
    threads: int | None = None
    """Threads of the networks; None for `runtime.threads.default_threads`."""
    pose_cutoff: float = 2.0
    """Cutoff of the filter for a pose at rest, Hz."""
    expression_cutoff: float = 2.5
    """Cutoff of the filter for an expression at rest, Hz."""

    def __post_init__(self) -> None:
        if self.identity_frames < 1 or self.check_every < 1:
            raise ValueError("identity_frames and check_every are at least 1")


@dataclass
class _Identity:
    """Shape of the followed face without expression."""

    estimates: list[Float32] = field(default_factory=list[Float32])
    """(K,) each, of the first good frames."""
    neutral: Float32 | None = None
    """(3 N,) mm, of their mean."""


class Tracker:
    """Follows one face through the frames of a video, given in order.

    Args:
        model: Face model, a file of one, or "open" or "open2" for an embedded one.
        config: Settings; the defaults unless given.

    Raises:
        ModelError: The file is no face model, or not the model that the networks were trained with.
    """

    def __init__(self, model: FaceModel | str | Path = "open", config: TrackerConfig | None = None) -> None:
        if isinstance(model, FaceModel):
            self.model = model
        else:
            self.model = named_model(model)
        self.config = c = config or TrackerConfig()
        file = None if isinstance(model, FaceModel) else model_file(model)
        given: dict[str, Any] = {"nets": c.nets, "threads": c.threads, "fall_back": True}
        self.coarse = CoarseRunner(self.model, **given)
        self.tracking = TrackingRunner(self.model, **given)
        self.fine = FineRunner(self.model, **given) if c.detail else None
        nets = (self.coarse, self.tracking) if self.fine is None else (self.coarse, self.tracking, self.fine)
        self.networks = {net.file.name: unchanging_digest(net.file) for net in nets}
        """File name of each network -> SHA-256 of the file."""
        self.model_sha256 = "" if file is None else unchanging_digest(file)
        """SHA-256 of the face model's file, empty where it came from no single file."""
        n, e = self.model.n_vertices, self.model.n_expression
        self._face = np.flatnonzero(self.model.face_vertices)
        self._basis = np.ascontiguousarray(self.model.expression.reshape(3 * n, e).T)
        marks = self.model.landmarks["ibug68"].of(self.model.identity)
        self._identity_basis = np.ascontiguousarray(marks.reshape(-1, self.model.n_identity))
        """(3 * 68, K) displacement of neutral landmarks, mm."""
        pose = np.full(6, c.pose_cutoff)
        cutoff = np.concatenate([pose, np.full(e, c.expression_cutoff)])
        # radians, px over the face's size and log scale per second; weights per second
        beta = np.concatenate([[6.0, 6.0, 6.0, 12.0, 12.0, 12.0], np.full(e, 4.0)])
        self._filter = OneEuro(cutoff, beta, together=slice(0, 6))
        self._middle = self.model.landmarks["ibug68"].of(self.model.mean).mean(axis=0)
        self._face_px = 1.0
        self._helper = ThreadPoolExecutor(1, "facerelief")
        self._state: FaceState | None = None
        self._identity = _Identity()
        self._light = LightTracker(self.model, c.ncc_drop)
        self._since_check = 0
        self.timings_ms: dict[str, float] = {}
        """Times of the last step, by stage."""
        self._suspicious = False
        self._similarity = FrameSimilarity()
        self._check, self._stated_mm = Check(0.0, 0.0), 0.0
        self._last_box: Float32 | None = None
        self._angles: Float64 | None = None
        self._shapes: list[tuple[FaceState, Float32]] = []
        for net in (self.coarse, self.tracking, self.fine):
            if net is not None:
                net.warm_up()

    def step(self, image: Image, time: float) -> tuple[TrackState, Reconstruction | None]:
        """Process the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time: Seconds, rising from frame to frame.

        Returns:
            State of the track and the face, None without one.
        """
        with single_thread(scipy=False):
            return self._step(image, time)

    def _step(self, image: Image, time: float) -> tuple[TrackState, Reconstruction | None]:
        clock = StageClock()
        self.timings_ms = clock.ms
        image = as_image(image)
        state: TrackState = "tracked"
        similar = self._similarity(image)
        if similar < self.config.sure_cut and self._state is not None:
            self.reset()
        found = self._follow(image, clock, similar) if self._state is not None else None
        if found is None:
            if self._state is not None:
                self._lose()
            with clock("detect"):
                found = self._find(image)
            state = "found"
        if found is None:
            return "none", None
        self._state = found
        return state, self._result(image, found, self._smoothed(found, time), clock)

    def reset(self) -> None:
        """Forget the face: the next frame may show another subject."""
        self._lose()
        self._forget_identity()
        self._last_box = None

    def _forget_identity(self) -> None:
        self._identity = _Identity()
        self._light = LightTracker(self.model, self.config.ncc_drop)

    # ------------------------------------------------------------ finding

    def _find(self, image: Image) -> FaceState | None:
        face = self._detected(image)
        if face is None:
            return None
        around = camera_from_landmarks(self.model, face.landmarks)
        estimate = self.coarse.estimate(image, around)
        seen = estimate.state
        vertices = self.model.shape(seen.identity, seen.expression)
        near = overlap(self._box(vertices, seen.camera), np.array(face.box))
        if near < 0.5 * self.config.least_overlap or not _usable(seen.camera, image):
            return None
        if self._identity_mm(seen) > self.config.other_subject_mm:
            self._forget_identity()
        check = self._checked(seen, face)
        if check.spread_mm > self.config.most_spread_mm:
            return None
        self._check, self._stated_mm = check, estimate.error_mm
        state = self._with_mean_identity(seen)
        if self._light.appearance is None:
            self._light.start(fit_appearance(self.model, image, state)[0])
        self._light.forget_reference()
        self._light.likeness = 1.0
        self._since_check, self._suspicious = 0, False
        return state

    def _detected(self, image: Image) -> DetectedFace | None:
        """The detection at the place of the face followed before, else the best one."""
        faces = detect_faces(image, min_confidence=self.config.min_confidence, small_faces=False)
        if not faces:
            return None
        if self._last_box is not None:
            near = [(overlap(self._last_box, np.array(face.box)), -k) for k, face in enumerate(faces)]
            share, best = max(near)
            if share > 0.1:
                return faces[-best]
        return faces[0]

    def _with_mean_identity(self, state: FaceState) -> FaceState:
        """The state with the mean identity of the first good frames, its own among them."""
        known = self._identity
        if len(known.estimates) < self.config.identity_frames:
            known.estimates.append(state.identity)
            known.neutral = self.model.shape(np.mean(known.estimates, axis=0)).reshape(-1)
        return replace(state, identity=np.mean(known.estimates, axis=0).astype(np.float32))

    # ------------------------------------------------------------ following

    def _follow(self, image: Image, clock: StageClock, similar: float) -> FaceState | None:
        """The state in this frame, or None where the face was lost; similar: to the frame before."""
        before, c = self._state, self.config
        assert before is not None
        with clock("coarse"):
            vertices = self._shape(before)
            crop = tracking_crop(vertices, self.model.face_vertices, before.camera, self.tracking.size)
            whole = replace(crop, size=self.coarse.size)
            if c.per_frame:
                estimate, delta = self.coarse(image, whole), np.zeros(6)
            else:
                estimate, delta = self.tracking(image, before, vertices, crop)
            state, change = replace(estimate.state, identity=before.identity), delta[-6:]
            self._stated_mm = estimate.error_mm
        if not _usable(state.camera, image):
            return None
        if len(self._identity.estimates) < c.identity_frames:
            with clock("identity"):
                fresh = self._with_mean_identity(self.coarse(image, whole).state)
                state = replace(state, identity=fresh.identity)
        self._since_check += 1
        unlike = bool(np.abs(change).max() > c.outlier) or self._stated_mm > c.stated_mm or similar < c.cut
        if unlike or self._suspicious or self._since_check >= c.check_every:
            with clock("check"):
                if not self._still_there(image, state, whole, similar):
                    return None
                if self._suspicious:
                    self._light.forget_reference()  # the light has changed, or something occluded the face
            self._since_check, self._suspicious = 0, False
        return state

    def _still_there(self, image: Image, state: FaceState, crop: SquareCrop, similar: float) -> bool:
        """True if the detector finds a face at the place of the state's, with the same landmarks, and a fresh
        look at the crop the same subject."""
        c = self.config
        box = self._box(self._shape(state), state.camera)
        faces = detect_faces(image, min_confidence=c.min_confidence, small_faces=False)
        face = max(faces, key=lambda f: overlap(box, np.array(f.box)), default=None)
        if face is None or overlap(box, np.array(face.box)) < c.least_overlap:
            return False
        apart = self._identity_mm(self.coarse(image, crop).state)
        check = self._checked(state, face, apart)
        if check.spread_mm > c.most_spread_mm:
            return False
        if similar < c.cut and apart > c.cut_subject_mm:
            self._lose()  # before its identity goes, with which its place is known
            self._forget_identity()
            return False
        if self._suspicious and apart > c.other_subject_mm:
            return False
        self._check = check
        return True

    def _checked(self, state: FaceState, face: DetectedFace, identity_mm: float = 0.0) -> Check:
        """A state beside a detected face."""
        observed, name = landmarks_for(self.model, face.landmarks)
        apart = landmark_residual(self.model, observed, state, name=name).rms_px / state.camera.scale
        return Check(face.confidence * face.landmark_confidence, apart, identity_mm)

    def _identity_mm(self, seen: FaceState) -> float:
        """Mean distance of a fresh estimate's neutral landmarks from the followed face's, mm."""
        known = self._identity.estimates
        if not known:
            return 0.0
        apart = self._identity_basis @ (seen.identity - np.mean(known, axis=0))
        return float(np.linalg.norm(apart.reshape(-1, 3), axis=1).mean())

    def _lose(self) -> None:
        if self._state is not None:
            self._last_box = self._box(self._shape(self._state), self._state.camera)
        self._state, self._angles = None, None
        self._filter.reset()

    # ------------------------------------------------------------ shape

    def _shape(self, state: FaceState) -> Float32:
        """(N, 3) shape of a state with the mean identity, model space, mm; the last two are cached."""
        for known, shape in self._shapes:
            if known is state:
                return shape
        assert self._identity.neutral is not None
        posed = self._identity.neutral + state.expression @ self._basis
        shape = np.asarray(posed, np.float32).reshape(-1, 3)
        self._shapes = [(state, shape), *self._shapes[:1]]
        return shape

    def _box(self, vertices: Float32, camera: WeakPerspective) -> Float32:
        """(4,) left, top, right, bottom, px, from brows to chin like the detector's boxes."""
        uv = camera.project(self.model.landmarks["mediapipe478"].of(vertices))[:, :2]
        return np.concatenate(bounds(uv))

    # ------------------------------------------------------------ results

    def _smoothed(self, state: FaceState, time: float) -> FaceState:
        """The state without jitter. Filtered is the position of the face's middle, where errors of angles and
        translation cancel, instead of that of the head's origin."""
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

    def _measured_light(self, image: Image, found: FaceState) -> Float32:
        """(9, 3) light of the frame; where the skin has changed, the next frame is checked."""
        light, same = self._light.measure(image, self._shape(found), found.camera)
        self._suspicious |= not same
        return light

    def _result(self, image: Image, found: FaceState, state: FaceState, clock: StageClock) -> Reconstruction:
        """The face of a frame: light measured in the unfiltered state, all else in the filtered one."""
        model = self.model
        with clock("shape"):
            vertices = self._shape(state)
        coarse, fine = DepthPatch(np.zeros((0, 0), np.float32), 0, 0), None
        if self.fine is not None:
            # in a thread of its own, while the network's threads wait for each other
            rendered = self._helper.submit(coarse_depth, model, vertices, state.camera, image.shape)
            lit = self._helper.submit(self._measured_light, image, found)
            with clock("fine"):
                relief = self.fine(image, state, vertices)
            with clock("depth"):
                coarse = rendered.result()
                fine = relief.on(coarse)
            with clock("light"):
                light = lit.result()
        else:
            if self.config.depth:
                with clock("depth"):
                    coarse = coarse_depth(model, vertices, state.camera, image.shape)
            with clock("light"):
                light = self._measured_light(image, found)
        assert self._light.appearance is not None
        low, high = bounds(state.camera.project(vertices[self._face])[:, :2])
        return Reconstruction(
            image=image,
            model=model,
            camera=state.camera,
            identity=state.identity,
            expression=state.expression,
            albedo=self._light.appearance.albedo,
            light=light,
            box=(*low.tolist(), *high.tolist()),
            confidence=frame_confidence(self._check, self._stated_mm, self._light.likeness),
            method="net",
            coarse=coarse,
            fine=fine,
            timings_ms=clock.ms,
            networks=self.networks,
            model_sha256=self.model_sha256,
        )


def track(
    source: str | os.PathLike[str] | int | Iterable[VideoFrame],
    *,
    model: FaceModel | str | Path = "open",
    config: TrackerConfig | None = None,
) -> Iterator[TrackedFrame]:
    """Follow the face of a video: `for frame in facerelief.track("clip.mp4"): ...`.

    Args:
        source: A video file, the number of a camera, or frames in order.
        model: Face model, a file of one, or "open" or "open2" for an embedded one.
        config: Settings; the defaults unless given.

    Yields:
        Every frame of the source, with the face or without.

    Raises:
        VideoError: The source cannot be read.
        ModelError: As `Tracker`.
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


def _usable(camera: WeakPerspective, image: Image) -> bool:
    """True if a camera places a face of plausible size in the image."""
    if not np.isfinite(camera.vector).all():
        return False
    height, width = image.shape[:2]
    face_px = 150.0 * camera.scale
    return (
        12.0 < face_px < 3.0 * max(height, width)
        and -0.5 * face_px < camera.translation_u < width + 0.5 * face_px
        and -0.5 * face_px < camera.translation_v < height + 0.5 * face_px
    )

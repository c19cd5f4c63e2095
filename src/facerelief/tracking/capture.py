"""Face capture from a video: the parameters of all frames, and one animated head."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.head_glb import GlbOptions, encode_head_glb
from facerelief.facefolder.maps import HeadMaps, head_maps
from facerelief.geometry.camera import WeakPerspective
from facerelief.io.atomic import write_bytes
from facerelief.io.glb import Animation
from facerelief.tracking.frame import TrackedFrame
from facerelief.tracking.track_file import Track, write_track, write_track_csv
from facerelief.tracking.views import BestViews, merged_views
from facerelief.typed import Float32

TRACK, TABLE, ANIMATION = "track.npz", "track.csv", "performance.glb"
"""Names of the files that `FaceCapture.save` writes."""
_LANDMARKS = 68


class FaceCapture:
    """Parameters of a followed face, collected frame by frame: about a kilobyte each.

    The only images kept are those of the best frame (`best`), in which the face is largest, most frontal and
    most certain, and of up to six good ones from several sides (`views`); texture and relief come from
    them.

    Args:
        fps: Nominal frame rate of the video, Hz, for the files.
        source: Name of the video, for the files.
    """

    def __init__(self, fps: float = 0.0, source: str = "") -> None:
        self.fps, self.source = fps, source
        self.best: Reconstruction | None = None
        """Face of the best frame so far."""
        self.views = BestViews()
        """Best frames of each side: texture and relief are made of them together."""
        self._merit = 0.0
        self._frames: list[tuple[int, float, str, int, Float32 | None]] = []
        """Number, time, state, row of the identity (-1 without a face), and the numbers of `_row`."""
        self._identities: list[tuple[Float32, Float32]] = []
        """Identity (K,) and albedo (A,) of each different face."""
        self._identity_rows: dict[bytes, int] = {}
        self._size = (0, 0)
        self._merged: tuple[int, list[Reconstruction]] | None = None
        """Number of frames, and the faces of `merged` then."""

    def __len__(self) -> int:
        """Number of frames added so far."""
        return len(self._frames)

    @property
    def faces(self) -> int:
        """Number of frames that show a face."""
        return sum(frame[3] >= 0 for frame in self._frames)

    def add(self, frame: TrackedFrame) -> None:
        """Add a frame of the video, with or without a face.

        Raises:
            ValueError: Its face has another model than those before.
        """
        face, identity, row = frame.face, -1, None
        if face is not None:
            if self.best is not None and self.best.model is not face.model:
                raise ValueError("all faces of a capture have the same model")
            identity = self._identity_row(face)
            row = _row(face)
            merit = _merit(face)
            if self.best is None or merit > self._merit:
                self.best, self._merit = face, merit
            self.views.add(face, frame.time, merit)
        self._size = (frame.image.shape[1], frame.image.shape[0])
        # in one step: an interrupt leaves the whole frame or none
        self._frames.append((frame.index, frame.time, frame.state, identity, row))

    def track(self) -> Track:
        """All frames so far; shapes and units as in `tracking.track_file`."""
        model = None if self.best is None else self.best.model
        names = () if model is None else model.expression_names
        rows = np.array([f[3] for f in self._frames], np.int32)
        wide = np.full((len(self), 6 + len(names) + 27 + 4 + 1 + 2 * _LANDMARKS), np.nan, np.float32)
        for i, (*_, row) in enumerate(self._frames):
            if row is not None:
                wide[i] = row
        ends = np.cumsum([6, len(names), 27, 4, 1])
        camera, expression, light, box, confidence, landmarks = np.split(wide, ends, axis=1)
        rotation = np.full((len(self), 3, 3), np.nan, np.float32)
        for i in np.flatnonzero(rows >= 0):
            rotation[i] = WeakPerspective.from_vector(camera[i]).rotation
        return Track(
            frame=np.array([f[0] for f in self._frames], np.int64),
            time=np.array([f[1] for f in self._frames], np.float64),
            state=np.array([f[2] for f in self._frames], "<U7"),
            camera=camera,
            rotation=rotation,
            expression=expression,
            expression_names=tuple(names),
            light=light.reshape(-1, 9, 3),
            box=box,
            confidence=confidence[:, 0],
            landmarks68_px=landmarks.reshape(-1, _LANDMARKS, 2),
            person=rows,
            identity=_stacked([p[0] for p in self._identities]),
            albedo=_stacked([p[1] for p in self._identities]),
            model="" if model is None else model.name,
            model_version="" if model is None else model.version,
            expression_kind="blendshape" if model is None else model.expression_kind,
            image_size=self._size,
            fps=self.fps,
            source=self.source,
            networks={} if self.best is None else self.best.networks,
            model_sha256="" if self.best is None else self.best.model_sha256,
        )

    def save(self, folder: str | Path, *, texture_size: int = 2048, maps: HeadMaps | None = None) -> None:
        """Write track.npz, track.csv and, where there was a face, performance.glb.

        Args:
            folder: An existing folder.
            texture_size: Side of the texture, px.
            maps: Texture and relief of `merged`, where the caller has them already.

        Raises:
            OutputError: A file cannot be written.
        """
        folder = Path(folder)
        track = self.track()
        write_track(folder / TRACK, track)
        write_track_csv(folder / TABLE, track)
        if self.best is not None:
            best, *others = self.merged()
            maps = maps or head_maps(best, texture_size, others)
            write_capture_glb(folder / ANIMATION, track, best, maps=maps)

    def merged(self) -> list[Reconstruction]:
        """The best face and those of other good frames, the best first, with the relief that all show.

        Raises:
            ValueError: No frame shows a face.
        """
        if self.best is None:
            raise ValueError("no frame shows a face")
        if self._merged is None or self._merged[0] != len(self):
            self._merged = len(self), merged_views(self.best, self.views)
        return self._merged[1]

    def _identity_row(self, face: Reconstruction) -> int:
        """Row of a face's identity and albedo among the different ones so far."""
        key = face.identity.tobytes() + b"|" + face.albedo.tobytes()
        if key not in self._identity_rows:
            self._identity_rows[key] = len(self._identities)
            self._identities.append((face.identity.astype(np.float32), face.albedo.astype(np.float32)))
        return self._identity_rows[key]


def write_capture_glb(
    path: str | Path,
    track: Track,
    best: Reconstruction,
    *,
    texture_size: int = 2048,
    options: GlbOptions | None = None,
    maps: HeadMaps | None = None,
) -> None:
    """Write a GLB of one head with an animation of its blendshape weights, rotation and translation.

    The shape is the neutral one of the identity of most frames (the latest of several); the morph targets are
    the model's; texture and relief come from the face `best` unless given. The keys have the times of the
    frames that show a face; players interpolate between them, also where the face was lost.

    The head keeps its size in mm and its place in the frame: x = (t_u - W/2) / s,
    y = (H/2 - t_v) / s from the middle of the image. z stays 0, since weak perspective does not determine the
    distance of a face.

    Args:
        path: File to be written.
        track: Parameters of all frames.
        best: Face that gives the texture.
        texture_size: Side of texture and normal map, texels.
        options: Optional parts of the file.
        maps: Texture and relief, where the caller has them already.

    Raises:
        OutputError: The file cannot be written.
        ValueError: The track has no face.
    """
    seen = np.flatnonzero(track.faces)
    if not len(seen):
        raise ValueError("the track shows no face")
    times = track.time[seen].astype(np.float32)
    keyed = np.append(True, np.diff(times) > 0)  # times that are equal in glTF's float32
    seen, times = seen[keyed], times[keyed]
    model = best.model
    counts = np.bincount(track.person[track.faces])
    row = int(np.flatnonzero(counts == counts.max())[-1])
    maps = maps or head_maps(best, texture_size)
    identity = track.identity[row]
    shape = model.shape(identity)
    animation = Animation(
        times=times,
        weights=track.expression[seen] if model.n_expression else None,
        rotations=track.rotation[seen],
        translations=_places(track.camera[seen], track.image_size),
    )
    data = encode_head_glb(model, shape, maps, animation=animation, identity=identity, options=options)
    write_bytes(path, data)


def _places(camera: Float32, size: tuple[int, int]) -> Float32:
    """(F, 3) mm from the middle of the image, of cameras (F, 6); size: width, height, px."""
    _, _, _, u, v, scale = camera.T
    places = np.column_stack([(u - size[0] / 2) / scale, (size[1] / 2 - v) / scale, np.zeros(len(camera))])
    return places.astype(np.float32)


def _stacked(rows: list[Float32]) -> Float32:
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _row(face: Reconstruction) -> Float32:
    """All numbers of a face that may change from frame to frame, in one row (R,)."""
    landmarks = np.full(2 * _LANDMARKS, np.nan)
    if "ibug68" in face.model.landmarks:
        landmarks = face.landmarks68_px.ravel()
    numbers = [
        face.camera.vector,
        face.expression,
        face.light.ravel(),
        face.box,
        [face.confidence],
        landmarks,
    ]
    return np.concatenate(numbers).astype(np.float32)


def _merit(face: Reconstruction) -> float:
    """Merit of a frame for the texture: the face's size in px/mm, reduced for a turned or uncertain face and
    for one partly outside the image."""
    height, width = face.image.shape[:2]
    left, top, right, bottom = face.box
    across, down = min(right, width) - max(left, 0.0), min(bottom, height) - max(top, 0.0)
    inside = max(across, 0.0) * max(down, 0.0) / max((right - left) * (bottom - top), 1e-9)
    facing = max(float(face.camera.rotation[2, 2]), 0.0)
    return face.camera.scale * facing**2 * face.confidence * inside

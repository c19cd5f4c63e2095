"""Motion of faces between frames of real video, and the part of it that is error of the fit.

    python benchmarks/motion.py VIDEO... -o src/facerelief/data/motion.npz --plot docs/images/motion.png

Every frame is fitted on its own, without a tracker, so that errors of neighbouring frames are independent:

1. The whole fit on `--anchors` frames spread over a clip; the means of identity and albedo are the subject's.
2. All frames with that identity and albedo fixed: pose, expression and light. From these tracks come the
   changes between frames (`motion_estimate.estimate_motion`).
3. Every `--free-step`-th frame again with nothing fixed, as for a single frame of an unknown subject. Its
   distance from the smoothed track of 2 is the error of a real previous estimate.

Blinks are taken from the landmarks (the distance of the lids), since the fit misses most of them. Only
numbers are stored. `--tracks FOLDER` keeps the fits there for later runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.detection import DetectedFace, detect_faces
from facerelief.inverse import fit_face
from facerelief.lab.datasets.motion import FACE_WIDTH_MM, MotionModel
from facerelief.morphable import FaceModel, open_model
from motion_estimate import MotionTrack, estimate_motion, find_blinks, save_motion

Float = NDArray[Any]
Found = tuple[NDArray[np.uint8], DetectedFace]
POSE = ("pitch", "yaw", "roll", "to the side", "down", "log scale")
UNITS = ("deg", "deg", "deg", "% of width", "% of width", "%")
PER_UNIT = np.array([np.degrees(1)] * 3 + [100.0] * 3)
EYES = (((159, 145), (158, 153), (33, 133)), ((386, 374), (385, 380), (263, 362)))
"""Of each eye: two pairs of lid landmarks, and the corners."""


def frames(video: Path) -> Iterator[NDArray[np.uint8]]:
    """The images of a video, RGB."""
    import cv2

    reader = cv2.VideoCapture(str(video))
    if not reader.isOpened():
        raise SystemExit(f"{video}: cannot be read as a video")
    while True:
        good, image = reader.read()
        if not good:
            break
        yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    reader.release()


def frames_a_second(video: Path) -> float:
    """Frame rate of the file, Hz."""
    import cv2

    reader = cv2.VideoCapture(str(video))
    found = float(reader.get(cv2.CAP_PROP_FPS))
    reader.release()
    return found


def fixed_identity(model: FaceModel, identity: Float, albedo: Float) -> FaceModel:
    """The model with fixed identity and albedo: only the expression is left to fit."""
    return replace(
        model,
        mean=model.shape(identity),
        identity=model.identity[:, :, :0],
        albedo_mean=model.skin(albedo),
        albedo=model.albedo[:, :, :0],
    )


def eye_opening(landmarks: Float) -> float:
    """Height of the eyes' opening over its width, mean of both; landmarks (478, 2) px."""
    ratios: list[float] = []
    for *lids, corners in EYES:
        height = np.mean([np.linalg.norm(landmarks[a] - landmarks[b]) for a, b in lids])
        ratios.append(float(height / np.linalg.norm(landmarks[corners[0]] - landmarks[corners[1]])))
    return float(np.mean(ratios))


def longest_run(found: list[Found | None]) -> list[Found]:
    """The longest run of frames in which a face was found."""
    runs: list[list[Found]] = [[]]
    for item in found:
        if item is None:
            runs.append([])
        else:
            runs[-1].append(item)
    return max(runs, key=len)


def fit_video(model: FaceModel, video: Path, anchors: int, free_step: int) -> MotionTrack:
    """Fits of all frames of a video's longest run with a face."""
    found: list[Found | None] = []
    for image in frames(video):
        faces = detect_faces(image, max_faces=1)
        found.append((image, faces[0]) if faces else None)
    seen = longest_run(found)
    if len(seen) < 20:
        raise SystemExit(f"{video}: a face in {len(seen)} frames on end, expected at least 20")

    def fitted(with_model: FaceModel, at: int) -> Any:
        image, face = seen[at]
        return fit_face(with_model, image, face.box, face.landmarks)

    first = [fitted(model, int(k)) for k in np.linspace(0, len(seen) - 1, anchors)]
    identity = np.mean([fit.state.identity for fit in first], axis=0)
    subject = fixed_identity(model, identity, np.mean([fit.appearance.albedo for fit in first], axis=0))
    states: list[Any] = []
    for at in range(len(seen)):
        states.append(fitted(subject, at).state)
        say(f"{video.name}: {at + 1} of {len(seen)} frames")
    free_at = np.arange(0, len(seen), free_step)
    free: list[Any] = []
    for at in free_at:
        free.append(fitted(model, int(at)).state)
        say(f"{video.name}: {len(free)} of {len(free_at)} frames with free identity")
    return MotionTrack(
        camera=np.array([state.camera.vector for state in states]),
        expression=np.array([state.expression for state in states]),
        opening=np.array([eye_opening(face.landmarks) for _, face in seen]),
        free_at=free_at,
        free_camera=np.array([state.camera.vector for state in free]),
        free_expression=np.array([state.expression for state in free]),
        free_identity=np.array([state.identity for state in free]),
        fps=frames_a_second(video),
    )


def say(text: str) -> None:
    print(f"\r{text}", end="", file=sys.stderr, flush=True)


def fitted_video(
    model: FaceModel, video: Path, kept: Path | None, anchors: int, free_step: int
) -> MotionTrack:
    """`fit_video`, or its stored result."""
    file = kept / f"{video.stem}.npz" if kept else None
    if file and file.exists():
        with np.load(file) as data:
            return MotionTrack(
                **{name: data[name] for name in data.files if name != "fps"}, fps=float(data["fps"])
            )
    track = fit_video(model, video, anchors, free_step)
    print(file=sys.stderr)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **vars(track))
    return track


def report(model: MotionModel, tracks: list[MotionTrack]) -> None:
    """The figures of docs/data.md, as its tables."""
    columns = [*range(6), *(6 + model.names.index(name) for name in SHOWN)]
    labels = [*(f"{name}, {unit}" for name, unit in zip(POSE, UNITS)), *SHOWN]
    per = np.concatenate([PER_UNIT, np.ones(len(model.names))])
    print("| change over one frame | std | kurtosis | 50 % | 90 % | 99 % | largest | 2 fr. std | 3 fr. std |")
    print("|---|---|---|---|---|---|---|---|---|")
    for column, label in zip(columns, labels):
        one, two, three = (table[:, column].astype(np.float64) * per[column] for table in model.changes)
        size = np.abs(one)
        kurtosis = (one**4).mean() / max((one**2).mean() ** 2, 1e-30)
        numbers = [rms(one), kurtosis, *np.quantile(size, [0.5, 0.9, 0.99]), size.max(), rms(two), rms(three)]
        print(f"| {label} | " + " | ".join(f"{x:.3g}" for x in numbers) + " |")
    print("\n| error of one frame, std | 4th differences | spline | still stretches | nothing held |")
    print("|---|---|---|---|---|")
    for column, label in zip(columns, labels):
        numbers = [*model.noise[:, column] * per[column], rms(model.errors[:, column] * per[column])]
        print(f"| {label} | " + " | ".join(f"{x:.3g}" for x in numbers) + " |")
    seconds = sum(len(track.camera) / track.fps for track in tracks)
    counts = [len(find_blinks(track.opening)[0]) for track in tracks]
    print(
        f"\n{sum(counts)} blinks {counts} in {seconds:.1f} s; shares by frames apart (lids open, shut now):"
    )
    print(np.round(model.blink_share, 3).tolist())
    print("mean blink:", np.round(model.blinks.mean(axis=0), 2).tolist())
    print(f"identity of one frame: {rms(model.identity_errors):.3f} standard deviations from the clip's mean")
    print(f"{len(tracks)} clips, {sum(len(t.camera) for t in tracks)} frames; width {FACE_WIDTH_MM:.0f} mm")


def rms(values: Float) -> float:
    """Root mean square: changes have either sign, so their mean is zero."""
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


SHOWN = ("jawOpen", "mouthPucker", "mouthSmileLeft", "mouthLowerDownLeft", "browInnerUp", "eyeLookOutLeft")
"""Expressions that are reported and drawn, beside the pose."""


def plot(model: MotionModel, path: Path) -> None:
    """Changes over one frame beside Gaussians of the same spread, and blinks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 4, figsize=(13, 8.2), layout="constrained")
    panels = [(k, f"{name} ({unit})", PER_UNIT[k]) for k, (name, unit) in enumerate(zip(POSE, UNITS))]
    panels += [(6 + model.names.index(name), name, 1.0) for name in SHOWN[:5]]
    for axis, (column, label, per) in zip(axes.flat, panels):
        values = np.abs(model.changes[0][:, column].astype(np.float64) * per)
        noise = float(model.noise[0, column] * per)
        spread = rms(values)
        at = np.linspace(0, 1.05 * values.max(), 300)
        ranks = 1.0 - (np.arange(len(values)) + 0.5) / len(values)
        axis.semilogy(np.sort(values), ranks, ".", ms=3, color="#1f5f8b", label="real changes, 1 frame")
        axis.semilogy(at, gaussian_tail(at, spread), color="#c0392b", lw=1.2, label="Gaussian, same std")
        if noise > 0:
            axis.semilogy(
                at, gaussian_tail(at, noise * 2**0.5), color="0.6", lw=1, ls="--", label="the fit's noise"
            )
        axis.set(ylim=(0.4 / len(values), 1.1), title=label)
        axis.title.set_size(10)
    for axis in axes[:, 0]:
        axis.set_ylabel("share beyond")
    axes.flat[0].legend(fontsize=7, loc="upper right")
    last = axes.flat[-1]
    at = np.arange(model.blinks.shape[1]) - 5
    last.plot(at, model.blinks.T, color="#1f5f8b", alpha=0.25, lw=0.8)
    last.plot(at, model.blinks.mean(axis=0), color="#c0392b", lw=2)
    last.set(title=f"{len(model.blinks)} blinks: how far shut", xlabel="frames")
    last.title.set_size(10)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def gaussian_tail(at: Float, spread: float) -> Float:
    """Share of a Gaussian that lies farther than `at` from its middle."""
    from scipy.special import erfc

    return erfc(at / (max(spread, 1e-12) * 2**0.5))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path, nargs="+", help="clips of one talking face each")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .npz")
    parser.add_argument("--plot", type=Path, help="image to write, .png")
    parser.add_argument("--anchors", type=int, default=10, help="frames for the identity (default 10)")
    parser.add_argument("--free-step", type=int, default=2, help="see above (default 2)")
    parser.add_argument("--tracks", type=Path, help="folder to keep the fits in")
    args = parser.parse_args()
    model = open_model()
    tracks = [fitted_video(model, v, args.tracks, args.anchors, args.free_step) for v in args.videos]
    motion = estimate_motion(tracks, model.expression_names)
    save_motion(args.output, motion)
    report(motion, tracks)
    if args.plot:
        plot(motion, args.plot)


if __name__ == "__main__":
    main()

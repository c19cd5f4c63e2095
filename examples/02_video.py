"""Face tracking in a video

Follows a face from frame to frame, writes an overlay video, the numbers of all frames and an animated
head. The clip is made here: the portrait turns its head and smiles.

Features:
    * `facerelief.track` yields one `TrackedFrame` per frame, from a file, a webcam or a `VideoReader`
    * `FaceCapture` collects the frames and saves track.npz, track.csv and performance.glb
    * `overlay_frame` and `VideoWriter` make the overlay video
"""

import math
import sys
from pathlib import Path

import facerelief
from facerelief.examples import astronaut_path
from facerelief.synthesis import Editor
from facerelief.tracking.capture import FaceCapture
from facerelief.tracking.overlay import overlay_frame, overlay_size
from facerelief.video import VideoReader, VideoWriter

FRAMES, FPS = 16, 25


def make_clip(file: Path) -> None:
    """The portrait turns its head by 15 degrees to either side and smiles meanwhile."""
    face = facerelief.reconstruct(astronaut_path())[0]
    editor = Editor(face)
    height, width = face.image.shape[:2]
    with VideoWriter(file, width, height, FPS) as video:
        for number in range(FRAMES):
            phase = 2 * math.pi * number / FRAMES
            smile = {"smile": 0.3 - 0.3 * math.cos(phase)}
            changed = editor.edit(turn=(0.0, math.radians(15) * math.sin(phase), 0.0), expression=smile)
            video.write(changed.image, number / FPS)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    clip = out / "clip.mp4"
    make_clip(clip)
    capture = FaceCapture(FPS, clip.name)
    with (
        VideoReader(clip) as reader,
        VideoWriter(out / "overlay.mp4", *overlay_size(reader.width, reader.height), reader.fps) as video,
    ):
        for frame in facerelief.track(reader):
            capture.add(frame)
            video.write(overlay_frame(frame), frame.time)
            yaw = "lost" if frame.face is None else f"yaw {math.degrees(frame.face.camera.yaw):6.1f} degrees"
            print(f"frame {frame.index:2d} at {frame.time:.2f} s: {yaw}")
    capture.save(out, texture_size=512)
    print(f"{capture.faces} of {len(capture)} frames show the face; files are in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))

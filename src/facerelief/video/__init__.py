"""Videos in and out: frames with times from files and cameras, MP4 files from frames.

PyAV reads and writes files, OpenCV the cameras; both are imported by the functions that need them.
"""

from __future__ import annotations

from facerelief.video.reader import VideoFrame, VideoReader
from facerelief.video.writer import VideoWriter

__all__ = ["VideoFrame", "VideoReader", "VideoWriter"]

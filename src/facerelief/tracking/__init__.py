"""Tracking of a face through a video: tracker, smoothing, files and overlay of a track."""

from facerelief.tracking.frame import TrackedFrame
from facerelief.tracking.tracker import Tracker, TrackerConfig, track

__all__ = ["TrackedFrame", "Tracker", "TrackerConfig", "track"]

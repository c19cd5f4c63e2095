"""Faces found in images, with 478 landmarks. Importing this is cheap; OpenCV and OpenVINO come with the first
use."""

from facerelief.detection.detector import DetectedFace, detect_faces

__all__ = ["DetectedFace", "detect_faces"]

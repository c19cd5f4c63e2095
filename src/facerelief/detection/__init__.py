"""Detection of faces in images, with 478 landmarks; OpenCV and OpenVINO are imported on first use."""

from facerelief.detection.detector import DetectedFace, detect_faces

__all__ = ["DetectedFace", "detect_faces"]

"""Reading pictures and finding faces in them. Importing this is cheap; OpenCV and OpenVINO come with the
first use."""

from facerelief.detection.detector import DetectedFace, detect_faces
from facerelief.detection.images import as_image, read_image

__all__ = ["DetectedFace", "as_image", "detect_faces", "read_image"]

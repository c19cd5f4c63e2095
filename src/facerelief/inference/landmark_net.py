"""The landmark net: many vertices of a face model in an image, each with its standard deviation.

After Wood et al. (3D face reconstruction with dense landmarks, ECCV 2022): a net trained on renders, whose
labels are exact, finds hundreds of points, hidden ones too, and says how sure it is of each.
`facerelief train landmarks` makes it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from facerelief.errors import ModelError
from facerelief.geometry.boxes import bounds
from facerelief.inference.crops import SquareCrop
from facerelief.inverse.dense_fit import DensePoints
from facerelief.morphable.model import FaceModel
from facerelief.runtime.network import Network, Precision, load_network
from facerelief.typed import Image, Int32

LANDMARK_SIZE = 192
"""Side of the landmark net's crop, px."""
LANDMARK_MARGIN = 1.35
"""Side of that crop over the longer side of the box of the detected points, turned upright."""
NET_FILE = Path(__file__).resolve().parent.parent / "data" / "nets" / "landmarks.onnx"
"""The landmark net that comes with the package, where it does."""
_MODEL = ("facerelief-open2", "2.0")
"""Name and version of the face model whose vertices that net finds."""
_CORNERS = {478: (33, 263), 468: (33, 263), 68: (36, 45)}
"""Outer corners of the person's right and left eye, by the number of points."""


def has_landmark_net(model: FaceModel) -> bool:
    """True if the package's landmark net finds this model's vertices."""
    return (model.name, model.version) == _MODEL and NET_FILE.is_file()


def landmark_crop(landmarks: ArrayLike, size: int = LANDMARK_SIZE) -> SquareCrop:
    """The landmark net's crop: the box of the detected points in the image turned upright.

    Args:
        landmarks: (478, 468 or 68, 2) px; points that are not finite are left out.
        size: Side of the crop, px.

    Raises:
        ValueError: Another number of points, or no box with an area.
    """
    points = np.asarray(landmarks, np.float64)[:, :2]
    if len(points) not in _CORNERS:
        raise ValueError(f"{len(points)} landmarks, expected one of {', '.join(map(str, _CORNERS))}")
    right, left = points[list(_CORNERS[len(points)])]
    # turned counter-clockwise by this, the eyes are level (v is down)
    angle = math.atan2(left[1] - right[1], left[0] - right[0])
    c, s = math.cos(angle), math.sin(angle)
    upright = points[np.isfinite(points).all(axis=1)] @ np.array([[c, -s], [s, c]])
    low, high = bounds(upright)
    side = float((high - low).max()) * LANDMARK_MARGIN
    if not (math.isfinite(side) and side > 0):
        raise ValueError("the landmarks hold no finite box with an area")
    u, v = np.array([[c, -s], [s, c]]) @ ((low + high) / 2)
    return SquareCrop(float(u), float(v), side, size, angle)


class LandmarkRunner:
    """The landmark net at work."""

    def __init__(
        self,
        model: FaceModel,
        file: str | Path | None = None,
        *,
        threads: int | None = None,
        precision: Precision = "f32",
    ) -> None:
        """Load the net.

        Args:
            model: Face model whose vertices it finds.
            file: The net, written by `facerelief train export`; the shipped one unless given.
            threads: Inference threads; None for the default.
            precision: Arithmetic, as for `Network`.

        Raises:
            ModelError: The file is missing or no landmark net of this model.
        """
        self.file = Path(file or NET_FILE)
        self.network: Network = load_network(self.file, threads=threads, precision=precision)
        inputs, outputs = self.network.input_shapes, self.network.output_shapes
        count = outputs[0][1] if outputs and len(outputs[0]) == 3 else 0
        expected = [(1, count, 2), (1, count), (count,)]
        if len(inputs) != 1 or len(inputs[0]) != 4 or outputs != expected:
            raise ModelError(f"{self.file}: no landmark net; give one that facerelief train export wrote")
        ids = self.network(np.zeros(inputs[0], np.float32))[2]
        self.vertices: Int32 = np.rint(ids).astype(np.int32)
        if int(self.vertices.max()) >= model.n_vertices:
            raise ModelError(f"{self.file}: its vertices are not those of face model {model.name!r}")

    @property
    def size(self) -> int:
        """Side of the crop, px."""
        return int(self.network.input_shapes[0][-1])

    def __call__(self, image: Image, landmarks: ArrayLike) -> DensePoints:
        """Find the points of a face.

        Args:
            image: (H, W, 3) RGB.
            landmarks: (478, 468 or 68, 2) detected points, px.
        """
        import cv2

        from facerelief.inference.runners import smoothed_crop

        crop = landmark_crop(landmarks, self.size)
        part = smoothed_crop(image, crop)
        planes = np.asarray(cv2.dnn.blobFromImage(part, 1 / 255), np.float32)
        points, sigma, _ = self.network(planes)
        back = np.linalg.inv(crop.matrix[:, :2])
        found = (points[0].astype(np.float64) - crop.matrix[:, 2]) @ back.T
        return DensePoints(self.vertices, found, sigma[0].astype(np.float64) / crop.zoom)

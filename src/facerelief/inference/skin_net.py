"""The skin net: which pixels of an image show the bare skin of a face.

Hair, brows, beards, glasses, hands and clothes hide a face model's surface: fits leave such pixels out, and
relief and skin colour are not taken from them. `facerelief train skin` makes the net of renders, whose masks
are exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from facerelief.errors import ModelError
from facerelief.inference.landmark_net import landmark_crop
from facerelief.runtime.network import Network, Precision, load_network
from facerelief.typed import Float32, Image

SKIN_SIZE = 128
"""Side of the skin net's crop, px: the landmark net's crop at a lower resolution."""
RED, BLUE = (1.1, 1.6), (0.6, 0.92)
"""Ranges of red and blue over green, mean of the middle of a crop, that the net has learned: other photos are
balanced into them."""
NET_FILE = Path(__file__).resolve().parent.parent / "data" / "nets" / "skin.onnx"
"""The skin net that comes with the package."""


class SkinRunner:
    """The skin net at work."""

    def __init__(
        self, file: str | Path | None = None, *, threads: int | None = None, precision: Precision = "f32"
    ) -> None:
        """Load the net.

        Args:
            file: The net, written by `facerelief train export`; the shipped one unless given.
            threads: Inference threads; None for the default.
            precision: Arithmetic, as for `Network`.

        Raises:
            ModelError: The file is missing or no skin net.
        """
        self.file = Path(file or NET_FILE)
        self.network: Network = load_network(self.file, threads=threads, precision=precision)
        inputs, outputs = self.network.input_shapes, self.network.output_shapes
        if len(inputs) != 1 or len(outputs) != 1 or outputs[0] != (1, *inputs[0][2:]):
            raise ModelError(f"{self.file}: no skin net; give one that facerelief train export wrote")

    @property
    def size(self) -> int:
        """Side of the crop, px."""
        return int(self.network.input_shapes[0][-1])

    def __call__(self, image: Image, landmarks: ArrayLike) -> Float32:
        """Find the bare skin of a face.

        Args:
            image: (H, W, 3) RGB.
            landmarks: (478, 468 or 68, 2) detected points, px.

        Returns:
            (H, W) share of bare skin in [0, 1]; beyond the net's crop that of its border.
        """
        import cv2

        from facerelief.inference.runners import smoothed_crop

        crop = landmark_crop(landmarks, self.size)
        part = smoothed_crop(image, crop)
        planes = np.asarray(cv2.dnn.blobFromImage(balanced(part), 1 / 255), np.float32)
        share = self.network(planes)[0][0]
        height, width = image.shape[:2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        back = cv2.warpAffine(
            share, crop.pixel_matrix(), (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return np.ascontiguousarray(np.clip(back, 0, 1), np.float32)


def balanced(crop: Image) -> Image:
    """A crop (S, S, 3) of a face without a strong cast of light: red and blue scaled into the usual range."""
    edge = len(crop) // 4
    red, green, blue = crop[edge:-edge, edge:-edge].reshape(-1, 3).mean(axis=0) + 1.0
    gain = np.array(
        [np.clip(red / green, *RED) * green / red, 1.0, np.clip(blue / green, *BLUE) * green / blue]
    )
    return crop if np.allclose(gain, 1) else np.clip(crop * gain, 0, 255).astype(np.uint8)

"""Evidence of networks about a face before it is fitted: dense points and bare skin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from facerelief.inference.landmark_net import LandmarkRunner, has_landmark_net
from facerelief.inference.runners import net_file
from facerelief.inference.skin_net import SkinRunner
from facerelief.inverse.dense_fit import DensePoints
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32, Image


@dataclass(frozen=True, eq=False)
class Evidence:
    """Arguments of `fit_face` and `find_detail` that networks find."""

    dense: DensePoints | None = None
    """Points of the landmark net; None for a model that it does not know."""
    bare_skin: Float32 | None = None
    """(H, W) share of bare skin in [0, 1], of the skin net."""


class EvidenceRunner:
    """The landmark net and the skin net at work."""

    def __init__(
        self,
        model: FaceModel,
        nets: str | Path | None = None,
        *,
        landmark_net: bool = True,
        skin_net: bool = True,
    ) -> None:
        """Load the nets.

        Args:
            model: Face model that is fitted.
            nets: Folder of networks; the shipped one where it lacks one.
            landmark_net: Whether to look for dense points, where the model has a landmark net.
            skin_net: Whether to look for bare skin.

        Raises:
            ModelError: A network cannot be used.
        """
        self._points = self._skin = None
        if landmark_net and has_landmark_net(model):
            self._points = LandmarkRunner(model, net_file("landmarks", nets, fall_back=True), threads=1)
        if skin_net:
            self._skin = SkinRunner(net_file("skin", nets, fall_back=True), threads=1)

    def __call__(self, image: Image, landmarks: ArrayLike) -> Evidence:
        """Look at a face.

        Args:
            image: (H, W, 3) RGB.
            landmarks: (478, 468 or 68, 2) detected points, px.
        """
        return Evidence(
            None if self._points is None else self._points(image, landmarks),
            None if self._skin is None else self._skin(image, landmarks),
        )

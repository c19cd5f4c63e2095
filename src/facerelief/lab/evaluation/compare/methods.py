"""The methods that are compared, each from the same detected face to a shape in its pose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facerelief.inference.runners import (
    CoarseRunner,
    E2farRunner,
    FineRunner,
    camera_from_landmarks,
    net_file,
)
from facerelief.inverse.detail import find_detail
from facerelief.inverse.fit import fit_face, landmarks_for
from facerelief.inverse.landmark_fit import FaceState, fit_landmarks, fit_pose
from facerelief.morphable.model import FaceModel
from facerelief.runtime.threads import load_linear_algebra
from facerelief.typed import Image

E2FAR, NET, NET_FINE, FIT, LANDMARKS, MEAN_FACE = "e2far", "net", "net_fine", "fit", "landmarks", "mean_face"
METHODS = {
    E2FAR: "UH-E2FAR",
    NET: "CoarseNet",
    NET_FINE: "CoarseNet + FineNet",
    FIT: "inverse rendering",
    LANDMARKS: "landmark fit",
    MEAN_FACE: "mean face",
}
"""Names and what tables call them, in the order of tables."""
FIT_RELIEF = "fit_relief"
"""Inverse rendering with relief: timed, but no method of its own, since relief changes no coefficient."""


class Face(Protocol):
    """A detected face; `detection.DetectedFace` is one."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, px."""
        ...

    @property
    def landmarks(self) -> NDArray[Any]:
        """(478, 2) px, in MediaPipe's order."""
        ...


Method = Callable[[Image, Face], FaceState]
"""Picture (H, W, 3) and a face of it -> pose in the picture's pixels, identity, expression."""


def missing_nets(names: Sequence[str], nets: str | Path | None = None) -> dict[str, str]:
    """Those of the methods whose network is not there, and why: {} or {"e2far": ...}."""
    needed = {E2FAR: ("e2far",), NET: ("coarse",), NET_FINE: ("coarse", "fine")}
    out: dict[str, str] = {}
    for name in names:
        files = [net_file(net, nets) for net in needed.get(name, ())]  # type: ignore[arg-type]
        if absent := [file.name for file in files if not file.is_file()]:
            where = "the shipped networks" if nets is None else Path(nets).name
            out[name] = f"no {absent[0]} among {where}; train and export one, or give --nets"
    return out


def open_method(model: FaceModel, name: str, nets: str | Path | None = None) -> Method:
    """One of `METHODS`, or `FIT_RELIEF`: what `Reconstructor` does, less what its shape does not need (light,
    texture and, but for "net_fine" and "fit_relief", relief).

    mean_face   no identity, no expression, in the pose that fits the landmarks best (`fit_pose`, as e2far's)
    net_fine    the state is CoarseNet's: FineNet adds relief to its surface. The relief is computed and
                dropped, for the time it takes

    Raises ModelError for a network that is missing or damaged, ValueError for an unknown name.
    """
    if name == MEAN_FACE:
        nothing = np.zeros(model.n_identity, np.float32), np.zeros(model.n_expression, np.float32)

        def mean_face(image: Image, face: Face) -> FaceState:
            observed, marks = landmarks_for(model, face.landmarks)
            return fit_pose(model, observed, *nothing, name=marks).state

        return mean_face
    if name == LANDMARKS:

        def landmarks(image: Image, face: Face) -> FaceState:
            observed, marks = landmarks_for(model, face.landmarks)
            return fit_landmarks(model, observed, name=marks).state

        return landmarks
    if name in (FIT, FIT_RELIEF):
        load_linear_algebra()  # the fit limits only libraries loaded before

        def fit(image: Image, face: Face) -> FaceState:
            found = fit_face(model, image, face.box, face.landmarks)
            if name == FIT_RELIEF:
                find_detail(model, image, found.state, found.appearance)
            return found.state

        return fit
    if name in (NET, NET_FINE):
        coarse = CoarseRunner(model, nets=nets)
        fine = FineRunner(model, nets=nets) if name == NET_FINE else None

        def net(image: Image, face: Face) -> FaceState:
            state = coarse.look(image, camera_from_landmarks(model, face.landmarks)).state
            if fine is not None:
                fine(image, state, model.shape(state.identity, state.expression))
            return state

        return net
    if name == E2FAR:
        e2far = E2farRunner(model, nets=nets)
        return lambda image, face: e2far.look(image, face.landmarks)
    raise ValueError(f"method {name!r}: expected one of {', '.join(METHODS)}")

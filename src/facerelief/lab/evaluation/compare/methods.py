"""The methods that are compared, each from the same detected face to a shape in its pose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from facerelief.detection import DetectedFace
from facerelief.inference.evidence import EvidenceRunner
from facerelief.inference.landmark_net import LandmarkRunner
from facerelief.inference.runners import (
    CoarseRunner,
    E2farRunner,
    FineRunner,
    camera_from_landmarks,
    net_file,
)
from facerelief.inverse.dense_fit import fit_dense
from facerelief.inverse.detail import find_detail
from facerelief.inverse.fit import fit_face, landmarks_for
from facerelief.inverse.landmark_fit import FaceState, fit_landmarks, fit_pose
from facerelief.lab.datasets.fits import Fit
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
"""Methods -> names in tables, in the order of tables."""
DENSE = "dense"
"""Landmark fit to the points of the landmark net, for face models that have one."""
FIT_RELIEF = "fit_relief"
"""Inverse rendering with relief, for timings alone: relief changes no coefficient."""


Face = DetectedFace | Fit
"""A face with its box (left, top, right, bottom) and 478 landmarks, px."""
Method = Callable[[Image, Face], FaceState]
"""Image (H, W, 3) and a face in it -> pose in the image's pixels, identity, expression."""


def missing_nets(names: Sequence[str], nets: str | Path | None = None) -> dict[str, str]:
    """Methods whose network is missing -> reason."""
    needed = {E2FAR: ("e2far",), NET: ("coarse",), NET_FINE: ("coarse", "fine"), DENSE: ("landmarks",)}
    out: dict[str, str] = {}
    for name in names:
        files = [net_file(net, nets) for net in needed.get(name, ())]  # type: ignore[arg-type]
        if absent := [file.name for file in files if not file.is_file()]:
            where = "the shipped networks" if nets is None else Path(nets).name
            out[name] = f"no {absent[0]} among {where}; train and export one, or give --nets"
    return out


def open_method(model: FaceModel, name: str, nets: str | Path | None = None) -> Method:
    """One of `METHODS`, `DENSE` or `FIT_RELIEF`, as `Reconstructor` runs it.

    Steps that do not change the shape are left out: light, texture and, but for "net_fine" and "fit_relief",
    relief.

    mean_face   no identity, no expression, in the pose that fits the landmarks best (`fit_pose`, as e2far's)
    net_fine    the state is CoarseNet's: FineNet adds relief to its surface. The relief is computed and
                dropped, so that it is part of the measured time

    Raises:
        ModelError: A network is missing or damaged.
        ValueError: The name is unknown.
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
    if name == DENSE:
        finder = LandmarkRunner(model, net_file("landmarks", nets))

        def dense(image: Image, face: Face) -> FaceState:
            observed, marks = landmarks_for(model, face.landmarks)
            first = fit_landmarks(model, observed, name=marks).state
            return fit_dense(model, finder(image, face.landmarks), first, observed, name=marks).state

        return dense
    if name in (FIT, FIT_RELIEF):
        load_linear_algebra()  # the fit limits only libraries loaded before
        evidence = EvidenceRunner(model, nets)

        def fit(image: Image, face: Face) -> FaceState:
            seen = evidence(image, face.landmarks)
            found = fit_face(
                model, image, face.box, face.landmarks, dense=seen.dense, bare_skin=seen.bare_skin
            )
            if name == FIT_RELIEF:
                find_detail(model, image, found.state, found.appearance, bare_skin=seen.bare_skin)
            return found.state

        return fit
    if name in (NET, NET_FINE):
        coarse = CoarseRunner(model, nets=nets)
        fine = FineRunner(model, nets=nets) if name == NET_FINE else None

        def net(image: Image, face: Face) -> FaceState:
            state = coarse.estimate(image, camera_from_landmarks(model, face.landmarks)).state
            if fine is not None:
                fine(image, state, model.shape(state.identity, state.expression))
            return state

        return net
    if name == E2FAR:
        e2far = E2farRunner(model, nets=nets)
        return lambda image, face: e2far.estimate(image, face.landmarks)
    raise ValueError(f"method {name!r}: expected one of {', '.join(METHODS)}")

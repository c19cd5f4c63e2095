"""Trained networks in use: CoarseNet, Tracking CoarseNet, FineNet (Guo et al., TPAMI 2019) and UH-E2FAR (Dou
et al., CVPR 2017).

Each class runs one exported network on crops of an image; its inputs and outputs are in the image's pixels.
`facerelief train` makes the networks. They ship with the package, their cards beside them (data/nets/*.md).
"""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from facerelief.errors import ModelError
from facerelief.geometry.alignment import solve_weak_perspective
from facerelief.geometry.boxes import bounds
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.inference.crops import FINE_MARGIN, SquareCrop, coarse_crop, contrasts, face_width, fine_crop
from facerelief.inference.pncc import PnccRenderer
from facerelief.inference.shading_cues import shading_cues
from facerelief.inverse.detail import DetailConfig, SkinSurface, skin_surface
from facerelief.inverse.fit import landmarks_for
from facerelief.inverse.landmark_fit import FaceState, fit_pose
from facerelief.morphable import FaceModel, open_model
from facerelief.runtime import Network, load_network
from facerelief.runtime.network import Precision
from facerelief.typed import Bool, Float, Float32, Image

NetName = Literal["coarse", "tracking", "fine", "e2far", "landmarks", "skin"]
_ALIASED = 0.7
"""Zoom below which images are smoothed first; training images are seldom reduced as much."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A network's estimate of a face."""

    state: FaceState
    """Camera in the image's pixels, identity, expression."""
    error_mm: float
    """Root mean square error of the points, mm, as the network estimates it."""


SHIPPED_NETS = Path(__file__).resolve().parent.parent / "data" / "nets"
"""Folder of the networks that come with the package."""


def nets_folder(folder: str | Path | None = None) -> Path:
    """The folder of networks: the one given, else that of the variable FACERELIEF_NETS, else the shipped one.

    Raises:
        ModelError: There is no such folder.
    """
    chosen = _chosen_folder(folder)
    if not chosen.is_dir():
        origin = "the nets given" if folder else "the variable FACERELIEF_NETS"
        raise ModelError(f"{chosen}: no such folder of networks; {origin} must name a folder of .onnx files")
    return chosen


def net_file(name: NetName, folder: str | Path | None = None, *, fall_back: bool = False) -> Path:
    """The file of a network.

    Args:
        name: Name of the network.
        folder: As for `nets_folder`.
        fall_back: Take the shipped network where the folder lacks it; otherwise the file may be missing.

    Raises:
        ModelError: With `fall_back`: there is no such folder.
    """
    if not fall_back:
        return _chosen_folder(folder) / f"{name}.onnx"
    file = nets_folder(folder) / f"{name}.onnx"
    return file if file.is_file() else SHIPPED_NETS / file.name


def _chosen_folder(folder: str | Path | None) -> Path:
    return Path(folder or os.environ.get("FACERELIEF_NETS", "").strip() or SHIPPED_NETS)


def names_nets(folder: str | Path | None) -> bool:
    """True if other networks than the shipped ones are asked for, by a folder or by FACERELIEF_NETS."""
    return _chosen_folder(folder) != SHIPPED_NETS


def has_shipped_coefficients(model: FaceModel) -> bool:
    """True if a model has the coefficients of the shipped networks: the open model, untruncated."""
    own = open_model()
    return (model.name, model.version) == (own.name, own.version) and (
        model.n_identity == own.n_identity and model.n_expression == own.n_expression
    )


class _Net:
    """One exported network and the face model of its coefficients."""

    name: NetName

    def __init__(
        self,
        model: FaceModel,
        file: str | Path | None = None,
        *,
        nets: str | Path | None = None,
        fall_back: bool = False,
        threads: int | None = None,
        precision: Precision = "bf16",
    ) -> None:
        """Load the network.

        Args:
            model: Face model of the coefficients.
            file: The network; or `nets` and `fall_back`, as for `net_file`.
            nets: Folder of networks.
            fall_back: See `net_file`.
            threads: Inference threads; None for the default.
            precision: Arithmetic, as for `Network`.

        Raises:
            ModelError: The file is missing or damaged, or its coefficients are not those of the model.
        """
        self.model = model
        self.file = file = net_file(self.name, nets, fall_back=fall_back) if file is None else Path(file)
        self.network: Network = load_network(file, threads=threads, precision=precision)
        self.network.compile()
        self._check(file)

    @property
    def size(self) -> int:
        """Side of the crop, px."""
        return int(self.network.input_shapes[0][-1])

    def _input(self, image: Image, crop: SquareCrop) -> Float32:
        """The network's input (1, 3, S, S) in [0, 1] from an image (H, W, 3)."""
        small = crop.zoom < _ALIASED
        return planes(smoothed_crop(image, crop) if small else crop.cut(image))

    def warm_up(self) -> None:
        """Run once: the first run takes longer than later ones."""
        self.network(*(np.zeros(shape, np.float32) for shape in self.network.input_shapes))

    def _check(self, file: Path) -> None:
        """Raise ModelError if inputs or outputs are not those of this class."""
        k, e = self.model.n_identity, self.model.n_expression
        s = self.size
        wanted = {
            "coarse": ([(1, 3, s, s)], [(1, k), (1, e), (1, 6), (1,)]),
            "tracking": (
                [(1, 3, s, s), (1, 3, s, s), (1, e), (1, 6)],
                [(1, e), (1, 6), (1, e + 6), (1,)],
            ),
            "e2far": ([(1, 3, s, s)], [(1, k), (1, e)]),
            "fine": (
                [(1, 3, s, s), (1, s, s), (1, s, s), (1,), (1, 2, s, s), (1, 3, s, s)],
                [(1, s, s)] * (2 if len(self.network.output_shapes) == 2 else 1),  # trust, or none
            ),
        }[self.name]
        if (self.network.input_shapes, self.network.output_shapes) != wanted:
            raise ModelError(
                f"{file}: no {self.name} net for face model {self.model.name!r} ({k} identity and {e} "
                'expression coefficients); use the model it was trained with, or method "fit"'
            )


def planes(image: Image) -> Float32:
    """Network input (1, 3, S, S) in [0, 1] of an image (S, S, 3)."""
    import cv2

    return np.asarray(cv2.dnn.blobFromImage(image, 1 / 255), np.float32)


def camera_from_landmarks(model: FaceModel, landmarks: ArrayLike) -> WeakPerspective:
    """Pose of the mean face from landmarks (478 or 68, 2), px; precise enough for a crop."""
    observed, name = landmarks_for(model, landmarks)
    known = np.isfinite(observed).all(axis=1)
    return solve_weak_perspective(model.landmarks[name].of(model.mean)[known], observed[known])


class CoarseRunner(_Net):
    """CoarseNet: identity, expression and pose of a face."""

    name = "coarse"

    def __call__(self, image: Image, crop: SquareCrop) -> Estimate:
        """Estimate a face in an image (H, W, 3) from its `coarse_crop` of this network's `size`."""
        identity, expression, camera, log_variance = self.network(self._input(image, crop))
        return Estimate(_state(crop, camera, identity[0], expression[0]), _error(log_variance))

    def estimate(self, image: Image, around: WeakPerspective, rounds: int = 2) -> Estimate:
        """Estimate a face.

        Args:
            image: (H, W, 3).
            around: Pose in which the mean face is near the face.
            rounds: Number of estimates; each but the first is cropped about the one before.
        """
        face = self.model.face_vertices
        uv, roll = around.project(self.model.mean[face]), around.roll
        for _ in range(rounds - 1):
            state = self(image, coarse_crop(uv, self.size, roll)).state
            found = state.camera.project(self.model.shape(state.identity, state.expression)[face])
            if not np.isfinite(found).all():
                break
            uv, roll = found, state.camera.roll
        return self(image, coarse_crop(uv, self.size, roll))


class E2farRunner(_Net):
    """UH-E2FAR: identity and expression of a face; its pose is solved from landmarks."""

    name = "e2far"

    def __call__(self, image: Image, crop: SquareCrop) -> tuple[Float32, Float32]:
        """Identity (K,) and expression (E,) of a face from its `coarse_crop` of this network's `size`."""
        identity, expression = self.network(self._input(image, crop))
        return identity[0], expression[0]

    def estimate(self, image: Image, landmarks: ArrayLike, rounds: int = 2) -> FaceState:
        """Estimate a face; its pose is fitted to the landmarks (`inverse.landmark_fit.fit_pose`).

        Args:
            image: (H, W, 3).
            landmarks: (478 or 68, 2), px.
            rounds: Number of estimates; each but the first is cropped about the one before.
        """
        observed, name = landmarks_for(self.model, landmarks)
        face = self.model.face_vertices
        around = camera_from_landmarks(self.model, landmarks)
        crop = coarse_crop(around.project(self.model.mean[face]), self.size, around.roll)
        for _ in range(rounds - 1):
            state = self._posed(image, crop, observed, name)
            found = state.camera.project(self.model.shape(state.identity, state.expression)[face])
            if not np.isfinite(found).all():
                break
            crop = coarse_crop(found, self.size, state.camera.roll)
        return self._posed(image, crop, observed, name)

    def _posed(self, image: Image, crop: SquareCrop, observed: Float, name: str) -> FaceState:
        identity, expression = self(image, crop)
        return fit_pose(self.model, observed, identity, expression, name=name).state


class TrackingRunner(_Net):
    """Tracking CoarseNet: the change since the previous frame."""

    name = "tracking"

    @functools.cached_property
    def _pncc(self) -> PnccRenderer:
        return PnccRenderer.of_model(self.model)

    def __call__(
        self, image: Image, before: FaceState, vertices: Float32, crop: SquareCrop
    ) -> tuple[Estimate, Float32]:
        """Estimate a face from its state in the previous frame.

        Args:
            image: The frame, (H, W, 3).
            before: The previous state.
            vertices: (N, 3) of its shape, model space, mm.
            crop: `crops.tracking_crop` of it, of this network's `size`.

        Returns:
            The estimate, with the same identity, and the change (E + 6,) in standard deviations of the
            training data.
        """
        camera = crop.camera(before.camera)
        pncc = self._pncc(vertices, camera, self.size, self.size)
        expression, pose, delta, log_variance = self.network(
            self._input(image, crop),
            np.ascontiguousarray(pncc.transpose(2, 0, 1))[None],
            before.expression[None].astype(np.float32),
            camera.vector[None].astype(np.float32),
        )
        return Estimate(_state(crop, pose, before.identity, expression[0]), _error(log_variance)), delta[0]


@dataclass(frozen=True, eq=False)
class FineSurface:
    """Relief of a face in FineNet's crop."""

    crop: SquareCrop
    surface: SkinSurface
    displacement: Float32
    """(S, S) mm along camera z, of `surface.base`; 0 off `surface.mask`."""
    trust: Float32 | None = None
    """(S, S) mask of trust, 0 to 1, 0 off `surface.mask`; None of a network that states none."""

    @property
    def relief(self) -> Float32:
        """(S, S) displacement of the model's own faceted surface, mm; 0 off the mask."""
        s = self.surface
        return np.where(s.mask, self.displacement + (s.base - s.depth), 0).astype(np.float32)

    def on(self, coarse: DepthPatch) -> DepthPatch:
        """A coarse depth map of the image with this relief added."""
        import cv2

        height, width = coarse.depth.shape
        added = cv2.warpAffine(
            self.relief,
            self.crop.pixel_matrix(coarse.left, coarse.top),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
        )
        return DepthPatch((coarse.depth + added).astype(np.float32), coarse.left, coarse.top)


class FineRunner(_Net):
    """FineNet: the relief of a coarse surface."""

    name = "fine"

    def __call__(self, image: Image, state: FaceState, vertices: Float32) -> FineSurface:
        """Estimate relief.

        Args:
            image: (H, W, 3).
            state: Pose, identity and expression of the face.
            vertices: (N, 3) of the state's shape, model space, mm.
        """
        uvz = state.camera.project(vertices)
        crop = fine_crop(uvz[self.model.face_vertices], self.size, roll=state.camera.roll)
        return self.surface(smoothed_crop(image, crop), crop, state, uvz)

    def surface(self, image: Image, crop: SquareCrop, state: FaceState, uvz: Float32) -> FineSurface:
        """Estimate relief from a crop.

        Args:
            image: (S, S, 3) of the crop.
            crop: `crops.fine_crop` of the face.
            state: Pose, identity and expression, in px of the whole image.
            uvz: (N, 3) projected vertices of the state's shape, px of the whole image and mm.
        """
        matrix = crop.matrix
        inside = np.concatenate([uvz[:, :2] @ matrix[:, :2].T + matrix[:, 2], uvz[:, 2:]], axis=1)
        scale = state.camera.scale * crop.zoom
        skin = skin_surface(self.model, inside.astype(np.float32), scale, crop.size, crop.size, _DETAIL)
        mask = skin.mask
        middle = np.float32(np.median(skin.base[mask])) if mask.any() else np.float32(0)
        box = np.concatenate(bounds(inside[self.model.face_vertices, :2]))
        width = face_width(box, scale)
        depth = np.where(mask, skin.base - middle, np.float32(0))
        return FineSurface(crop, skin, *self.estimate(image, depth, mask, width))

    def displacement(self, image: Image, depth: Float32, mask: Bool, width: float) -> Float32:
        """The displacement of `estimate`, whose arguments it has."""
        return self.estimate(image, depth, mask, width)[0]

    def estimate(
        self, image: Image, depth: Float32, mask: Bool, width: float
    ) -> tuple[Float32, Float32 | None]:
        """Run the network.

        Args:
            image: (S, S, 3) of the crop.
            depth: (S, S) of the coarse surface, mm, with median 0; 0 off the mask.
            mask: (S, S) of the face.
            width: Width of the face (`crops.face_width`), mm.

        Returns:
            (S, S) mm along camera z, 0 off the mask; and the (S, S) mask of trust, if the network states one.
        """
        scale = image.shape[0] / (FINE_MARGIN * width)
        found = self.network(
            planes(image),
            depth[None].astype(np.float32),
            mask[None].astype(np.float32),
            np.array([width], np.float32),
            contrasts(image)[None],
            shading_cues(image, depth, mask, scale)[None],
        )
        return found[0][0], found[1][0] if len(found) == 2 else None


_DETAIL = DetailConfig()


def smoothed_crop(image: Image, crop: SquareCrop) -> Image:
    """A crop (S, S, 3) of an image (H, W, 3) without aliasing.

    Where the crop is smaller, the image is first blurred to its resolution. Beyond the image its border is
    repeated.
    """
    import cv2

    if crop.zoom > 0.95:  # nearly the same size
        flags = cv2.INTER_LINEAR if crop.zoom < 1 else cv2.INTER_CUBIC
        matrix, part = crop.pixel_matrix(), image
    else:
        left, top, right, bottom = crop.surroundings(*image.shape[:2])
        sigma = 0.45 * math.sqrt(1 / crop.zoom**2 - 1)
        part = np.asarray(cv2.GaussianBlur(image[top:bottom, left:right], (0, 0), sigma), np.uint8)
        matrix, flags = crop.pixel_matrix(left, top), cv2.INTER_LINEAR
    size = (crop.size, crop.size)
    return np.asarray(
        cv2.warpAffine(part, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _state(crop: SquareCrop, camera: Float32, identity: Float32, expression: Float32) -> FaceState:
    pose = crop.outer_camera(WeakPerspective.from_vector(camera))
    return FaceState(pose, identity.astype(np.float32), expression.astype(np.float32))


def _error(log_variance: Float32) -> float:
    return math.exp(0.5 * float(np.clip(log_variance.reshape(-1)[0], -20, 20)))

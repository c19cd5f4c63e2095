"""Training samples out of shards: which comes when, how a net's crop is cut from a picture, and its labels.

Sample number n of a run is decided by (seed, n) alone, whoever reads it and whatever was read before: a run
that was stopped after n samples goes on with sample n.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import functools
import hashlib
import io
import math
import signal
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import COARSE_MARGIN, Border, SquareCrop, face_width
from facerelief.inference.pncc import PnccRenderer
from facerelief.inference.shading_cues import shading_cues
from facerelief.lab.datasets.manifest import RECIPE, read_json
from facerelief.lab.datasets.shards import decode_picture
from facerelief.lab.networks.augment import AugmentConfig, augment
from facerelief.lab.networks.guo import Spread
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32

Labels = Mapping[str, NDArray[Any]]

_FACES = ("coarse", "renders", "pairs")
KINDS = {"coarse": _FACES, "tracking": ("pairs",), "fine": ("fine",), "e2far": _FACES}
"""Net -> kinds of data it learns from."""


# ---------------------------------------------------------------- shards


class _Spot(NamedTuple):
    """Where a sample's picture and labels are."""

    shard: int
    picture: int
    picture_size: int
    labels: int
    labels_size: int


class Shards:
    """The samples of one split of one or more data sets, read at random from plain tar files."""

    def __init__(self, folders: Sequence[str | Path], split: str, net: str) -> None:
        """net: what they are for, a key of `KINDS`. Raises FacereliefError for folders that hold no data sets
        for it, or shards that cannot be read."""
        self.paths: list[Path] = []
        """Of the shards, in the order of folders and names."""
        for folder in map(Path, folders):
            kind = read_json(folder / RECIPE).get("kind")
            if kind not in KINDS[net]:
                expected = " or ".join(KINDS[net])
                raise FacereliefError(
                    f"{folder}: holds {kind}, expected {expected} for the {net} net; give another folder"
                )
            self.paths += sorted(folder.glob(f"{split}-*.tar"))
        self.spots = np.array([s for k, path in enumerate(self.paths) for s in _spots(k, path)], np.int64)

    def __len__(self) -> int:
        return len(self.spots)

    @property
    def sha256(self) -> str:
        """Of the shards' names and sizes and the data sets' recipes: tells data sets apart."""
        digest = hashlib.sha256()
        for folder in dict.fromkeys(path.parent for path in self.paths):
            digest.update((folder / RECIPE).read_bytes())
        for path in self.paths:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        return digest.hexdigest()

    def picture(self, index: int) -> NDArray[np.uint8]:
        """(S, S, 3) RGB. Raises FacereliefError where it is damaged."""
        spot = _Spot(*map(int, self.spots[index]))
        data = self._read(spot.shard, spot.picture, spot.picture_size)
        try:
            return decode_picture({"jpg": data})
        except ValueError as error:
            raise self._damaged(spot, error) from error

    def labels(self, index: int, names: Sequence[str]) -> Labels:
        """Labels by name. Raises FacereliefError where one is missing or damaged."""
        spot = _Spot(*map(int, self.spots[index]))
        data = self._read(spot.shard, spot.labels, spot.labels_size)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in names}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(spot, error) from error

    def _read(self, shard: int, start: int, size: int) -> bytes:
        path = self.paths[shard]
        try:
            file = _opened(path)
            file.seek(start)
            return file.read(size)
        except OSError as error:
            raise FacereliefError(f"{path}: cannot be read ({error}); make it again") from error

    def _damaged(self, spot: _Spot, error: Exception) -> FacereliefError:
        path = self.paths[spot.shard]
        return FacereliefError(f"{path}: a sample at byte {spot.picture} is damaged ({error}); make it again")


@functools.lru_cache(maxsize=64)
def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


_GRACE_S = 20.0


def start_worker(number: int) -> None:
    """What a loader's process does first: no shared file positions, one thread for everything. Signals that a
    terminal sends to all are the training process's to answer; told to end, it goes on for `_GRACE_S`, so
    that the training can finish its step, and no longer: a program that leaves its loader ends too."""
    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, _GRACE_S))
    _opened.cache_clear()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _spots(shard: int, path: Path) -> list[_Spot]:
    found: list[_Spot] = []
    members: dict[str, tuple[int, int]] = {}
    key = ""

    def close() -> None:
        picture, labels = members.get("jpg") or members.get("png"), members.get("npz")
        if key and (picture is None or labels is None):
            raise FacereliefError(f"{path}: sample {key} lacks its picture or labels; make the shard again")
        if picture is not None and labels is not None:
            found.append(_Spot(shard, *picture, *labels))

    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                name, _, ending = entry.name.partition(".")
                if name != key:
                    close()
                    key, members = name, {}
                members[ending] = (entry.offset_data, entry.size)
        close()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise FacereliefError(f"{path}: cannot be read as a shard ({error}); make it again") from error
    return found


# ---------------------------------------------------------------- which sample comes when


class Order:
    """Every sample once in an order of its own, again and again."""

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError("no samples")
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __call__(self, position: int) -> int:
        """Index of the sample at a position of the endless order."""
        epoch, at = divmod(position, self.count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, 7, epoch]).permutation(self.count)
        return int(self._order[at])


class Batches(Sampler[list[int]]):
    """Positions of the batches of steps `first` to `last` - 1; of several processes each gets its part."""

    def __init__(self, first: int, last: int, batch: int, rank: int = 0, world: int = 1) -> None:
        """batch: samples of all processes together. Raises ValueError where they cannot share it."""
        if batch % world:
            raise ValueError(f"batch is {batch}: expected a multiple of the {world} processes")
        self.steps, self.batch, self.part, self.rank = range(first, last), batch, batch // world, rank

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            start = step * self.batch + self.rank * self.part
            yield list(range(start, start + self.part))

    def __len__(self) -> int:
        return len(self.steps)


# ---------------------------------------------------------------- labels


@dataclass(frozen=True)
class Mirror:
    """What becomes of labels when a picture is flipped left to right."""

    identity: Float32
    """(K,) signs."""
    expression: NDArray[np.intp]
    """(E,) which weight takes this one's place."""


def mirror_of(model: FaceModel, most_mm: float = 0.1) -> Mirror | None:
    """The model's mirror, or None where it has none.

    A model has one if each identity component is symmetric or antisymmetric, and each expression has a mirror
    image among the expressions, both to within `most_mm` in the mean over the face, for one standard
    deviation or full weight. The open model's identity is exact; its expressions differ by up to 0.06 mm.
    """
    if model.symmetry is None or model.expression_kind != "blendshape":
        return None
    face = model.face_vertices
    flip = np.array([-1, 1, 1], np.float32)[None, :, None]
    own, moved = model.identity[face], model.expression[face]
    own_flipped = (model.identity[model.symmetry] * flip)[face]
    moved_flipped = (model.expression[model.symmetry] * flip)[face]
    signs = np.sign((own * own_flipped).sum(axis=(0, 1)))
    names = list(model.expression_names)
    sides = {name: _other_side(name) for name in names}
    if any(other not in names for other in sides.values()):
        return None
    places = np.array([names.index(sides[name]) for name in names])
    worst = max(
        float(np.linalg.norm(own_flipped - own * signs, axis=1).mean(axis=0).max()),
        float(np.linalg.norm(moved_flipped - moved[:, :, places], axis=1).mean(axis=0).max()),
    )
    return Mirror(signs.astype(np.float32), places) if worst <= most_mm else None


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def mirrored_pose(pose: Float32, size: int) -> Float32:
    """(6,) pose of a flipped picture of `size` px."""
    pitch, yaw, roll, u, v, s = pose
    return np.array([pitch, -yaw, -roll, size - u, v, s], pose.dtype)


def pose_of(camera: WeakPerspective) -> Float32:
    """(6,) float32 pitch, yaw, roll, t_u, t_v, log scale."""
    vector = camera.vector
    vector[2] = (vector[2] + math.pi) % (2 * math.pi) - math.pi
    vector[5] = math.log(vector[5])
    return vector.astype(np.float32)


def camera_of(pose: Float32) -> WeakPerspective:
    """Inverse of `pose_of`."""
    return WeakPerspective.from_vector([*pose[:5], math.exp(float(pose[5]))])


# ---------------------------------------------------------------- CoarseNet


@dataclass(frozen=True)
class CropConfig:
    """How CoarseNet's crop lies about the face: as a detector would place it."""

    size: int = 224
    """px"""
    margin: float = COARSE_MARGIN
    """Side of the crop over the longer side of the face's box."""
    shift: float = 0.08
    """The centre is off by up to this share of that side of the box, in each direction."""
    zoom: float = 0.10
    """The side is larger or smaller by up to this share."""
    roll: float = 8.0
    """The picture is turned by up to so many degrees; a detector would not, faces do."""

    def draw(self, box: Float32, rng: np.random.Generator) -> SquareCrop:
        """A crop for a face's box (left, top, right, bottom), px."""
        side = float(max(box[2] - box[0], box[3] - box[1]))
        u, v = (box[:2] + box[2:]) / 2 + rng.uniform(-self.shift, self.shift, 2) * side
        zoom = 1 + rng.uniform(-self.zoom, self.zoom)
        angle = math.radians(rng.uniform(-self.roll, self.roll))
        return SquareCrop(float(u), float(v), self.margin * side * zoom, self.size, angle)


class CoarseItem(NamedTuple):
    """A sample for CoarseNet; in a batch each has one axis more, first."""

    image: Any
    """(S, S, 3) uint8 RGB"""
    identity: Any
    """(K,)"""
    expression: Any
    """(E,)"""
    pose: Any
    """(6,) in the crop, log scale"""


class _Data(Dataset[Any]):
    """Samples by their position in a run."""

    def __init__(
        self, shards: Shards, model: FaceModel, seed: int, spoil: AugmentConfig | None, flip: bool
    ) -> None:
        if not len(shards):
            raise FacereliefError("the data sets hold no samples of that split; make some")
        self.shards, self.seed, self.spoil = shards, seed, spoil
        self.order = Order(len(shards), seed)
        self.mirror = mirror_of(model) if flip else None

    def __len__(self) -> int:
        return len(self.shards)

    def rng(self, position: int) -> np.random.Generator:
        """All that is random in a sample."""
        return np.random.default_rng([self.seed, 11, position])

    def _spoilt(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        if self.spoil is None:
            return np.ascontiguousarray(image)
        return augment(
            image, rng, self.spoil, lambda: self.shards.picture(int(rng.integers(len(self.shards))))
        )

    def _border(self, rng: np.random.Generator) -> Border:
        """Beside the picture: mirrored as data sets do, black as many programs do."""
        return "black" if rng.random() < 0.3 else "mirrored"


class CoarseData(_Data):
    """Samples of CoarseNet. Without `spoil` only the crop is random: as detectors are."""

    def __init__(
        self,
        shards: Shards,
        model: FaceModel,
        crop: CropConfig,
        seed: int = 0,
        spoil: AugmentConfig | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__(shards, model, seed, spoil, flip)
        self.crop = crop

    def target(
        self, position: int
    ) -> tuple[int, SquareCrop, bool, Float32, Float32, Float32, np.random.Generator]:
        """Sample, crop, whether flipped, identity, expression, pose, and what is random after these."""
        index, rng = self.order(position), self.rng(position)
        labels = self.shards.labels(index, ("box", "camera", "identity", "expression"))
        crop = self.crop.draw(labels["box"].astype(np.float64), rng)
        pose = pose_of(crop.camera(WeakPerspective.from_vector(labels["camera"])))
        identity, expression = (labels[name].astype(np.float32) for name in ("identity", "expression"))
        flipped = bool(rng.random() < 0.5) and self.mirror is not None
        if flipped and self.mirror is not None:
            pose = mirrored_pose(pose, crop.size)
            identity, expression = identity * self.mirror.identity, expression[self.mirror.expression]
        return index, crop, flipped, identity, expression, pose, rng

    def __getitem__(self, position: int) -> CoarseItem:
        index, crop, flipped, identity, expression, pose, rng = self.target(position)
        image = crop.cut(self.shards.picture(index), flipped=flipped, border=self._border(rng))
        return CoarseItem(self._spoilt(image, rng), identity, expression, pose)

    def spreads(self, count: int = 1024) -> tuple[Spread, Spread]:
        """Mean and deviation of expression and pose, over the first positions."""
        found = [self.target(position)[4:6] for position in range(min(count, 4 * len(self)))]
        return (
            _spread(np.stack([expression for expression, _ in found]), 0.02),
            _spread(np.stack([pose for _, pose in found]), [0.02, 0.02, 0.02, 1.0, 1.0, 0.01]),
        )


def _spread(values: Float32, least: Any) -> Spread:
    std = np.maximum(values.std(axis=0), least)
    return Spread(tuple(values.mean(axis=0).tolist()), tuple(std.tolist()))


# ---------------------------------------------------------------- Tracking CoarseNet


class TrackingItem(NamedTuple):
    """A sample for Tracking CoarseNet; in a batch each has one axis more, first."""

    image: Any
    """(S, S, 3) uint8 RGB"""
    pncc: Any
    """(S, S, 3) float32 in [0, 1]"""
    previous_identity: Any
    """(K,)"""
    previous_expression: Any
    """(E,)"""
    previous_pose: Any
    """(6,)"""
    identity: Any
    """(K,)"""
    expression: Any
    """(E,)"""
    pose: Any
    """(6,)"""


class TrackingData(_Data):
    """Samples of Tracking CoarseNet: the crop is where the face was (`inference.crops.tracking_crop`)."""

    def __init__(
        self,
        shards: Shards,
        model: FaceModel,
        size: int = 224,
        seed: int = 0,
        spoil: AugmentConfig | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__(shards, model, seed, spoil, flip)
        self.model, self.size = model, size
        self.pncc = PnccRenderer.of_model(model)

    def target(self, position: int) -> tuple[int, SquareCrop, bool, dict[str, Float32], np.random.Generator]:
        """Sample, crop, whether flipped, the numbers of the item by name, and what is random after these."""
        index, rng = self.order(position), self.rng(position)
        names = ("camera", "identity", "expression")
        before = ("previous_camera", "previous_identity", "previous_expression", "previous_crop")
        labels = self.shards.labels(index, (*names, *before))
        k = int(rng.integers(len(labels["previous_camera"])))
        left, top, right, bottom = labels["previous_crop"][k].astype(np.float64)
        crop = SquareCrop((left + right) / 2, (top + bottom) / 2, right - left, self.size)
        out = {name: labels[name].astype(np.float32) for name in ("identity", "expression")} | {
            name: labels[name][k].astype(np.float32) for name in ("previous_identity", "previous_expression")
        }
        for name, camera in (("pose", labels["camera"]), ("previous_pose", labels["previous_camera"][k])):
            out[name] = pose_of(crop.camera(WeakPerspective.from_vector(camera)))
        flipped = bool(rng.random() < 0.5) and self.mirror is not None
        if flipped and self.mirror is not None:
            for start in ("", "previous_"):
                out[f"{start}identity"] = out[f"{start}identity"] * self.mirror.identity
                out[f"{start}expression"] = out[f"{start}expression"][self.mirror.expression]
                out[f"{start}pose"] = mirrored_pose(out[f"{start}pose"], crop.size)
        return index, crop, flipped, out, rng

    def __getitem__(self, position: int) -> TrackingItem:
        index, crop, flipped, numbers, rng = self.target(position)
        image = crop.cut(self.shards.picture(index), flipped=flipped, border=self._border(rng))
        vertices = self.model.shape(numbers["previous_identity"], numbers["previous_expression"])
        camera = camera_of(numbers["previous_pose"])
        pncc = self.pncc(vertices, camera, self.size, self.size)
        return TrackingItem(image=self._spoilt(image, rng), pncc=pncc, **numbers)

    def spread(self, count: int = 1024) -> Spread:
        """Deviation of the changes of expression and pose, over the first positions; their mean is taken for
        zero, so that an untrained net says that nothing changed."""
        found = [self.target(position)[3] for position in range(min(count, 4 * len(self)))]
        change = np.stack(
            [
                np.concatenate([n[name] - n[f"previous_{name}"] for name in ("expression", "pose")])
                for n in found
            ]
        )
        least = [0.01] * (change.shape[1] - 6) + [0.005, 0.005, 0.005, 0.3, 0.3, 0.003]
        # without the tenth that changes most: lost tracks would make all other changes look like nothing
        usual = np.minimum(np.abs(change), np.quantile(np.abs(change), 0.9, axis=0))
        std = np.maximum(np.sqrt(np.square(usual).mean(axis=0)), least)
        return Spread((0.0,) * len(std), tuple(std.tolist()))


# ---------------------------------------------------------------- FineNet


class FineItem(NamedTuple):
    """A sample for FineNet; in a batch each has one axis more, first."""

    image: Any
    """(S, S, 3) uint8 RGB"""
    depth: Any
    """(S, S) float32 mm along camera z, of the coarse surface"""
    mask: Any
    """(S, S) float32, 0 or 1"""
    displacement: Any
    """(S, S) float32 mm along camera z"""
    face_width: Any
    """() float32 mm"""
    scale: Any
    """() float32 px/mm"""
    cues: Any
    """(3, S, S) float32 of `rendering.cues`, of the picture as it is spoilt"""


class FineData(_Data):
    """Samples of FineNet: crops as the data set has them; flipped ones are exact, whatever the model."""

    def __init__(
        self,
        shards: Shards,
        model: FaceModel,
        seed: int = 0,
        spoil: AugmentConfig | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__(shards, model, seed, spoil, False)
        self.flip = flip

    def __getitem__(self, position: int) -> FineItem:
        index, rng = self.order(position), self.rng(position)
        names = ("depth_coarse", "mask", "displacement", "camera", "box")
        labels = self.shards.labels(index, names)
        maps = [labels[name].astype(np.float32) for name in names[:3]]
        image = self.shards.picture(index)
        if rng.random() < 0.5 and self.flip:
            image, maps = np.ascontiguousarray(image[:, ::-1]), [x[:, ::-1].copy() for x in maps]
        scale = float(labels["camera"][5])
        image = self._spoilt(image, rng)
        return FineItem(
            image,
            maps[0],
            maps[1],
            maps[2],
            np.float32(face_width(labels["box"], scale)),
            np.float32(scale),
            shading_cues(image, maps[0], maps[1] > 0, scale),
        )

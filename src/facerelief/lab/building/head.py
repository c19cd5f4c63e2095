"""The head cut out of MakeHuman's base mesh: skin, ears, scalp, neck and eyeballs, refined once, with its
sliders.

All of it CC0. The mouth bag and the eye sockets are left out, so the eye and mouth openings are holes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from facerelief.lab.building.makehuman import AnnyFiles, BaseMesh, face_units, read_base_mesh, shape_targets
from facerelief.lab.building.subdivision import QuadTopology, SubdivisionStep, catmull_clark

Sparse = Any
"""A SciPy sparse matrix; its annotations do not follow products."""

NECK_BOTTOM_MM = 590.0
NECK_HALF_WIDTH_MM = 85.0
# macro sliders of small children and of body height change mostly where the head is; bodies are not ours
LEFT_OUT = ("baby", "child", "height", "measure")


@dataclass(frozen=True, eq=False)
class SliderHead:
    """A refined head and the linear space its sliders span.

    base (B, 3) mm control vertices; directions (D, B, 3) mm per unit slider; units: ARKit name -> (B, 3) mm.
    Vertices of the head are `step.vertices @ control vertices`.
    """

    base: NDArray[np.float64]
    directions: NDArray[np.float32]
    direction_names: tuple[str, ...]
    units: dict[str, NDArray[np.float32]]
    step: SubdivisionStep
    uv: NDArray[np.float32]
    """(M, 2) texture coordinates of the refined mesh, v up."""
    eyeballs: NDArray[np.bool_]
    """(N,) refined vertices of the eyeballs."""
    neck: NDArray[np.bool_]
    """(N,) refined vertices of the neck's lower part (outside the head's own uv island)."""
    symmetry: NDArray[np.int32]
    """(N,) mirror image of each refined vertex."""
    vertices: NDArray[np.int32]
    """(B,) ids of the control vertices in the base mesh."""
    origin: NDArray[np.float64]
    """(3,) where this frame's origin lies in the base mesh's frame, mm."""

    @property
    def operator(self) -> Sparse:
        return self.step.vertices

    @property
    def quads(self) -> NDArray[np.int32]:
        return self.step.topology.quads

    def refine(self, control: NDArray[np.floating]) -> NDArray[np.float64]:
        """(B, ...) control values -> (N, ...) refined values."""
        flat = self.operator @ np.asarray(control, float).reshape(len(control), -1)
        return flat.reshape((-1, *control.shape[1:]))


def load_slider_head(files: AnnyFiles, *, sliders: bool = True) -> SliderHead:
    """Cut, refine and centre the head (origin between the eyeball centres, before any slider).

    sliders: read the sliders too, which takes seconds; else there are no directions.
    """
    mesh = read_base_mesh(files)
    keep, neck_quads = _head_quads(mesh)
    eyes = (mesh.groups == "helper-l-eye") | (mesh.groups == "helper-r-eye")
    chosen = keep | eyes
    vertex_ids, quads = np.unique(mesh.quads[chosen], return_inverse=True)
    uv_ids, uv_quads = np.unique(mesh.uv_quads[chosen], return_inverse=True)
    topology = QuadTopology(
        len(vertex_ids),
        quads.reshape(-1, 4).astype(np.int32),
        len(uv_ids),
        uv_quads.reshape(-1, 4).astype(np.int32),
    )
    step = catmull_clark(topology)
    eye_vertices = np.isin(vertex_ids, mesh.quads[eyes])
    centre = np.mean(
        [
            mesh.positions[np.unique(mesh.quads[mesh.groups == g])].mean(0)
            for g in ("helper-l-eye", "helper-r-eye")
        ],
        axis=0,
    )
    base = mesh.positions[vertex_ids] - centre

    n = len(mesh.positions)
    names: list[str] = []
    moves: list[NDArray[np.float32]] = []
    for name, move in shape_targets(files, vertex_ids, n) if sliders else ():
        if not any(word in name for word in LEFT_OUT):
            names.append(name)
            moves.append(without_rigid_motion(move, base))
    directions = np.stack(moves) if moves else np.zeros((0, *base.shape), np.float32)
    refined = step.vertices @ base
    neck_control = np.zeros(len(vertex_ids), bool)
    neck_control[np.searchsorted(vertex_ids, np.unique(mesh.quads[neck_quads]))] = True
    return SliderHead(
        base=base,
        directions=directions,
        direction_names=tuple(names),
        units=face_units(files, vertex_ids, n),
        step=step,
        uv=_layout_uv(step.uv @ mesh.uv[uv_ids], step.topology, step.vertices @ eye_vertices > 0.5),
        eyeballs=step.vertices @ eye_vertices.astype(float) > 0.5,
        neck=step.vertices @ neck_control.astype(float) > 0.99,
        symmetry=_mirror_map(refined),
        vertices=vertex_ids,
        origin=centre,
    )


def _head_quads(mesh: BaseMesh) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Quads of head skin + neck, and of the neck alone. The base mesh's uv islands separate skin from
    cavities."""
    island = uv_islands(mesh)
    body = mesh.groups == "body"
    high = body & (mesh.positions[mesh.quads][:, :, 1].min(axis=1) > 640)
    nose = int(mesh.quads[high].reshape(-1)[np.argmax(mesh.positions[mesh.quads[high].reshape(-1), 2])])
    skin = body & (island == island[np.flatnonzero((mesh.quads == nose).any(axis=1))[0]])
    corners = mesh.positions[mesh.quads]
    below = corners[:, :, 1].max(axis=1) < 680
    neck = (
        body
        & ~skin
        & below
        & (corners[:, :, 1].min(axis=1) > NECK_BOTTOM_MM)
        & (np.abs(corners[:, :, 0]).max(axis=1) < NECK_HALF_WIDTH_MM)
    )
    # the mouth bag lies at the same height: keep only what hangs together with the torso's island
    bag = [i for i in np.unique(island[neck]) if mesh.positions[mesh.quads[island == i]][:, :, 1].min() > 500]
    neck &= ~np.isin(island, bag)
    return skin | neck, neck


def uv_islands(mesh: BaseMesh) -> NDArray[np.int32]:
    """(Q,) number of the uv island of each quad."""
    sides = np.concatenate([mesh.uv_quads[:, [i, (i + 1) % 4]] for i in range(4)])
    graph = sparse.coo_matrix((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), shape=(len(mesh.uv),) * 2)
    return connected_components(graph, directed=False)[1][mesh.uv_quads[:, 0]]


def without_rigid_motion(move: NDArray[np.float32], base: NDArray[np.float64]) -> NDArray[np.float32]:
    """Take the best-fitting translation and small rotation out of a slider (pose is not shape)."""
    x, y, z = base.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    columns = [
        np.stack(c, axis=1).reshape(-1)
        for c in (
            (one, zero, zero),
            (zero, one, zero),
            (zero, zero, one),
            (zero, -z, y),
            (z, zero, -x),
            (-y, x, zero),
        )
    ]
    motion = np.stack(columns, axis=1)
    weight = np.repeat((base[:, 2] > -20.0).astype(float), 3)
    solution = np.linalg.lstsq(motion * weight[:, None], move.reshape(-1) * weight, rcond=None)[0]
    return (move.reshape(-1) - motion @ solution).reshape(-1, 3).astype(np.float32)


def _layout_uv(
    uv: NDArray[np.float64], topology: QuadTopology, eyeball: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Turn the head island upright and large; neck and eyeballs get strips of their own."""
    islands = _component_of_uv(topology)
    sizes = np.bincount(islands)
    order = np.argsort(-sizes)
    out = np.zeros_like(uv)
    # in the base mesh's atlas the head lies on its side: up is -u, the person's left is +v
    turned = np.stack([uv[:, 1], -uv[:, 0]], axis=1)
    boxes = {order[0]: (0.01, 0.19, 0.99, 0.99)}
    rest = [int(i) for i in order[1:]]
    quad_vertex = np.zeros(topology.n_uv, np.int64)
    quad_vertex[topology.uv_quads.reshape(-1)] = topology.quads.reshape(-1)
    is_eye = {i: bool(eyeball[quad_vertex[islands == i]].all()) for i in rest}
    eyes = sorted((i for i in rest if is_eye[i]), key=lambda i: turned[islands == i, 0].mean())
    for group, left, right in ((eyes, 0.5, 1.0), ([i for i in rest if not is_eye[i]], 0.0, 0.5)):
        width = (right - left) / max(len(group), 1)
        for slot, i in enumerate(group):
            boxes[i] = (left + slot * width + 0.01, 0.01, left + (slot + 1) * width - 0.01, 0.17)
    for i, (left, bottom, right, top) in boxes.items():
        part = islands == i
        # the torso's island is upright in the atlas already
        source = turned[part] if i == order[0] else uv[part]
        low, high = source.min(axis=0), source.max(axis=0)
        scale = min((right - left) / (high[0] - low[0]), (top - bottom) / (high[1] - low[1]))
        middle = np.array([(left + right) / 2, (bottom + top) / 2])
        if i == order[0]:
            out[part] = _enlarge_centre((source - low) / (high - low)) * (right - left, top - bottom) + (
                left,
                bottom,
            )
        else:
            out[part] = (source - (low + high) / 2) * scale + middle
    return out.astype(np.float32)


def _enlarge_centre(unit: NDArray[np.float64], strength: float = 8.0) -> NDArray[np.float64]:
    """Monotone stretch of [0, 1]^2 that gives the face about twice the texels and the scalp fewer."""
    centre = np.array([0.5, 0.38])
    offset = np.arcsinh(strength * (unit - centre))
    low, high = np.arcsinh(-strength * centre), np.arcsinh(strength * (1 - centre))
    return (offset - low) / (high - low)


def _component_of_uv(topology: QuadTopology) -> NDArray[np.int32]:
    sides = np.concatenate([topology.uv_quads[:, [i, (i + 1) % 4]] for i in range(4)])
    graph = sparse.coo_matrix((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), shape=(topology.n_uv,) * 2)
    return connected_components(graph, directed=False)[1]


def _mirror_map(vertices: NDArray[np.float64]) -> NDArray[np.int32]:
    distance, index = KDTree(vertices).query(vertices * [-1, 1, 1])
    if distance.max() > 1.0:
        raise ValueError(f"base mesh is not symmetric: {distance.max():.2f} mm")
    return np.asarray(index, np.int32)
